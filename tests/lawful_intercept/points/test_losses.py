"""Losses are summed up and never silent; numbers never repeat."""

from __future__ import annotations

import tempfile
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from lawful_intercept.points.losses import AWAY, CUT, SPOOL, Losses
from lawful_intercept.points.numbers import Numbers, Series
from lawful_intercept.x1.exchange import ReportTaskIssue
from lawful_intercept.x1.lost import Lost, lost_of
from nf.clock import Clock, VirtualClock
from nf.errors import IntegrityError, StorageError

XID = UUID(int=1)


def test_the_first_is_told_at_once_and_the_rest_together() -> None:
    losses = Losses(every_s=10.0)
    losses.add(XID, SPOOL, events=1)
    assert [report.text for report in losses.reports(0.0)] == [f"{SPOOL}: 1 events"]
    for _ in range(1000):
        losses.add(XID, SPOOL, copies=1)
    assert losses.reports(5.0) == []
    assert [report.text for report in losses.reports(10.0)] == [f"{SPOOL}: 1000 packets"]
    assert losses.reports(20.0) == []
    losses.add(XID, SPOOL, copies=None)
    assert [report.text for report in losses.reports(21.0)] == [f"{SPOOL}: an unknown number"]


def test_what_is_over_is_told_too() -> None:
    losses = Losses()
    losses.clear(XID, AWAY)
    assert losses.reports(0.0) == []
    losses.add(XID, AWAY, copies=None)
    losses.clear(XID, AWAY)
    assert [report.report.value for report in losses.reports(0.0) if isinstance(report, ReportTaskIssue)] == [
        "NonTerminatingFault",
        "AllClear",
    ]


def test_a_task_that_is_over_is_told_nothing_of() -> None:
    losses = Losses()
    losses.add(XID, CUT, events=1)
    losses.add(None, AWAY, copies=None)
    losses.forget(XID)
    assert [report.text for report in losses.reports(0.0)] == [f"{AWAY}: an unknown number"]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.none() | st.integers(0, 3), st.floats(0, 5)), max_size=50
    )
)
def test_every_count_is_told_once(steps: list[tuple[int, int, int | None, float]]) -> None:
    losses, now, told = Losses(every_s=7.0), 0.0, []
    for which, events, copies, later in steps:
        losses.add(UUID(int=which), SPOOL, events=events, copies=copies)
        now += later
        told += losses.reports(now)
    told += losses.reports(now + 8.0)  # 7.0 may be a rounding less than that
    found = [lost_of(one.extensions) or Lost() for one in told]
    assert sum(one.iri for one in found) == sum(events for _, events, _, _ in steps)
    assert sum(one.cc for one in found) == sum(copies or 0 for _, _, copies, _ in steps)
    assert any(one.uncounted for one in found) == any(copies is None for _, _, copies, _ in steps)


SERIES: Series = ("x", "2", "sip")
OTHER: Series = ("y", "3", "sip")


def numbers(folder: Path, key: bytes = bytes(32), clock: Clock | None = None) -> Numbers:
    return Numbers(folder / "numbers", AESGCM(key), clock or VirtualClock())


def test_numbers_go_on_after_an_orderly_end(tmp_path: Path) -> None:
    first = numbers(tmp_path)
    assert [first.take(SERIES, 4) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    assert first.take(("y", "3", "sip"), 4) == 0
    first.close()
    assert numbers(tmp_path).take(SERIES, 4) == 6


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5))
def test_no_number_repeats_whenever_the_process_is_killed(lives: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        taken: dict[Series, list[int]] = {SERIES: [], OTHER: []}
        for life in lives:
            one = numbers(Path(folder))
            for series, count in zip((SERIES, OTHER), life, strict=True):
                taken[series] += [one.take(series, 4) for _ in range(count)]
        for found in taken.values():
            assert found == sorted(set(found))


def test_after_a_crash_at_least_one_number_is_left_out(tmp_path: Path) -> None:
    """Also where all that were reserved had been used."""
    first = numbers(tmp_path)
    assert [first.take(SERIES, 4) for _ in range(4)] == [0, 1, 2, 3]
    second = numbers(tmp_path)
    assert second.take(SERIES, 1) == 5
    assert numbers(tmp_path).take(SERIES, 1) == 7


def test_a_crash_is_told_too_where_no_number_was_used(tmp_path: Path) -> None:
    """Mediation takes 0 and 1 for the beginning of a series, and 2 for a gap."""
    first = numbers(tmp_path)
    first.expect([SERIES])
    again = numbers(tmp_path)
    again.expect([SERIES, OTHER])
    assert (again.take(SERIES, 4), again.take(OTHER, 4)) == (2, 0)


def test_numbers_that_are_left_out_are_a_gap_from_the_first_on(tmp_path: Path) -> None:
    first = numbers(tmp_path)
    first.leave_out(SERIES, 1)
    assert first.take(SERIES, 4) == 2, "mediation takes 1 for a beginning"
    first.leave_out(SERIES, 10)
    assert first.take(SERIES, 4) == 13
    first.leave_out(SERIES, 0)
    first.close()
    assert numbers(tmp_path).take(SERIES, 4) == 15


def test_a_life_that_used_none_is_a_crash_as_well(tmp_path: Path) -> None:
    first = numbers(tmp_path)
    first.take(SERIES, 4)
    first.close()
    second = numbers(tmp_path)
    second.expect([SERIES])
    third = numbers(tmp_path)
    third.close()
    assert numbers(tmp_path).take(SERIES, 4) == 2, "the one that ended in order changes nothing of it"


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=6), st.integers(1, 5))
def test_a_number_is_left_out_after_each_crash_and_after_no_orderly_end(
    lives: list[tuple[int, bool]], least: int
) -> None:
    """`lives`: how many numbers each takes of a task that stands, and whether it ends in order."""
    with tempfile.TemporaryDirectory() as folder:
        last, crashed = -1, False
        for count, orderly in lives:
            one = numbers(Path(folder))
            one.expect([SERIES])
            for number in (one.take(SERIES, least) for _ in range(count)):
                gap = number - last - 1
                assert gap >= (2 if last < 0 else 1) if crashed else gap == 0
                last, crashed = number, False
            crashed = crashed or not orderly
            if orderly:
                one.close()


async def test_a_leap_is_as_long_as_two_seconds_of_the_series(tmp_path: Path) -> None:
    clock = VirtualClock()
    one = numbers(tmp_path, clock=clock)
    writes = 0
    for _ in range(1000):  # a hundred a second, for ten
        before = (tmp_path / "numbers").stat().st_mtime_ns if (tmp_path / "numbers").exists() else 0
        last = one.take(SERIES, 64)
        writes += (tmp_path / "numbers").stat().st_mtime_ns != before
        one.take(OTHER, 8) if last % 100 == 0 else None
        await clock.advance(0.01)
    assert writes < 12
    again = numbers(tmp_path, clock=clock)
    assert last < again.take(SERIES, 64) <= last + 300
    assert 10 <= again.take(OTHER, 8) <= 30


def test_numbers_wrap_and_a_full_disk_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = numbers(tmp_path)
    one.take(SERIES, 4)
    one._counts[SERIES].next = (1 << 32) - 1
    assert [one.take(SERIES, 4), one.take(SERIES, 4)] == [(1 << 32) - 1, 0]

    def full(*_: object) -> None:
        raise StorageError("full")

    monkeypatch.setattr("lawful_intercept.points.numbers.write_private", full)
    for _ in range(2):
        with pytest.raises(StorageError):
            one.take(OTHER, 4)


def test_the_file_shows_nothing_and_is_not_believed_when_it_is_another(tmp_path: Path) -> None:
    numbers(tmp_path).take((str(XID), "2", "sip"), 4)
    assert str(XID).encode() not in (tmp_path / "numbers").read_bytes()
    with pytest.raises(IntegrityError):
        numbers(tmp_path, bytes(31) + b"x")
    good = (tmp_path / "numbers").read_bytes()
    for other in (b"LIN1", b"LIN2" + good[4:], b"LIN3" + good[4:]):
        (tmp_path / "numbers").write_bytes(other)
        with pytest.raises(IntegrityError):
            numbers(tmp_path)
