from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.rtp import RTP

from headend.multicast import rtp

headers = st.builds(
    rtp.Header,
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
    csrc=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension=st.none()
    | st.tuples(st.integers(0, 0xFFFF), st.lists(st.binary(min_size=4, max_size=4), max_size=5).map(b"".join)),
)


@given(headers, st.binary(max_size=200), st.integers(0, 255))
def test_what_is_built_is_read_again(header: rtp.Header, payload: bytes, padding: int) -> None:
    datagram = rtp.build(header, payload, padding)
    packet = rtp.parse(datagram)
    assert packet.header == header
    assert datagram[packet.start : packet.end] == payload
    assert rtp.payload_of(datagram) == (payload if header.payload_type == rtp.MP2T else None)


@given(headers, st.binary(min_size=1, max_size=50))
def test_scapy_reads_the_same(header: rtp.Header, payload: bytes) -> None:
    read = RTP(rtp.build(header, payload))
    assert (read.version, read.payload_type, bool(read.marker)) == (2, header.payload_type, header.marker)
    assert (read.sequence, read.timestamp, read.sourcesync) == (header.sequence, header.timestamp, header.ssrc)
    assert tuple(read.sync) == header.csrc
    assert bool(read.extension) == (header.extension is not None)
    if header.extension is None:
        assert bytes(read.payload) == payload


def test_scapy_writes_what_is_read() -> None:
    packet = rtp.parse(bytes(RTP(sequence=7, timestamp=90_000, sourcesync=5, payload_type=33, sync=[1, 2]) / b"x"))
    assert packet.header == rtp.Header(7, 90_000, 5, csrc=(1, 2))
    assert (packet.start, packet.end) == (20, 21)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        bytes(11),
        bytes([0x40]) + bytes(20),
        bytes([0x81]) + bytes(11),
        bytes([0x90]) + bytes(13),
        bytes([0xA0]) + bytes(11) + b"\x00",
        bytes([0xA0]) + bytes(11) + b"\x02",
    ],
)
def test_what_is_no_packet_is_refused(datagram: bytes) -> None:
    with pytest.raises(ValueError, match=r"RTP|fit|version"):
        rtp.parse(datagram)
    assert rtp.payload_of(datagram) is None


def test_values_that_do_not_fit_are_refused() -> None:
    for header in (
        rtp.Header(1 << 16, 0, 0),
        rtp.Header(0, 0, 0, payload_type=128),
        rtp.Header(0, 0, 0, csrc=(0,) * 16),
    ):
        with pytest.raises(ValueError, match=r"fit|bits"):
            rtp.build(header, b"")
    with pytest.raises(ValueError, match="words"):
        rtp.build(rtp.Header(0, 0, 0, extension=(0, b"x")), b"")


@given(st.integers(-(1 << 20), 1 << 40), st.integers(-0x7FFF, 0x7FFF))
def test_a_sequence_number_is_extended_to_the_nearest(near: int, away: int) -> None:
    assert rtp.extend((near + away) & 0xFFFF, near) == near + away


def test_time_stamps_wrap_and_sources_stay() -> None:
    assert rtp.timestamp_of(1.0, (1 << 32) - 90_000) == 0
    assert rtp.stable_ssrc("ch1/iptv") == rtp.stable_ssrc("ch1/iptv") != rtp.stable_ssrc("ch2/iptv")
    assert 0 <= rtp.stable_ssrc("") < 1 << 32
