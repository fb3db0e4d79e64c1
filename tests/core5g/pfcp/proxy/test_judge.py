"""What scapy, which shares no line with our codec, makes of the rules that the classifier sends."""

from __future__ import annotations

from scapy.contrib import pfcp
from scapy.packet import Raw

from core5g.pfcp.proxy.exchanges import FIRST_OWN
from core5g.pfcp.wire import MessageType, encode
from tests.core5g.pfcp.proxy.peers import SMF, Net


def test_every_message_of_ours_is_read_to_its_last_octet() -> None:
    net = Net()
    seid = net.steered()
    net.send(SMF, net.smf.connect(seid, (0x55, "10.50.0.3")))
    net.send(SMF, net.smf.idle(seid))
    net.proxy.steerer.set_healthy("gate", healthy=False)
    net.pass_time(3)
    ours = [encode(one) for upf in (net.upf, net.edge) for one in upf.seen if one.seq >= FIRST_OWN]
    kinds = {data[1] for data in ours}
    assert kinds == {
        MessageType.HEARTBEAT_REQUEST,
        MessageType.ASSOCIATION_SETUP_REQUEST,
        MessageType.SESSION_ESTABLISHMENT_REQUEST,
        MessageType.SESSION_MODIFICATION_REQUEST,
        MessageType.SESSION_DELETION_REQUEST,
    }
    for data in ours:
        read = pfcp.PFCP(data)
        assert not read.haslayer(Raw), read.show(dump=True)
        assert bytes(read) == data
