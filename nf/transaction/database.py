"""SQLite as the journal uses it: one writer, durable when a write returns, errors in the appliance's words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from nf.errors import IntegrityError, NfError, RefusedError, StorageError
from nf.transaction.killpoints import KillPoints, sync_directory
from nf.transaction.reserve import Reserve

T = TypeVar("T")
Statement = tuple[str, Sequence[object]]

SCHEMA_VERSION = 1
# What changes (state) stands apart from what may be large (configurations, steps, undo records): SQLite writes a row
# whole, and a state change must fit the reserve however large the rest is.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transactions(
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, revision INTEGER NOT NULL,
  state INTEGER NOT NULL, stages INTEGER NOT NULL, deadline REAL NOT NULL, reason TEXT NOT NULL,
  undo_to INTEGER NOT NULL, undo_final INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS configs(number INTEGER PRIMARY KEY, txn TEXT NOT NULL UNIQUE, config TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS steps(
  txn TEXT NOT NULL, seq INTEGER NOT NULL, stage INTEGER NOT NULL, section TEXT NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY(txn, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS step_bodies(
  txn TEXT NOT NULL, seq INTEGER NOT NULL, step TEXT NOT NULL, PRIMARY KEY(txn, seq)) STRICT;
CREATE TABLE IF NOT EXISTS undos(
  txn TEXT NOT NULL, seq INTEGER NOT NULL, undo TEXT NOT NULL, PRIMARY KEY(txn, seq)) STRICT;
CREATE TABLE IF NOT EXISTS overrides(
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, section TEXT NOT NULL, patch TEXT NOT NULL,
  reason TEXT NOT NULL, author TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL,
  state TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS operations(
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, driver TEXT NOT NULL, name TEXT NOT NULL,
  arguments TEXT NOT NULL, state TEXT NOT NULL, checkpoint TEXT NOT NULL, result TEXT NOT NULL, error TEXT NOT NULL,
  created_at REAL NOT NULL, ended_at REAL NOT NULL) STRICT;
"""
_CHECKPOINT_PAGES = 256  # the log is written over from its start after 1 MiB: it never outgrows the reserve
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """One connection that holds the file alone: a second agent on the same journal is refused."""

    def __init__(self, path: Path, faults: KillPoints, *, reserve_bytes: int) -> None:
        self.path = path
        self.commits = 0
        self._faults = faults
        self.reserve = Reserve(path.with_name(path.name + ".reserve"), reserve_bytes)
        self._connection = self._guarded(self._open)

    def _open(self) -> sqlite3.Connection:
        _make_private(self.path)
        connection = sqlite3.connect(self.path, timeout=0.5, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # Debian's default overwrites what is deleted: an end would then need as much room as its undo records.
            connection.execute("PRAGMA secure_delete = OFF")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            self._bring_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_up(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise _damaged(self.path, str(found))
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise _newer(self.path, version)
        if version < SCHEMA_VERSION:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            sync_directory(self.path.parent)

    def close(self) -> None:
        self._connection.close()

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        return self._guarded(lambda: self._connection.execute(sql, tuple(parameters)).fetchall())

    def write(self, what: str, *statements: Statement, must: bool = False) -> None:
        """All statements or none; durable when it returns. `must`: give up the reserve rather than fail."""
        try:
            self._guarded(lambda: self._commit(statements))
        except StorageError:
            if not (must and self.reserve.release()):
                raise
            self._guarded(lambda: self._commit(statements))
        self.commits += 1
        self._faults.reach(f"journal:{what}")

    def checkpoint(self) -> None:
        """Move the log into the file, so that nothing large needs room later. Raises StorageError."""
        self._guarded(lambda: self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())

    def _commit(self, statements: Sequence[Statement]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, parameters in statements:
                self._connection.execute(sql, tuple(parameters))
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> NfError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in _DAMAGED:
            return _damaged(self.path, str(error))
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return RefusedError(
                "another process holds the journal",
                where=str(self.path),
                remedy="one agent per state directory: stop the other",
            )
        return StorageError(
            f"the journal cannot be written: {error}",
            where=str(self.path),
            remedy="free disk space or mend the disk there",
        )


def _make_private(path: Path) -> None:
    """SQLite gives its log the mode of the file itself. Raises StorageError.

    A file that is there is not opened: closing it would drop the locks that this process holds on it (POSIX).
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StorageError(
            f"the journal cannot be opened: {error.strerror}", where=str(path), remedy="see its directory and its owner"
        ) from error


def _damaged(path: Path, found: str) -> IntegrityError:
    return IntegrityError(
        f"the journal is damaged: {found}",
        where=str(path),
        remedy="move it and its -wal away and start again: the NOC brings the current revision back",
    )


def _newer(path: Path, version: int) -> RefusedError:
    return RefusedError(
        f"the journal is of format {version}, this software knows up to {SCHEMA_VERSION}",
        where=str(path),
        remedy="install the software that wrote it",
    )
