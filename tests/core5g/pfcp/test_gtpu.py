"""GTP-U: what was on the wire, what scapy makes, and what is none."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib import gtp
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet as Layer
from scapy.packet import Raw

from core5g.pfcp.gtpu import GtpuError, GtpuType, Packet, decode
from tests.core5g.pfcp.recordings import gtpu

INNER = bytes(IP(src="10.45.0.2", dst="203.0.113.10") / UDP(dport=9) / Raw(b"x"))


def test_every_recorded_packet_is_what_scapy_reads_in_it() -> None:
    counted: Counter[int] = Counter()
    for data in gtpu():
        packet, judge = decode(data), gtp.GTPHeader(data)
        assert (packet.type, packet.teid) == (judge.gtp_type, judge.teid)
        counted[packet.type] += 1
        if packet.type == GtpuType.G_PDU:
            assert packet.payload == bytes(judge[IP])
    assert counted == {GtpuType.G_PDU: 80, GtpuType.ERROR_INDICATION: 3}


@pytest.mark.parametrize(
    "made",
    [
        gtp.GTP_U_Header(teid=7),
        gtp.GTP_U_Header(teid=7, S=1, seq=9),
        gtp.GTP_U_Header(teid=7, PN=1, npdu=3),
        gtp.GTP_U_Header(teid=7) / gtp.GTPPDUSessionContainer(type=1, QFI=5),
        gtp.GTP_U_Header(teid=7, S=1, seq=9) / gtp.GTPPDUSessionContainer(type=0, QFI=5, PPP=1, PPI=3),
    ],
)
def test_we_read_what_scapy_writes(made: Layer) -> None:
    assert decode(bytes(made / IP(INNER))) == Packet(GtpuType.G_PDU, 7, INNER)


def test_extension_headers_are_passed_over_however_many_they_are() -> None:
    udp_port, container = bytes.fromhex("01 0868 85"), bytes.fromhex("02 1005 000000 00 00")
    data = bytes.fromhex("34ff 0014 00000007 0000 00 40") + udp_port + container + b"abcd"
    assert decode(data) == Packet(GtpuType.G_PDU, 7, b"abcd")


GOOD = bytes(gtp.GTP_U_Header(teid=1) / gtp.GTPPDUSessionContainer(type=1, QFI=1) / IP(INNER))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "short"),
        (GOOD[:7], "short"),
        (b"\x10" + GOOD[1:], "version"),  # GTP version 0
        (b"\x20" + GOOD[1:], "version"),  # GTP'
        (b"\x50" + GOOD[1:], "version"),
        (GOOD[:-1], "length"),
        (GOOD + b"\0", "length"),
        (bytes.fromhex("32ff000300000001000000"), "short"),
        (bytes.fromhex("34ff00040000000100000085"), "extension"),
        (bytes.fromhex("34ff0008000000010000008500100100"), "extension"),
        (bytes.fromhex("34ff0008000000010000008502100100"), "extension"),
    ],
)
def test_what_is_no_packet(data: bytes, reason: str) -> None:
    with pytest.raises(GtpuError) as caught:
        decode(data)
    assert caught.value.reason == reason


@given(st.integers(0, 255), st.binary(max_size=40))
def test_whatever_the_octets_it_is_a_packet_or_a_gtpu_error(flags: int, rest: bytes) -> None:
    data = bytes((flags, 255)) + max(0, len(rest) - 4).to_bytes(2, "big") + rest
    with contextlib.suppress(GtpuError):
        assert data.endswith(decode(data).payload)
