"""Bytes that are no RTP: a parser says so, and never reads past them."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast import rtp

octets = st.binary(max_size=120)
likely = st.builds(
    lambda first, second, rest: bytes([0x80 | first, second]) + rest, st.integers(0, 63), st.just(33), octets
)


@given(octets | likely)
def test_any_datagram_is_read_or_refused(datagram: bytes) -> None:
    with contextlib.suppress(ValueError):
        packet = rtp.parse(datagram)
        assert rtp.HEADER_BYTES <= packet.start <= packet.end <= len(datagram)
        again = rtp.build(packet.header, datagram[packet.start : packet.end])
        assert rtp.parse(again).header == packet.header
    payload = rtp.payload_of(datagram)
    assert payload is None or payload in datagram
