from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.keys import SecretKey
from lawful_intercept.mediation.correlation import Counter, Counters, Numbers, Sessions, Source, Sources, slots_of
from lawful_intercept.mediation.state import State
from nf.errors import IntegrityError
from tests.lawful_intercept.mediation.world import KEY


def opened(path: Path, key: bytes = KEY) -> State:
    with SecretKey(key) as secret:
        return State(path / "state", secret)


def test_what_was_committed_is_there(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state.commit({"task/a": b"one", "task/b": b"two", "other/a": b"three"}, [1, 5, 0, 2, 2**63, 9])
    state.commit({"task/b": None}, [1, 6, 0])
    state.close()
    state = opened(tmp_path)
    assert dict(state.rows("task")) == {"a": b"one"}
    assert dict(state.rows("other")) == {"a": b"three"}
    assert state.counters == {1: (6, 0), 2: (2**63, 9)}
    state.close()


def test_counters_are_folded(tmp_path: Path) -> None:
    state = opened(tmp_path)
    for number in range(1100):
        state.commit({}, [number % 7, number, 1])
    state.close()
    state = opened(tmp_path)
    assert state.counters == {number % 7: (number, 1) for number in range(1100)}
    state.close()


def test_nobody_reads_it(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state.commit({"task/NAME-OF-IT": b"WHAT-IT-SAYS" * 20}, [1, 0x5345435245545345, 0x5345435245545345])
    state.close()
    for path in tmp_path.iterdir():
        found = path.read_bytes()
        assert b"NAME-OF" not in found
        assert b"WHAT-IT" not in found
        assert b"SECRETSE" not in found
        assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(IntegrityError, match="does not open"):
        opened(tmp_path, bytes(32))


@pytest.mark.parametrize("table", ["rows", "deltas"])
def test_a_changed_octet_is_found(tmp_path: Path, table: str) -> None:
    state = opened(tmp_path)
    state.commit({"task/a": b"one"}, [1, 5, 0])
    state.close()
    with sqlite3.connect(tmp_path / "state") as db:
        (value,) = db.execute(f"SELECT value FROM {table}").fetchone()  # noqa: S608
        db.execute(f"UPDATE {table} SET value = ?", (value[:-1] + bytes([value[-1] ^ 1]),))  # noqa: S608
    db.close()
    with pytest.raises(IntegrityError, match="does not open"):
        opened(tmp_path)


def test_not_a_state(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state") as db:
        db.execute("CREATE TABLE other (a)")
    db.close()
    with pytest.raises(IntegrityError, match="not the state"):
        opened(tmp_path)


def test_cins(tmp_path: Path) -> None:
    state = opened(tmp_path)
    counters = Counters(state, slots_of(state))
    sessions, xid = Sessions(state, counters, 0.0), bytes(16)
    first, other = sessions.of(xid, 1, 0.0), sessions.of(xid, 2, 0.0)
    assert first is sessions.of(xid, 1, 9.0)
    assert len({0, first.cin, other.cin, sessions.of(bytes(range(16)), 1, 0.0).cin}) == 4
    counter = sessions.number(first, "LIID", "did", 1)
    counter.value += 3
    counters.changed.add(counter)
    again = sessions.anew(xid, 2, 0.0)
    assert again.cin != other.cin
    state.commit(sessions.collect(), counters.take())
    state.close()

    state = opened(tmp_path)
    counters = Counters(state, slots_of(state))
    sessions = Sessions(state, counters, 0.0)
    assert sessions.of(xid, 1, 0.0).cin == first.cin
    assert sessions.of(xid, 2, 0.0).cin == again.cin
    assert sessions.number(sessions.of(xid, 1, 0.0), "LIID", "did", 1).value == 3
    sessions.forget(xid)
    assert sessions.of(xid, 1, 0.0).cin != first.cin
    state.close()


def test_sources_and_numbers(tmp_path: Path) -> None:
    state = opened(tmp_path)
    counters = Counters(state, slots_of(state))
    sources, numbers = Sources(state, counters), Numbers(state, counters)
    source = sources.of(bytes(16), 2, "pop1//")
    for sequence in range(3):
        assert source.take(sequence, 100 + sequence, counters.changed) == (True, 0)
    numbers.of("x").value = 7
    counters.changed.add(numbers.of("x"))
    state.commit({**sources.collect(), **numbers.collect()}, counters.take())
    state.close()
    state = opened(tmp_path)
    counters = Counters(state, slots_of(state))
    source = Sources(state, counters).of(bytes(16), 2, "pop1//")
    assert source.take(2, 102, counters.changed) == (False, 0)
    assert source.take(3, 103, counters.changed) == (True, 0)
    assert Numbers(state, counters).of("x").value == 7
    state.close()


def test_numbers_of_a_point() -> None:
    source, changed = Source(1), set[Counter]()
    assert source.take(0, 10, changed) == (True, 0)
    assert source.take(4, 20, changed) == (True, 3)
    assert source.take(2, 15, changed) == (False, 0)
    assert source.take(None, 15, changed) == (True, 0)
    assert source.take(0, 30, changed) == (True, None)  # it counts anew
    assert source.take(1, 31, changed) == (True, 0)
    assert Source(1).take(5, 1, changed) == (True, 5)
    wrapping = Source(1, 0xFFFFFFFF)
    assert [wrapping.take(n, 1, changed).missing for n in (0xFFFFFFFE, 0xFFFFFFFF, 0, 1)] == [0, 0, 0, 0]


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=40))
def test_whatever_is_sent_again_is_taken_once(steps: list[tuple[int, bool]]) -> None:
    """A point delivers in order, and after a lost connection again from some place on."""
    source, changed, taken, sent = Source(1), set[Counter](), list[int](), 0
    for count, lost in steps:
        start = max(0, sent - count) if lost else sent
        numbers = range(start, start + count)
        taken += [number for number in numbers if source.take(number, 1000 + number, changed).fresh]
        sent = max(sent, start + count)
    assert taken == list(range(sent))
