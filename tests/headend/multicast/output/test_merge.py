from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headend.multicast.output.merge import WINDOW_S, Merge
from headend.multicast.rtp import Header, build

SSRC = 77
INTERVAL_S = 0.003


def packet(number: int, *, ssrc: int = SSRC, marker: bool = False, tag: str = "", life: int = 0) -> bytes:
    stamp = (number * 270 + life * 0x40000000) & 0xFFFFFFFF  # each life of a stream counts from elsewhere
    header = Header(number & 0xFFFF, stamp, ssrc, marker=marker)
    return build(header, f"{tag}{number}".encode())


@dataclass
class Bench:
    legs: int = 2
    out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.merge = Merge(self.legs, lambda payload: self.out.append(payload.decode()))

    def take(self, leg: int, datagram: bytes, at: float) -> None:
        self.merge.tick(at)
        self.merge.take(leg, b"##" + datagram + b"##", 2, 2 + len(datagram), at)


def names(first: int, count: int) -> list[str]:
    return [str(number) for number in range(first, first + count)]


@dataclass(frozen=True)
class Story:
    """`kept[n]`: by which legs packet n comes; `delays[n]`: how late by each, at most the window apart."""

    first: int
    kept: list[tuple[bool, bool]]
    delays: list[tuple[float, float]]


@st.composite
def stories(draw: st.DrawFn, survive: bool = True) -> Story:
    either = st.sampled_from([(True, True), (True, False), (False, True)] + [(False, False)] * (not survive))
    kept = draw(st.lists(either, min_size=1, max_size=80))
    delay = st.floats(0, WINDOW_S, allow_nan=False)
    delays = draw(st.lists(st.tuples(delay, delay), min_size=len(kept), max_size=len(kept)))
    return Story(draw(st.integers(0, 0xFFFF)), kept, delays)


def play(story: Story) -> Bench:
    bench = Bench()
    arrivals = [
        (1.0 + n * INTERVAL_S + late, n, leg)
        for n, (kept, delays) in enumerate(zip(story.kept, story.delays, strict=True))
        for leg, (comes, late) in enumerate(zip(kept, delays, strict=True))
        if comes
    ]
    # A receiver locks on what comes first; packets sent before that one are before its time.
    begun = Header(story.first & 0xFFFF, 0, SSRC)
    bench.take(0, build(begun, str(story.first).encode()), 0.999)
    for at, n, leg in sorted(arrivals):
        bench.take(leg, packet(story.first + 1 + n), at)
    bench.merge.tick(100.0)
    return bench


@settings(deadline=None)
@given(stories())
def test_what_survives_on_one_leg_goes_out_once_and_in_order(story: Story) -> None:
    bench = play(story)
    assert bench.out == names(story.first, len(story.kept) + 1)
    assert (bench.merge.lost, bench.merge.resets) == (0, 0)


@settings(deadline=None)
@given(stories(survive=False))
def test_what_is_lost_on_both_legs_is_all_that_is_missing(story: Story) -> None:
    bench = play(story)
    came = [story.first, *(story.first + 1 + n for n, kept in enumerate(story.kept) if any(kept))]
    assert bench.out == [str(number) for number in came]
    assert bench.merge.lost == came[-1] - story.first + 1 - len(came)
    assert bench.merge.packets == len(came)
    for leg in (0, 1):
        counters = bench.merge.legs[leg].counters(101.0)
        numbers = [n for n, kept in enumerate(story.kept) if kept[leg]]
        assert counters.received == len(numbers) + (leg == 0)
        if leg and numbers:  # the very first of a leg is where its count begins
            first_at = min(numbers, key=lambda n: n * INTERVAL_S + story.delays[n][1])
            assert counters.lost >= numbers[-1] - first_at + 1 - len(numbers) - first_at
        assert counters.received == counters.used + counters.duplicate + counters.late


packets = st.tuples(
    st.integers(0, 1), st.integers(0, 0xFFFF), st.floats(0, 0.5), st.booleans(), st.sampled_from([1, 2])
)


@given(st.lists(packets, max_size=60))
def test_any_packets_at_any_time_never_repeat_within_a_life(found: list[tuple[int, int, float, bool, int]]) -> None:
    bench = Bench()
    at = 0.0
    for leg, number, later, marker, ssrc in found:
        at += later
        bench.take(leg, packet(number, ssrc=ssrc, marker=marker, tag=f"{bench.merge.resets}:"), at)
    bench.merge.flush()
    assert len(bench.out) == bench.merge.packets
    assert len(bench.out) <= len(found)


def run(
    bench: Bench,
    first: int,
    count: int,
    at: float,
    *,
    legs: tuple[int, ...] = (0, 1),
    skew_s: float = 0.0,
    life: int = 0,
) -> float:
    """An unbroken run on these legs; when it is over."""
    arrivals = [(at + n * INTERVAL_S + leg * skew_s, leg, first + n) for n in range(count) for leg in legs]
    for when, leg, number in sorted(arrivals):
        bench.take(leg, packet(number, life=life), when)
    return at + count * INTERVAL_S


def test_one_leg_alone_is_enough_and_the_other_comes_back() -> None:
    bench = Bench()
    at = run(bench, 65_000, 400, 1.0)
    at = run(bench, 65_400, 40_000, at, legs=(1,))
    at = run(bench, 105_400, 400, at)
    assert bench.out == names(65_000, 40_800)
    first, second = (leg.counters(at) for leg in bench.merge.legs)
    assert (first.lost, second.lost) == (40_000, 0)
    assert second.used == 40_000
    assert first.duplicate + second.duplicate == 800


def test_skew_is_measured_and_an_early_leg_that_loses_waits_for_the_other() -> None:
    bench = Bench()
    for n in range(200):
        if n % 10 != 5:
            bench.take(0, packet(n), 1 + n * INTERVAL_S)
        if n >= 10:
            bench.take(1, packet(n - 10), 1 + n * INTERVAL_S)
    bench.merge.flush()
    assert bench.out == [str(n) for n in range(200) if n < 190 or n % 10 != 5]
    assert bench.merge.legs[1].counters(2).skew_ms == pytest.approx(30)
    assert bench.merge.legs[0].counters(2).skew_ms == 0


def test_a_loss_on_both_legs_costs_the_window_and_what_comes_after_it_is_late() -> None:
    bench = Bench()
    bench.take(0, packet(1), 1.0)
    bench.take(0, packet(3), 1.01)
    bench.take(1, packet(4), 1.009 + WINDOW_S)
    assert bench.out == ["1"]
    bench.merge.tick(1.02 + WINDOW_S)
    assert bench.out == ["1", "3", "4"]
    bench.take(1, packet(2), 1.03 + WINDOW_S)
    assert bench.out == ["1", "3", "4"]
    assert (bench.merge.legs[1].late, bench.merge.lost) == (1, 1)


@settings(deadline=None)
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
@example(5000, 4900)
def test_a_source_that_starts_anew_is_followed_at_once(before: int, after: int) -> None:
    bench = Bench()
    at = run(bench, before, 50, 1.0, skew_s=0.01) + 1.0
    for n in range(50):
        for leg in (0, 1):
            bench.take(leg, packet(after + n, marker=n == 0, life=1), at + n * INTERVAL_S + leg * 0.01)
    assert bench.out == names(before, 50) + names(after, 50)
    assert bench.merge.lost == 0
    assert bench.merge.resets == 1


@settings(deadline=None)
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_source_that_starts_anew_is_followed_without_its_mark(before: int, after: int) -> None:
    bench = Bench()
    at = run(bench, before, 50, 1.0) + 1.0
    run(bench, after, 50, at, life=1)
    bench.merge.tick(100)
    assert bench.out == names(before, 50) + names(after, 50)


@given(st.floats(0.0, 9.0))
def test_copies_that_come_after_a_silence_of_everything_are_copies_still(pause_s: float) -> None:
    bench = Bench()
    at = run(bench, 65_500, 100, 1.0, legs=(0,))
    at = run(bench, 65_560, 40, at + pause_s, legs=(1,))
    run(bench, 65_600, 20, at + pause_s)
    assert bench.out == names(65_500, 120)
    assert (bench.merge.resets, bench.merge.lost) == (0, 0)


def test_a_mark_within_a_stream_changes_nothing() -> None:
    bench = Bench()
    for n in range(20):
        bench.take(0, packet(n, marker=n in (5, 6, 9)), 1 + n * INTERVAL_S)
        if n >= 4:
            bench.take(1, packet(n - 4, marker=n - 4 in (5, 6, 9)), 1 + n * INTERVAL_S)
    assert bench.out == names(0, 20)
    assert bench.merge.resets == 0


def test_what_is_none_of_the_stream_is_counted_and_left_out() -> None:
    bench = Bench()
    run(bench, 100, 10, 1.0)
    for strange in (b"", b"G" * 188, packet(110, ssrc=5), packet(30_000), build(Header(110, 0, SSRC, 96), b"x")):
        bench.take(0, strange, 1.03)
    run(bench, 110, 10, 1.031)
    assert bench.out == names(100, 20)
    assert bench.merge.legs[0].foreign == 5


def test_headers_with_more_in_them_and_padding_are_stripped() -> None:
    bench = Bench()
    header = Header(1, 0, SSRC, csrc=(1, 2), extension=(9, b"abcd"))
    bench.take(0, build(header, b"one", padding=7), 1.0)
    assert bench.out == ["one"]
