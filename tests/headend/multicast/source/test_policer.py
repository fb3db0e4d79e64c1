from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.source.policer import BURST_S, Policer

RATE = 1_000_000


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(188, 1316)), max_size=300))
def test_never_more_than_the_rate_and_one_burst(arrivals: list[tuple[float, int]]) -> None:
    policer, now, admitted = Policer(RATE), 0.0, 0
    for pause, size in arrivals:
        now += pause
        admitted += size if policer.admit(size, now) else 0
        assert admitted * 8 <= RATE * (now + BURST_S) + 1


def test_a_stream_at_its_rate_passes_whole_even_when_it_comes_in_lumps() -> None:
    policer = Policer(RATE)
    lump = int(RATE / 8 * 0.15 / 1316)
    assert all(policer.admit(1316, step * 0.15) for step in range(100) for _ in range(lump))


def test_half_of_a_double_rate_is_dropped() -> None:
    policer = Policer(RATE)
    interval = 1316 * 8 / (2 * RATE)
    passed = sum(policer.admit(1316, n * interval) for n in range(10_000))
    assert 5000 <= passed <= 5050


def test_a_clock_that_goes_back_admits_nothing_extra() -> None:
    policer = Policer(RATE)
    while policer.admit(1316, 100.0):
        pass
    assert not policer.admit(1316, 50.0)
    assert not policer.admit(1316, 50.0)
