"""Each call once, in both files, wherever who hands them on is killed."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nf.errors import StorageError
from sip.kamailio import records
from sip.kamailio.paths import CALLS_DB
from sip.kamailio.places import Places
from sip.kamailio.schema import SCHEMAS

NOW = 1_790_000_000.0
DAY = "2026-09-21"


class KillingError(Exception):
    """As by a SIGKILL: nothing after it is done."""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "run", tmp_path / "state")
    made.data.mkdir(parents=True)
    made.cdr.mkdir()
    with contextlib.closing(sqlite3.connect(made.data / CALLS_DB)) as connection, connection:
        connection.executescript(SCHEMAS[CALLS_DB])
    return made


def ended(places: Places, *names: str, result: str = "answered", caller: str = "sip:alice@v.test") -> None:
    with contextlib.closing(sqlite3.connect(places.data / CALLS_DB, timeout=30.0)) as connection, connection:
        connection.executemany(
            "INSERT INTO cdrs"
            " (call_id, from_tag, began, caller, dialled, source, inbound, emergency, ended, code, result)"
            " VALUES (?, 'tag', ?, ?, 'sip:9001@v.test', 'udp:10.0.0.5:5060', '', 0, ?, 200, ?)",
            ((name, NOW, caller, NOW + 5, result) for name in names),
        )


def lines(places: Places, day: str = DAY) -> list[str]:
    return [one["call_id"] for one in records.read(places.cdr / f"cdr-{day}.jsonl")]


def rows(places: Places, day: str = DAY) -> list[dict[str, str]]:
    with (places.cdr / f"cdr-{day}.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


def left(places: Places) -> int:
    with contextlib.closing(sqlite3.connect(places.data / CALLS_DB)) as connection:
        found: int = connection.execute("SELECT count(*) FROM cdrs").fetchone()[0]
        return found


def test_finished_calls_are_handed_on_and_open_ones_stay(places: Places) -> None:
    ended(places, "a", "b")
    ended(places, "c", result="open")
    assert records.export(places, "p1", NOW) == 2
    assert lines(places) == ["a", "b"]
    assert [one["call_id"] for one in rows(places)] == ["a", "b"]
    assert left(places) == 1
    assert records.export(places, "p1", NOW) == 0
    (first, _) = records.read(places.cdr / f"cdr-{DAY}.jsonl")
    assert first["proxy"] == "p1"
    assert [*first] == [*records.FIELDS]


STEPS = ("append", "_csv", "cut")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("before", [True, False])
def test_killed_at_any_step(
    places: Places, monkeypatch: pytest.MonkeyPatch, step: str, call: int, *, before: bool
) -> None:
    ended(places, "a")
    records.export(places, "p1", NOW)
    ended(places, "b", "c")
    done = getattr(records, step)
    count = 0

    def dies(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == call and before:
            raise KillingError
        found = done(*arguments, **named)
        if count == call:
            raise KillingError
        return found

    with monkeypatch.context() as patched:
        patched.setattr(records, step, dies)
        with contextlib.suppress(KillingError):
            records.export(places, "p1", NOW)
    records.export(places, "p1", NOW)
    assert sorted(lines(places)) == ["a", "b", "c"]
    assert sorted(one["call_id"] for one in rows(places)) == ["a", "b", "c"]
    assert left(places) == 0


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("octets", [1, 7, 40])
def test_a_torn_line_is_written_anew(places: Places, suffix: str, octets: int) -> None:
    ended(places, "a", "b")
    connection = sqlite3.connect(places.data / CALLS_DB)
    kept = [*connection.iterdump()]
    connection.close()
    records.export(places, "p1", NOW)
    file = places.cdr / f"cdr-{DAY}.{suffix}"
    with file.open("r+b") as torn:
        torn.truncate(file.stat().st_size - octets)
    # The row is still there, as it is when the kill comes before it goes.
    (places.data / CALLS_DB).unlink()
    for name in (f"{CALLS_DB}-wal", f"{CALLS_DB}-shm"):
        (places.data / name).unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(places.data / CALLS_DB)) as again, again:
        again.executescript("\n".join(line for line in kept if "sqlite_sequence" not in line))
    records.export(places, "p1", NOW)
    assert sorted(lines(places)) == ["a", "b"]
    assert sorted(one["call_id"] for one in rows(places)) == ["a", "b"]


def test_around_midnight_a_call_is_not_in_two_days(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(places, "a")
    with monkeypatch.context() as patched:
        patched.setattr(records, "_csv", _die)
        with contextlib.suppress(KillingError):
            records.export(places, "p1", NOW)
    records.export(places, "p1", NOW + 86_400.0)
    assert lines(places) == ["a"]
    assert [one["call_id"] for one in rows(places)] == ["a"]
    assert lines(places, "2026-09-22") == []


def _die(*_: Any, **__: Any) -> None:
    raise KillingError


def test_whatever_a_caller_sends_is_one_line(places: Places) -> None:
    ended(places, "a", caller='sip:"\n{}\x00,;=1@v.test')
    ended(places, "b", caller='=HYPERLINK("http://x")')
    records.export(places, "p1", NOW)
    assert len((places.cdr / f"cdr-{DAY}.jsonl").read_text().splitlines()) == 2
    assert [one["call_id"] for one in rows(places)] == ["a", "b"]
    assert rows(places)[1]["caller"].startswith("'=")


@given(caller=st.text(max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_any_text_comes_back_as_one_record(places: Places, caller: str) -> None:
    for file in places.cdr.iterdir():
        file.unlink()
    ended(places, "a", caller=caller.encode(errors="replace").decode())
    records.export(places, "p1", NOW)
    assert lines(places) == ["a"]
    assert len(rows(places)) == 1


def test_old_files_go(places: Places) -> None:
    for name in ("cdr-2026-06-01.jsonl", "cdr-2026-06-01.csv", "cdr-2026-09-20.csv", "other.txt"):
        (places.cdr / name).touch()
    assert records.forget(places.cdr, NOW) == ("cdr-2026-06-01.csv", "cdr-2026-06-01.jsonl")
    assert sorted(one.name for one in places.cdr.iterdir()) == ["cdr-2026-09-20.csv", "other.txt"]


def test_a_folder_that_cannot_be_written_is_told_and_loses_nothing(places: Places) -> None:
    ended(places, "a")
    places.cdr.rmdir()
    with pytest.raises(StorageError, match="cannot be handed on"):
        records.export(places, "p1", NOW)
    assert left(places) == 1
    places.cdr.mkdir()
    assert records.export(places, "p1", NOW) == 1


PROGRAM = """
import sys, time
from pathlib import Path
from sip.kamailio import records
from sip.kamailio.places import Places
places = Places(Path(sys.argv[1]) / "run", Path(sys.argv[1]) / "state")
while True:
    records.export(places, "p1", float(sys.argv[2]))
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_process_that_is_killed_again_and_again(places: Places, tmp_path: Path, seed: int) -> None:
    names = [f"call-{seed}-{number}" for number in range(300)]
    waiting: Iterator[str] = iter(names)
    for round_ in range(6):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), str(NOW)])
        try:
            for _ in range(50):
                ended(places, next(waiting))
            limit = time.monotonic() + 60.0
            while not lines(places) and time.monotonic() < limit:
                time.sleep(0.01)
            time.sleep(0.003 * (round_ + seed))  # at another place each time
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    records.export(places, "p1", NOW)
    assert sorted(lines(places)) == sorted(names)
    assert sorted(one["call_id"] for one in rows(places)) == sorted(names)
    assert left(places) == 0
    for line in (places.cdr / f"cdr-{DAY}.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_dialog_goes_with_the_end_of_its_record(places: Places) -> None:
    """Kamailio keeps the row of an ended one for some seconds, and would have it again after a start."""
    ended(places, "a", "b", result="open")
    with contextlib.closing(sqlite3.connect(places.data / CALLS_DB)) as connection, connection:
        for number, name in enumerate(("a", "b")):
            values = f"{number}, {number}, '{name}', 'x', 'tag', 'y', 't', '1', '1', 'c', 'c', 's', 's', 4, 1, 'r'"
            connection.execute(
                "INSERT INTO dialog (hash_entry, hash_id, callid, from_uri, from_tag, to_uri, to_tag, caller_cseq,"  # noqa: S608 - of the test
                " callee_cseq, caller_contact, callee_contact, caller_sock, callee_sock, state, start_time, req_uri)"
                f" VALUES ({values})"
            )
            connection.execute("INSERT INTO dialog_vars VALUES (?, ?, ?, 'relay', '1')", (number, number, number))
        connection.execute("UPDATE cdrs SET result = 'answered' WHERE call_id = 'a'")
        assert connection.execute("SELECT callid FROM dialog").fetchall() == [("b",)]
        assert connection.execute("SELECT hash_id FROM dialog_vars").fetchall() == [(1,)]
        connection.execute("UPDATE cdrs SET relay = 'r1' WHERE call_id = 'b'")
        assert connection.execute("SELECT count(*) FROM dialog").fetchone() == (1,)
