"""What scapy and tshark, which share no line with our codec, make of what it writes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from scapy.contrib.pfcp import PFCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

from core5g.pfcp.ies import (
    ApnDnn,
    Cause,
    FSeid,
    FTeid,
    NodeId,
    RecoveryTimeStamp,
    SNssai,
    UeIpAddress,
    UserId,
    ie,
)
from core5g.pfcp.proxy.rulebook import RuleBook, begun
from core5g.pfcp.wire import Ie, IeType, Message, MessageType, decode, encode, group
from core5g.steering.classifier import rules
from core5g.steering.classifier.bearer import bearer_of
from tests.core5g.pfcp.opening import walk
from tests.core5g.pfcp.recordings import establishment, recorded, smf

SERVER = IPv4Address("203.0.113.10")


def steering() -> tuple[Ie, ...]:
    """All that the classifier puts beside the rules of the real SMF, and takes away."""
    request, answer = (decode(one.data) for one in smf() if one.data[1] in (50, 51))
    book = RuleBook(begun(request.ies, answer.ies))
    bearer, ids = bearer_of(book), rules.own_ids(book)
    assert bearer is not None
    out = rules.uplink(bearer, ids, ("permit out ip from 203.0.113.0/24 to assigned",), (0x4242, bytes((10, 50, 0, 8))))
    return (*rules.downlink(bearer, ids), *out, *rules.withdrawal(ids, (5,), ids.fars))


STEERING = Message(MessageType.SESSION_MODIFICATION_REQUEST, 0xF00001, 0x3CF, steering())
ANSWER = Message(
    MessageType.SESSION_MODIFICATION_RESPONSE,
    0xF00001,
    0x87E,
    (
        ie(Cause.RULE_CREATION_MODIFICATION_FAILURE),
        group(
            IeType.CREATED_PDR,
            [Ie(IeType.PDR_ID, b"\0\2"), ie(FTeid(9, IPv4Address("10.0.0.1"), IPv6Address("2001:db8::1")))],
        ),
    ),
)
NODES = (
    Message(
        MessageType.ASSOCIATION_SETUP_REQUEST,
        7,
        ies=(ie(NodeId("smf1.example")), ie(RecoveryTimeStamp(0xEEAD98C0)), Ie(IeType.CP_FUNCTION_FEATURES, b"\0")),
    ),
    Message(MessageType.HEARTBEAT_REQUEST, 8, ies=(ie(RecoveryTimeStamp(0xEEAD98C0)),)),
    Message(MessageType.SESSION_DELETION_REQUEST, 9, 5, priority=3),
    Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, 10),
)
ESTABLISHMENT = Message(
    MessageType.SESSION_ESTABLISHMENT_REQUEST,
    11,
    0,
    (
        ie(NodeId(IPv6Address("2001:db8::5"))),
        ie(FSeid(5, IPv4Address("10.0.0.5"), IPv6Address("2001:db8::5"))),
        group(
            IeType.CREATE_PDR,
            [
                Ie(IeType.PDR_ID, b"\0\1"),
                Ie(IeType.PRECEDENCE, bytes((0, 0, 0, 1))),
                group(
                    IeType.PDI,
                    [
                        Ie(IeType.SOURCE_INTERFACE, b"\0"),
                        ie(FTeid(choose=True, choose_id=5, choose_ipv4=True, choose_ipv6=True)),
                        ie(UeIpAddress(SERVER, IPv6Address("2001:db8:1::"), destination=True, ipv6_length=56)),
                    ],
                ),
                Ie(IeType.FAR_ID, bytes((0, 0, 0, 1))),
            ],
        ),
        group(IeType.CREATE_FAR, [Ie(IeType.FAR_ID, bytes((0, 0, 0, 1))), Ie(IeType.APPLY_ACTION, b"\1")]),
        ie(UserId("999700000000001", msisdn="123")),
        ie(ApnDnn("internet.mnc070.mcc999.gprs")),
        ie(SNssai(1, 0xABCDEF)),
    ),
)
MADE = (STEERING, ANSWER, *NODES, ESTABLISHMENT)


def leaves(data: bytes) -> list[tuple[int, int]]:
    """Type and length of every IE, the way our codec sees it."""
    return [(one.type, len(one.value)) for one in walk(decode(data).ies)]


def scapys(layer: Any) -> Iterator[tuple[int, int]]:
    """The same, the way scapy sees it."""
    for one in getattr(layer, "IE_list", ()):  # a deletion has no field for IEs there
        yield int.from_bytes(one.original[:2], "big"), one.length  # its name for what it does not know is 0
        if "IE_list" in one.fields:
            yield from scapys(one)


def test_scapy_sees_the_same_ies_in_every_recorded_message() -> None:
    for one in {one.data for one in recorded()}:
        assert list(scapys(PFCP(one))) == leaves(one)


def test_scapy_reads_what_we_write() -> None:
    layer = PFCP(encode(STEERING))
    assert (layer.message_type, layer.seq, layer.seid) == (52, 0xF00001, 0x3CF)
    assert list(scapys(layer)) == leaves(encode(STEERING))
    pdr, far = layer.IE_list[2], layer.IE_list[3]
    pdi = pdr.IE_list[2]
    assert (pdr.IE_list[0].id, pdr.IE_list[1].precedence) == (0x7002, 10)
    assert (pdi.IE_list[1].TEID, pdi.IE_list[1].ipv4) == (0x899, "10.50.0.7")
    assert pdi.IE_list[2].instance == b"internet"
    assert pdi.IE_list[3].ipv4 == "10.45.0.2"
    assert pdi.IE_list[4].flow_description == b"permit out ip from 203.0.113.0/24 to assigned"
    assert far.IE_list[1].FORW == 1
    assert (far.IE_list[2].IE_list[2].TEID, far.IE_list[2].IE_list[2].ipv4) == (0x4242, "10.50.0.8")
    deletion = PFCP(encode(NODES[2]))
    assert (deletion.MP, deletion.seid, deletion.seq) == (1, 5, 9)


def test_we_read_what_scapy_writes() -> None:
    """The real SMF's establishment, rebuilt by scapy field by field."""
    layer = PFCP(establishment())
    assert layer.command()
    for one in (layer, *layer.IE_list):
        one.raw_packet_cache = None
    assert decode(bytes(layer)) == decode(establishment())


def dissected(datagrams: Iterable[bytes], where: Path) -> list[dict[str, Any]]:
    """tshark's layers of datagrams, as JSON."""
    file = where / "made.pcap"
    frames = [
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / UDP(sport=8805, dport=8805)
        / Raw(data)
        for data in datagrams
    ]
    wrpcap(str(file), frames)
    told = subprocess.run(
        ["tshark", "-r", str(file), "-T", "json", "--no-duplicate-keys"], check=True, capture_output=True, text=True
    )
    return [frame["_source"]["layers"] for frame in json.loads(told.stdout)]


def malformed(layers: Any) -> list[str]:
    """What tshark finds wrong with them: malformed packets and warnings and errors of its experts."""
    grave = [level for level in every(layers, "_ws.expert.severity") if int(level, 0) >= 0x600000]
    return [*every(layers, "_ws.malformed"), *grave]


def every(layers: Any, field: str) -> list[str]:
    """All values of a field, wherever it stands."""
    found: list[str] = []
    if isinstance(layers, dict):
        for name, value in layers.items():
            if name == field:
                found += value if isinstance(value, list) else [value]
            else:
                found += every(value, field)
    elif isinstance(layers, list):
        for one in layers:
            found += every(one, field)
    return found


class TestTshark:
    pytestmark = pytest.mark.daemon

    @pytest.fixture(autouse=True)
    def _installed(self, require_programs: Callable[..., None]) -> None:
        require_programs("tshark")

    def test_it_sees_the_same_ies(self, tmp_path: Path) -> None:
        """In what was recorded and in what we made."""
        sent = [*dict.fromkeys(one.data for one in recorded()), *map(encode, MADE)]
        for data, layers in zip(sent, dissected(sent, tmp_path), strict=True):
            seen = sorted(int(kind) for kind in every(layers["pfcp"], "pfcp.ie_type"))
            assert seen == sorted(kind for kind, _ in leaves(data))

    def test_it_reads_the_values_that_we_wrote_and_finds_nothing_wrong(self, tmp_path: Path) -> None:
        found = dissected(map(encode, MADE), tmp_path)
        assert malformed(found) == []
        steering, answer, setup, _, deletion, _, establish = (layers["pfcp"] for layers in found)

        def values(layers: Any, field: str) -> set[int]:
            return {int(value, 0) for value in every(layers, f"pfcp.{field}")}

        assert values(steering, "pdr_id") == {0x7001, 0x7002, 5}
        assert values(steering, "far_id") == {0x7001, 0x7002}
        assert 0x899 in values(steering, "f_teid.teid")
        assert values(steering, "outer_hdr_creation.teid") == {0x4242}
        assert every(steering, "pfcp.outer_hdr_creation.ipv4") == ["10.50.0.8"]
        assert every(steering, "pfcp.ue_ip_addr_ipv4") == ["10.45.0.2"]
        assert every(steering, "pfcp.flow_desc") == ["permit out ip from 203.0.113.0/24 to assigned"]
        assert values(answer, "cause") == {73}
        assert every(answer, "pfcp.f_teid.ipv6_addr") == ["2001:db8::1"]
        assert every(setup, "pfcp.node_id_fqdn") == ["smf1.example"]
        assert values(deletion, "seid") == {5}
        assert every(establish, "pfcp.ue_ip_addr_ipv6") == ["2001:db8:1::"]
        assert every(establish, "e212.imsi") == ["999700000000001"]
        assert every(establish, "pfcp.apn_dnn") == ["internet.mnc070.mcc999.gprs"]

    def test_it_finds_what_is_wrong(self, tmp_path: Path) -> None:
        """That the judge is awake."""
        broken = group(IeType.CREATE_FAR, [Ie(IeType.FAR_ID, b"\0")])
        assert malformed(dissected([encode(STEERING._replace(ies=(broken,)))], tmp_path))
