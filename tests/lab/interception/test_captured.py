"""What a phone sent and heard, out of a capture."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.interception.captured import Party, packets, setup, take
from lab.interception.evidence import Evidence

CALLER, CALLED = Party("the caller", "10.0.0.1", 6000), Party("the called", "10.0.0.2", 6000)
RELAY = ("10.0.0.9", 30000)


def udp(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    hosts = b"".join(bytes(map(int, host.split("."))) for host, _ in (source, destination))
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0) + hosts
    return head + struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0) + payload


def pcap(*found: tuple[float, bytes], link: int = 1) -> bytes:
    made = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link)
    for at, packet in found:
        frame = bytes({1: 14, 113: 16, 101: 0}[link]) + packet
        made += struct.pack("<IIII", int(at), round(at % 1 * 1e6), len(frame), len(frame)) + frame
    return made


def rtp(number: int) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, number, 160 * number, 0x1234) + bytes(160)


@pytest.mark.parametrize("link", [1, 101, 113])
def test_times_and_octets_are_those_of_the_capture(link: int) -> None:
    media = [("10.0.0.1", 20000), ("10.0.0.2", 20002)]
    found = []
    for number in range(3):
        found.append((1.0 + number * 0.02, udp(media[0], RELAY, rtp(number))))
        found.append((1.003 + number * 0.02, udp(RELAY, media[1], rtp(number))))
    found.append((2.0, udp((CALLER.address, 6000), ("10.0.0.8", 5060), b"INVITE sip:b SIP/2.0\r\nCall-ID: 1\r\n\r\n")))
    found.append((2.1, udp((CALLER.address, 6000), ("10.0.0.8", 5060), b"\r\n\r\n")))
    evidence = Evidence()
    take(evidence, list(packets(pcap(*found, link=link))), (CALLER, CALLED))
    assert evidence.samples["rtp:under way to the called"] == pytest.approx([0.003] * 3)
    assert evidence.samples["rtp:between packets at the called"] == pytest.approx([0.02] * 2)
    assert evidence.figures["rtp:at the called streams"] == 1
    assert evidence.items["sip:sent by the caller"] == ["INVITE sip:b SIP/2.0\r\nCall-ID: 1\r\n\r\n"]
    assert evidence.items["sip:received by the called"] == []


def test_set_up_is_timed_at_the_caller() -> None:
    own, proxy = (CALLER.address, 6000), ("10.0.0.8", 5060)
    end = b"Call-ID: 1\r\nCSeq: 2 INVITE\r\n\r\n"
    found = [
        (1.0, udp(own, proxy, b"INVITE sip:b SIP/2.0\r\n" + end)),
        (1.01, udp(proxy, own, b"SIP/2.0 180 Ringing\r\n" + end)),
        (1.5, udp(proxy, own, b"SIP/2.0 200 OK\r\n" + end)),
        (1.6, udp(proxy, own, b"SIP/2.0 200 OK\r\n" + end)),
        (2.0, udp(proxy, own, b"SIP/2.0 200 OK\r\nCall-ID: 1\r\nCSeq: 3 BYE\r\n\r\n")),
    ]
    evidence = Evidence()
    setup(evidence, list(packets(pcap(*found))), CALLER)
    assert evidence.samples["sip:from INVITE to 180 at the caller"] == pytest.approx([0.01])
    assert evidence.samples["sip:from INVITE to 200 at the caller"] == pytest.approx([0.5])


@given(st.binary(max_size=300), st.integers(0, 80))
def test_what_is_no_capture_is_refused_and_a_torn_one_is_read_so_far(junk: bytes, cut: int) -> None:
    with pytest.raises(ValueError, match="not a pcap file"):
        list(packets(b"\0" + junk))
    whole = pcap((1.0, udp(RELAY, ("10.0.0.2", 20002), b"x")), (2.0, junk))
    assert len(list(packets(whole[: len(whole) - cut]))) <= 2
