"""RTP: written and read back; loss, jitter and bursts as they were made."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import InputError
from sip.calling.rtp import SAMPLES, Packet, Receiver, Sender, burst_ratio, encode_ulaw

packets = st.builds(
    Packet,
    st.integers(0, 127),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=200),
    st.booleans(),
)


@given(packets)
def test_a_packet_is_read_back(packet: Packet) -> None:
    assert Packet.parse(packet.to_bytes()) == packet


@given(st.binary(max_size=100))
def test_whatever_comes_is_a_packet_or_an_error(data: bytes) -> None:
    for text in (data, b"\xbf" + data, b"\x80\x00" + data):
        with contextlib.suppress(InputError):
            Packet.parse(text)


def test_contributors_extension_and_padding_are_taken_off() -> None:
    head = bytes([0x80 | 0x20 | 0x10 | 1, 0]) + bytes(10)
    data = head + b"CSRC" + b"\xbe\xde\x00\x01EXTN" + b"sound" + b"\0\0\x03"
    assert Packet.parse(data).payload == b"sound"


def stream(count: int, *, sequence: int = 65_500, jitter: random.Random | None = None) -> list[tuple[Packet, float]]:
    """Packets and arrivals, the numbers wrapping on the way."""
    sender = Sender(ssrc=7, sequence=sequence, timestamp=0xFFFFF000)
    made = []
    for number in range(count):
        late = jitter.uniform(0, 0.004) if jitter is not None else 0.0
        made.append((Packet.parse(sender.next(number * 0.02)), 1000 + number * 0.02 + 0.05 + late))
    return made


@given(st.sets(st.integers(0, 199), max_size=60), st.randoms(use_true_random=False))
def test_what_was_lost_is_counted_whatever_the_order(lost: set[int], chance: random.Random) -> None:
    sent = stream(200)
    kept = [one for number, one in enumerate(sent) if number not in lost]
    for at in range(len(kept) - 1):
        if chance.random() < 0.1:
            kept[at], kept[at + 1] = kept[at + 1], kept[at]
    receiver = Receiver()
    for packet, arrival in kept:
        receiver.receive(packet, arrival)
        if chance.random() < 0.1:
            receiver.receive(packet, arrival)
    report = receiver.report(buffer_ms=60, expected=200)
    assert report.lost == len(lost)
    assert report.received == 200 - len(lost)
    assert report.loss == pytest.approx(len(lost) / 200)
    assert report.late == 0
    missing = [number in lost for number in range(200)]
    if lost and 0 not in lost:
        # What was lost before the first is only known to be at an end.
        assert report.burst_ratio == pytest.approx(burst_ratio(missing))


def test_jitter_is_that_of_rfc_3550_appendix_a_8() -> None:
    receiver, jitter, transit = Receiver(), 0.0, None
    for packet, arrival in stream(300, sequence=0, jitter=random.Random(5)):  # noqa: S311 - chance of a test
        receiver.receive(packet, arrival)
        now = arrival * 8000 - (packet.timestamp - 0xFFFFF000) % (1 << 32)
        if transit is not None:
            jitter += (abs(now - transit) - jitter) / 16
        transit = now
    assert receiver.jitter == pytest.approx(jitter, rel=1e-6)
    assert 0.5 < receiver.jitter_ms < 2.5


def test_what_comes_after_the_buffer_has_played_on_is_late() -> None:
    receiver = Receiver()
    for number, (packet, arrival) in enumerate(stream(50)):
        receiver.receive(packet, arrival + (0.1 if number in {10, 11, 30} else 0.0))
    report = receiver.report(buffer_ms=60)
    assert (report.late, report.lost) == (3, 0)
    assert report.unheard == pytest.approx(3 / 50)
    assert report.burst_ratio == pytest.approx(3 / 2 * (1 - 3 / 50))


def test_strays_are_not_of_the_call() -> None:
    receiver = Receiver()
    (first, _), (second, arrival), *_ = stream(3, sequence=1)
    receiver.receive(first, arrival)
    receiver.receive(Packet(0, 2, 0, 99), arrival)
    receiver.receive(Packet(0, 30_000, 0, first.ssrc), arrival)
    receiver.receive(second, arrival)
    assert (receiver.strays, receiver.report(buffer_ms=60).expected) == (2, 2)


def test_nothing_came() -> None:
    report = Receiver().report(buffer_ms=60, expected=100)
    assert (report.expected, report.lost, report.loss, report.burst_ratio) == (100, 100, 1.0, 1.0)


def test_loss_in_a_row_is_a_burst() -> None:
    assert burst_ratio([False] * 90 + [True] * 10) == pytest.approx(10 * 0.9)
    assert burst_ratio([False, True] * 50) == 1.0
    assert burst_ratio([]) == 1.0


def test_the_tone_is_pcmu_in_packets_of_20_ms() -> None:
    sender = Sender(ssrc=1, sequence=0xFFFF, timestamp=0xFFFFFFFF - SAMPLES + 1)
    first, second = Packet.parse(sender.next(0.0)), Packet.parse(sender.next(0.02))
    assert first.marker
    assert not second.marker
    assert (second.sequence, second.timestamp) == (0, 0)
    assert len(first.payload) == SAMPLES
    assert len(set(first.payload)) > 20


@pytest.mark.parametrize(("sample", "code"), [(0, 0xFF), (-1, 0x7F), (32_635, 0x80), (-32_635, 0x00), (1000, 0xCE)])
def test_the_law_of_g_711(sample: int, code: int) -> None:
    assert encode_ulaw(sample) == code
