"""What stands in the journal and where, by session: a database beside it that can be made anew from it at any time."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lawful_intercept.lemf.journal import Place
from lawful_intercept.lemf.ledger import Sequence
from nf.errors import IntegrityError, StorageError

JOURNAL: Final = "journal.li"
INDEX: Final = "index.sqlite3"
KEY_NAME: Final = "journal"
NO_CIN: Final = -1
MOST_SQLITE: Final = (1 << 63) - 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER, offset INTEGER);
CREATE TABLE IF NOT EXISTS sessions (
  id INTEGER PRIMARY KEY, liid BLOB NOT NULL, cin INTEGER NOT NULL, first_ns INTEGER, last_ns INTEGER, ended INTEGER,
  UNIQUE (liid, cin));
CREATE TABLE IF NOT EXISTS pdus (
  number INTEGER PRIMARY KEY, offset INTEGER NOT NULL, session INTEGER, interface INTEGER NOT NULL, kind TEXT NOT NULL,
  data_type INTEGER, epoch INTEGER, sequence INTEGER, at_ns INTEGER, direction INTEGER, iri_type INTEGER,
  again INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS pdus_of ON pdus (session, data_type, epoch, sequence);
CREATE INDEX IF NOT EXISTS pdus_aside ON pdus (kind) WHERE kind NOT IN ('iri', 'cc');
CREATE TABLE IF NOT EXISTS streams (
  session INTEGER, data_type INTEGER, due INTEGER, received INTEGER, again INTEGER, late INTEGER, epoch INTEGER,
  forgotten INTEGER, missing TEXT, conflicts INTEGER, PRIMARY KEY (session, data_type));
CREATE TABLE IF NOT EXISTS checks (
  session INTEGER, data_type INTEGER, epoch INTEGER, check_type INTEGER, sequence INTEGER, number INTEGER,
  offset INTEGER, included INTEGER, state TEXT, PRIMARY KEY (session, data_type, epoch, check_type, sequence));
"""


@dataclass(slots=True)
class Stream:
    """`conflicts`: numbers that came again with other contents."""

    sequence: Sequence
    conflicts: int = 0


def connect(state: Path, *, writing: bool) -> sqlite3.Connection:
    """Raises StorageError."""
    path = state / INDEX
    try:
        if not writing:
            return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, check_same_thread=False)
        database = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        # It is made anew from the journal, which alone has to be durable.
        database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
    except (sqlite3.Error, OSError) as error:
        raise StorageError("the index cannot be opened", where=INDEX, remedy="has anything been received?") from error
    return database


def position(database: sqlite3.Connection) -> Place:
    """Up to where the journal is indexed."""
    row = database.execute("SELECT number, offset FROM position").fetchone()
    return Place(*row) if row else Place(0, 0)


def set_position(database: sqlite3.Connection, place: Place) -> None:
    database.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?)", (place.number, place.offset))


def read_stream(database: sqlite3.Connection, session: int, data_type: int) -> Stream:
    """A fresh one where there is none. Raises IntegrityError."""
    row = database.execute(
        "SELECT due, received, again, late, epoch, forgotten, missing, conflicts FROM streams"
        " WHERE session = ? AND data_type = ?",
        (session, data_type),
    ).fetchone()
    if row is None:
        return Stream(Sequence())
    try:
        missing = [(int(first), int(last)) for first, last in json.loads(row[6])]
    except ValueError as error:
        raise IntegrityError("the index is damaged", where=INDEX, remedy="remove it; it is made anew") from error
    due, received, again, late, epoch, forgotten, _, conflicts = row
    return Stream(Sequence(due, received, again, late, epoch, forgotten, missing), conflicts)


def write_stream(database: sqlite3.Connection, session: int, data_type: int, stream: Stream) -> None:
    one = stream.sequence
    counts = (one.due, one.received, one.again, one.late, one.epoch, one.forgotten)
    database.execute(
        "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (session, data_type, *counts, json.dumps(one.missing), stream.conflicts),
    )
