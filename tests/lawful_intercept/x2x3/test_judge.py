"""What Wireshark's own dissector reads in our PDUs, with SIP and RTP inside of them."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.x2x3.attributes import address_attributes, point_attributes, target_attributes
from lawful_intercept.x2x3.codec import (
    PayloadDirection,
    PayloadFormat,
    PduType,
    keepalive,
    x2_template,
    x3_template,
)

XID = UUID("29f28e1c-f230-486a-a860-f5a784ab9172")
AT = 1_700_000_000_123_456_789
RTP = bytes.fromhex("800004d2000000a0deadbeef") + bytes(160)
SIP = (
    b"INVITE sip:bob@d.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:alice@d.test>;tag=1\r\n"
    b"To: <sip:bob@d.test>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)
FIELDS = ("li5g.type", "li5g.xid", "li5g.pf", "li5g.sq", "li5g.pd", "li5g.nfid", "sip.Method", "rtp.seq", "li5g.srcip")
PORT = 40_123


def sent() -> list[bytes]:
    same = (
        *point_attributes("proxy-1", "sip"),
        *address_attributes(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), (5060, 5062), 17),
        *target_attributes(TargetIdentifier("sipUri", "sip:alice@d.test")),
    )
    x2 = x2_template(XID.bytes, 9, PayloadFormat.SIP, same)
    x3 = x3_template(XID.bytes, 9, PayloadFormat.RTP, same)
    return [
        x2.encode(1, AT, PayloadDirection.FROM_TARGET, SIP),
        x3.encode(7, AT, PayloadDirection.TO_TARGET, RTP),
        keepalive(3),
        keepalive(3, PduType.KEEPALIVE_ACK),
    ]


def over_tcp(folder: Path, pdus: list[bytes]) -> list[str]:
    packets, sequence = [], 1
    for pdu in pdus:
        packet = Ether() / IP(src="10.9.0.1", dst="10.9.0.2") / TCP(sport=50_000, dport=PORT, flags="PA", seq=sequence)
        packets.append(packet / pdu)
        sequence += len(pdu)
    wrpcap(str(folder / "tcp.pcap"), packets)
    return ["-r", str(folder / "tcp.pcap"), "-d", f"tcp.port=={PORT},5gli"]


def alone(folder: Path, pdus: list[bytes]) -> list[str]:
    records = (struct.pack("<IIII", 0, 0, len(pdu), len(pdu)) + pdu for pdu in pdus)
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0x40000, 147)
    (folder / "alone.pcap").write_bytes(head + b"".join(records))
    return ["-r", str(folder / "alone.pcap"), "-o", 'uat:user_dlts:"User 0 (DLT=147)","li5g","0","","0",""']


@pytest.mark.daemon
@pytest.mark.parametrize("way", [over_tcp, alone])
def test_wireshark_reads_our_pdus(
    way: Callable[[Path, list[bytes]], list[str]], tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("tshark")
    shape = ["-Y", "5gli", "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"]
    fields = [part for field in FIELDS for part in ("-e", field)]
    done = subprocess.run(
        ["tshark", *way(tmp_path, sent()), *shape, *fields],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    xid, nil = str(XID), str(UUID(int=0))
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert rows == [
        ["1", xid, "9", "1", "3", b"proxy-1".hex(), "INVITE", "", "10.0.0.1"],
        ["2", xid, "8", "7", "2", b"proxy-1".hex(), "", "1234", "10.0.0.1"],
        ["3", nil, "0", "3", "0", "", "", "", ""],
        ["4", nil, "0", "3", "0", "", "", "", ""],
    ]
