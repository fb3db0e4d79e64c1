"""What is to be sent, kept on disk until the bus has it, with what its senders have to remember: one file, one writer.

What is sent and what is remembered of it are written together, so that a crash neither loses an event nor makes it
twice. It is bounded: of a topic that is full, the oldest makes room, and that is counted.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.contracts.json import Json, canonical
from nf.errors import IntegrityError, StorageError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, id TEXT NOT NULL, subject TEXT NOT NULL,
    at REAL NOT NULL, value BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS events_topic ON events (topic, seq);
CREATE TABLE IF NOT EXISTS memory (kind TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Event:
    """`subject`: events of one subject stay in their order. `at`: seconds since the epoch."""

    topic: str
    id: str
    subject: str
    at: float
    value: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    seq: int
    event: Event


@dataclass(frozen=True, slots=True)
class Remember:
    """`value` None: forget it."""

    kind: str
    key: str
    value: Json


class Outbox:
    """All methods may be called from any thread. Raise StorageError, IntegrityError."""

    def __init__(self, path: Path, limit: int) -> None:
        """`limit`: so many events of a topic may wait."""
        self._path = path
        self._limit = limit
        self._lock = threading.Lock()
        with self._failing():
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
            found = self._database.execute("SELECT topic, COUNT(*) FROM events GROUP BY topic")
            self._counts: dict[str, int] = dict(found.fetchall())

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def add(self, events: Sequence[Event], remember: Iterable[Remember] = ()) -> int:
        """Durable when it returns, all or nothing. How many older events had to make room."""
        with self._lock:
            counts, dropped = dict(self._counts), 0
            with self._writing():
                self._insert(events)
                self._remember(remember)
                for topic, more in Counter(event.topic for event in events).items():
                    counts[topic] = counts.get(topic, 0) + more
                    if (excess := counts[topic] - self._limit) > 0:
                        oldest = "SELECT seq FROM events WHERE topic = ? ORDER BY seq LIMIT ?"
                        self._database.execute(f"DELETE FROM events WHERE seq IN ({oldest})", (topic, excess))  # noqa: S608 - nothing of it comes from outside
                        counts[topic] -= excess
                        dropped += excess
            self._counts = counts
        return dropped

    def _insert(self, events: Iterable[Event]) -> None:
        self._database.executemany(
            "INSERT INTO events (topic, id, subject, at, value) VALUES (?, ?, ?, ?, ?)",
            [(one.topic, one.id, one.subject, one.at, one.value) for one in events],
        )

    def _remember(self, several: Iterable[Remember]) -> None:
        for one in several:
            if one.value is None:
                self._database.execute("DELETE FROM memory WHERE kind = ? AND key = ?", (one.kind, one.key))
            else:
                row = (one.kind, one.key, canonical(one.value))
                self._database.execute("INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", row)

    def memory(self, kind: str) -> Mapping[str, Json]:
        with self._lock, self._failing():
            rows = self._database.execute("SELECT key, value FROM memory WHERE kind = ?", (kind,)).fetchall()
        try:
            return {key: json.loads(value) for key, value in rows}
        except ValueError as error:
            raise IntegrityError(f"not readable: {error}", where=str(self._path)) from error

    def after(self, seq: int, limit: int) -> tuple[Waiting, ...]:
        """Those behind a number, oldest first."""
        with self._lock, self._failing():
            rows = self._database.execute(
                "SELECT seq, topic, id, subject, at, value FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
            ).fetchall()
        return tuple(Waiting(number, Event(*rest)) for number, *rest in rows)

    def delivered(self, seqs: Iterable[int]) -> None:
        with self._lock:
            with self._writing():
                gone = Counter[str]()
                for seq in seqs:
                    found = self._database.execute("DELETE FROM events WHERE seq = ? RETURNING topic", (seq,))
                    gone.update(topic for (topic,) in found.fetchall())
            self._counts = {topic: count - gone[topic] for topic, count in self._counts.items()}

    def waiting(self) -> int:
        return sum(self._counts.values())

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            remedy = "see that the disk has room; what waits there is sent when it can be read again"
            raise StorageError(f"cannot be written or read: {error}", where=str(self._path), remedy=remedy) from error
        except sqlite3.Error as error:
            remedy = "move the file away: what waits in it is lost, and a new one is begun"
            raise IntegrityError(f"is damaged: {error}", where=str(self._path), remedy=remedy) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._failing():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
