"""RTCP reports: written and read back; the round trip that they tell."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import InputError
from sip.calling.rtcp import Block, ReportPacket, SenderInfo, middle, ntp, parse

words = st.integers(0, 0xFFFFFFFF)
blocks = st.builds(
    Block,
    words,
    st.integers(0, 255).map(lambda n: n / 256),
    st.integers(-0x800000, 0x7FFFFF),
    words,
    words,
    words,
    words,
)
senders = st.none() | st.builds(SenderInfo, st.integers(0, (1 << 64) - 1), words, words, words)


@given(
    words,
    senders,
    st.lists(blocks, max_size=3),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20),
)
def test_a_report_is_read_back(ssrc: int, sender: SenderInfo | None, found: list[Block], cname: str) -> None:
    packet = ReportPacket(ssrc, sender, tuple(found))
    data = packet.to_bytes(cname)
    assert len(data) % 4 == 0
    assert parse(data) == (packet,)


@given(st.binary(max_size=120))
def test_whatever_comes_is_reports_or_an_error(data: bytes) -> None:
    for text in (data, b"\x81\xc8\x00\x06" + data, ReportPacket(1, None, ()).to_bytes("x") + data):
        with contextlib.suppress(InputError):
            parse(text)


def test_the_round_trip_of_section_6_4_1() -> None:
    """Sent at 100.0, held for 2.5 s there, back at 102.75: 250 ms on the way."""
    answer = Block(1, 0.0, 0, 0, 0, middle(ntp(100.0)), int(2.5 * 65_536))
    assert answer.round_trip_s(102.75) == pytest.approx(0.25, abs=1e-4)
    assert Block(1, 0.0, 0, 0, 0, 0, 0).round_trip_s(5.0) is None
    assert answer.round_trip_s(102.4) == 0.0  # clocks are never that exact
