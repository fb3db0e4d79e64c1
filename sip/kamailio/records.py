"""Call records: from Kamailio's table `cdrs` to a file of JSON lines and one of CSV for each day, each call once.

A record is written and synced to both files before its row goes. Whoever is killed in between finds the row again, and
its record at the end of the file: a record that is there is not written a second time. A line that was torn is cut off.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from nf.errors import StorageError
from sip.kamailio.paths import CALLS_DB
from sip.kamailio.places import Places
from sip.kamailio.schema import OPEN

KEEP_DAYS: Final = 90
BATCH: Final = 500

FIELDS: Final = (
    "proxy",
    "call_id",
    "from_tag",
    "began",
    "caller",
    "dialled",
    "source",
    "inbound",
    "emergency",
    "called",
    "outbound",
    "relay",
    "answered",
    "ended",
    "seconds",
    "code",
    "result",
)
"""Of a record, in the order of the CSV's columns. Times are seconds since the epoch, UTC."""

_COLUMNS: Final = FIELDS[1:]
_FILE: Final = re.compile(r"cdr-(\d{4}-\d{2}-\d{2})\.(jsonl|csv)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

Key = tuple[str, str, float]
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    record: Record

    @property
    def key(self) -> Key:
        return key_of(self.record)


def key_of(record: Record) -> Key:
    """What makes a call a call: its Call-ID, its caller's tag (RFC 3261 section 12) and when it began."""
    return str(record["call_id"]), str(record["from_tag"]), round(float(record["began"]), 6)


class Exporter:
    """Hands finished calls on. Only one may run at a time. It remembers what it found in the files, and reads again
    those that are another length than it left them."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._known: dict[Path, tuple[int, set[Key]]] = {}

    def export(self, proxy: str, now: float) -> int:
        """How many records were written. Raises StorageError."""
        database = self._places.data / CALLS_DB
        if not database.exists():
            return 0
        written = 0
        try:
            with contextlib.closing(sqlite3.connect(database, timeout=20.0)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                while rows := [*_finished(connection, proxy)]:
                    written += self._write(rows, datetime.fromtimestamp(now, UTC).date())
                    with connection:
                        connection.executemany("DELETE FROM cdrs WHERE id = ?", ((row.id,) for row in rows))
        except (sqlite3.Error, OSError) as error:
            remedy = "see whether the disk is full; records stay in the database until they can be written"
            text = f"call records cannot be handed on: {error}"
            raise StorageError(text, where=str(self._places.cdr), remedy=remedy) from error
        return written

    def _write(self, rows: Iterable[_Row], day: date) -> int:
        """How many were not there yet, neither today nor on the day before."""
        there: set[Key] = set()
        for one in (day - timedelta(days=1), day):
            lines, table = (self._places.cdr / f"cdr-{one}.{suffix}" for suffix in ("jsonl", "csv"))
            if one == day or lines.exists():
                self._mend(lines, table)
                there |= self._keys(lines)
        fresh = [row.record for row in rows if row.key not in there]
        self._append(lines, "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in fresh), fresh)
        absent = [one for one in fresh if key_of(one) not in self._keys(table)]
        self._append(table, _csv(absent, head=_size(table) <= 0), absent)
        return len(fresh)

    def _mend(self, lines: Path, table: Path) -> None:
        """What a kill kept from the second file is in the first."""
        for path in (lines, table):
            if self._changed(path):
                cut(path)
        if self._keys(lines) - self._keys(table):
            have = self._keys(table)
            missing = [one for one in read(lines) if key_of(one) not in have]
            self._append(table, _csv(missing, head=_size(table) <= 0), missing)

    def _changed(self, path: Path) -> bool:
        return path not in self._known or self._known[path][0] != _size(path)

    def _keys(self, path: Path) -> set[Key]:
        if self._changed(path):
            self._known = {one: known for one, known in self._known.items() if one.exists()}
            self._known[path] = _size(path), {*_keys_of(path)}
        return self._known[path][1]

    def _append(self, path: Path, text: str, added: Iterable[Record]) -> None:
        known = self._keys(path)
        append(path, text)
        self._known[path] = _size(path), known | {key_of(one) for one in added}


def export(places: Places, proxy: str, now: float) -> int:
    """As `Exporter`, once."""
    return Exporter(places).export(proxy, now)


def _finished(connection: sqlite3.Connection, proxy: str) -> Iterator[_Row]:
    names = ", ".join(_COLUMNS)
    found = connection.execute(
        f"SELECT id, {names} FROM cdrs WHERE result != ? ORDER BY id LIMIT ?",  # noqa: S608 - names of ours
        (OPEN, BATCH),
    )
    for number, *values in found:
        yield _Row(
            number, {"proxy": proxy, **{name: _clean(value) for name, value in zip(_COLUMNS, values, strict=True)}}
        )


def _clean(value: object) -> object:
    """A caller may have put anything into its headers: a record stays one line."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return _CONTROL.sub("\ufffd", value) if isinstance(value, str) else value


def read(path: Path) -> Iterator[Record]:
    """Records of a file of JSON lines."""
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def _keys_of(path: Path) -> Iterator[Key]:
    """Of either kind of file."""
    with contextlib.ExitStack() as stack:
        found: Iterable[Record] = read(path)
        if path.suffix == ".csv":
            try:
                file = stack.enter_context(path.open(newline="", encoding="utf-8"))
            except FileNotFoundError:
                return
            found = csv.DictReader(file)
        for record in found:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                yield key_of(record)


def _size(path: Path) -> int:
    """-1: it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _csv(several: Iterable[Record], *, head: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, extrasaction="ignore", lineterminator="\n")
    if head:
        writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in one.items()} for one in several)
    return text.getvalue()


def _plain(value: object) -> object:
    """What a spreadsheet would take for a formula is text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "@", "-"} else value


def cut(path: Path) -> None:
    """A line without its end was being written when somebody was killed."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        place = end
        while place:
            step = min(4096, place)
            file.seek(place - step)
            found = file.read(step).rfind(b"\n")
            if found >= 0:
                file.truncate(place - step + found + 1)
                return
            place -= step
        file.truncate(0)


def append(path: Path, text: str) -> None:
    """Synced when it returns. Raises OSError."""
    if not text:
        return
    fresh = not path.exists()
    with open(path, "a", encoding="utf-8", opener=_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o640)


def forget(folder: Path, now: float, keep_days: int = KEEP_DAYS) -> tuple[str, ...]:
    """Takes files away that are older. Their names."""
    oldest = (datetime.fromtimestamp(now, UTC) - timedelta(days=keep_days)).date().isoformat()
    gone = []
    for path in sorted(folder.glob("cdr-*")) if folder.is_dir() else ():
        match = _FILE.fullmatch(path.name)
        if match is not None and match[1] < oldest:
            path.unlink(missing_ok=True)
            gone.append(path.name)
    return tuple(gone)
