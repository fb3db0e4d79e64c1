"""Whatever arrives at a querier or stands in /proc: a value or the codec's own error, and state that is bounded."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.kernel.igmp import IgmpError, Query, Record, RecordType, Report, decode, encode
from headend.multicast.kernel.querier import MAX_MEMBERSHIPS, Intervals, Querier
from headend.multicast.mfc.codec import MAX_VIFS, parse_vifs
from headend.multicast.mfc.pins import Pin

ADDRESS = IPv4Address("10.1.0.1")
MODEL = Report((Record(RecordType.ALLOW_NEW_SOURCES, IPv4Address("232.1.1.1"), (ADDRESS, ADDRESS)),))


def _judge(data: bytes) -> None:
    with suppress(IgmpError):
        message = decode(data)
        assert decode(encode(message)) == message
        querier = Querier(ADDRESS, Intervals(), 0.0)
        querier.receive(message, IPv4Address("10.1.0.9"), 0.0)
        querier.due(0.0)
        assert len(querier.wanted) <= MAX_MEMBERSHIPS
        assert querier.next_timeout(0.0) > 0.0


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    _judge(data)


@given(st.sampled_from([MODEL, Query(IPv4Address("232.1.1.1"), (ADDRESS,))]), st.data())
def test_messages_with_damage(model: Report | Query, data: st.DataObject) -> None:
    damaged = bytearray(encode(model))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    _judge(bytes(damaged))
    _judge(_resummed(damaged))


def _resummed(data: bytearray) -> bytes:
    """The same with a right checksum, so that what is behind it is judged too."""
    if len(data) < 4:
        return bytes(data)
    data[2:4] = bytes(2)
    padded = bytes(data) + bytes(len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    data[2:4] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(data)


@given(st.text(max_size=200) | st.lists(st.text("0123456789 ethx\n", max_size=30), max_size=6).map("\n".join))
def test_any_text_for_virtual_interfaces(text: str) -> None:
    assert all(0 <= number < MAX_VIFS for number in parse_vifs(text).values())


@given(st.text(max_size=60) | st.text("0123456789.,eth", max_size=60))
def test_any_text_for_a_pin(text: str) -> None:
    with suppress(ValueError):
        assert str(Pin.parse(text)).count(",") == text.count(",")
