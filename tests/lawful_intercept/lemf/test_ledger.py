"""Numbers of a stream: judged against a plain set, however they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.lemf.ledger import Sequence, Verdict


@given(st.lists(st.integers(0, 60), max_size=80))
def test_against_a_set(numbers: list[int]) -> None:
    sequence, seen = Sequence(), set[int]()
    for number in numbers:
        verdict = sequence.take(number)
        assert (verdict is Verdict.AGAIN) is (number in seen)
        seen.add(number)
        wanted = set(range(max(seen))) - seen
        listed = {one for first, last in sequence.missing for one in range(first, last + 1)}
        assert listed == wanted
        assert sequence.missing_count == len(wanted)
    assert sequence.received == len(seen)
    assert sequence.again == len(numbers) - len(seen)


def test_verdicts() -> None:
    sequence = Sequence()
    assert [sequence.take(one) for one in (0, 3, 1, 1, 2, 4)] == [
        Verdict.NEXT,
        Verdict.GAP,
        Verdict.LATE,
        Verdict.AGAIN,
        Verdict.LATE,
        Verdict.NEXT,
    ]


def test_gaps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lawful_intercept.lemf.ledger.RANGES_KEPT", 10)
    sequence = Sequence()
    for number in range(1, 200, 2):
        sequence.take(number)
    assert len(sequence.missing) == 10
    assert sequence.missing_count == 100
    assert sequence.take(0) is Verdict.AGAIN, "what is forgotten is told as seen, and stays counted"


def test_a_reset_begins_anew() -> None:
    sequence = Sequence()
    sequence.take(1)
    sequence.reset()
    assert (sequence.take(0), sequence.missing_count, sequence.epoch) == (Verdict.NEXT, 1, 1)
