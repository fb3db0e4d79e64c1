"""The store of one NOC node: SQLite in WAL mode, synchronous FULL, so that a write that returned survives power loss.

One connection to write, one to read and one to verify, each on a thread of its own: a long verification of the audit
chain delays neither a write nor the reading that every call depends on.
Several processes may open the same file; they take turns for as long as `BUSY_TIMEOUT_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from nf.clock import Clock
from nf.errors import BusyError, ConflictError, IntegrityError, NfError, RefusedError, StorageError
from nf.store import audit as chain
from nf.store.audit import AuditEntry, AuditHead, AuditRecord, AuditReport
from nf.store.contract import Change, Entry, Put, check_changes, check_name, check_prefix

BUSY_TIMEOUT_S = 10.0

_APPLICATION_ID = 0x53564E46  # "SVNF"
_VERSION = 1
_SCHEMA = """
CREATE TABLE entries (
  bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY (bucket, key)
) STRICT;
CREATE TABLE revision (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL) STRICT;
CREATE TABLE audit (
  number INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,
  outcome TEXT NOT NULL, detail TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE TABLE audit_head (
  id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, hash TEXT NOT NULL, signature BLOB NOT NULL
) STRICT;
"""
_AUDIT_COLUMNS = "number, at_us, actor, action, object, outcome, detail, previous, hash"

_T = TypeVar("_T")


class SqliteStore:
    """Implements `nf.store.contract.Store`."""

    def __init__(self, path: Path, sign: Callable[[bytes], bytes] | None, clock: Clock) -> None:
        """Use `open`."""
        self._path = path
        self._sign = sign
        self._clock = clock
        self._writer = _Worker(path, "store-write")
        self._reader = _Worker(path, "store-read")
        self._verifier = _Worker(path, "store-verify")

    @classmethod
    async def open(cls, path: Path, *, sign: Callable[[bytes], bytes] | None = None, clock: Clock) -> SqliteStore:
        """Open or create. `sign` makes the Ed25519 signature of the audit chain's head.

        Raises IntegrityError (not a store, or corrupt), RefusedError (of a newer release), StorageError, BusyError.
        """
        store = cls(path, sign, clock)
        try:
            await store._writer.run(lambda db: _prepare(db, path, sign))
            await store._reader.run(lambda db: db.execute("PRAGMA query_only = ON"))
        except BaseException:
            await store.close()
            raise
        return store

    async def get(self, bucket: str, key: str) -> Entry | None:
        check_name(bucket, key)
        query = "SELECT value, revision FROM entries WHERE bucket = ? AND key = ?"
        row = await self._reader.run(lambda db: db.execute(query, (bucket, key)).fetchone())
        return None if row is None else Entry(bucket, key, row[0], row[1])

    async def list(self, bucket: str, prefix: str = "") -> tuple[Entry, ...]:
        check_prefix(bucket, prefix)
        query = (
            "SELECT key, value, revision FROM entries "
            "WHERE bucket = ?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2 ORDER BY key"
        )
        rows = await self._reader.run(lambda db: db.execute(query, (bucket, prefix)).fetchall())
        return tuple(Entry(bucket, key, value, revision) for key, value, revision in rows)

    async def write(self, changes: Sequence[Change], audit: AuditEntry | None = None) -> int:
        changes = tuple(changes)
        check_changes(changes)
        return await self._writer.run(lambda db: self._write(db, changes, audit))

    async def audit_records(self, limit: int, before: int | None = None) -> tuple[AuditRecord, ...]:
        query = f"SELECT {_AUDIT_COLUMNS} FROM audit WHERE ?1 IS NULL OR number < ?1 ORDER BY number DESC LIMIT ?2"  # noqa: S608 - only constants
        rows = await self._reader.run(lambda db: db.execute(query, (before, max(0, limit))).fetchall())
        return tuple(AuditRecord(*row) for row in rows)

    async def audit_verify(self) -> AuditReport:
        return await self._verifier.run(self._verify)

    async def close(self) -> None:
        await self._verifier.close()
        await self._reader.close()
        await self._writer.close()

    def _write(self, db: sqlite3.Connection, changes: Sequence[Change], audit: AuditEntry | None) -> int:
        with _transaction(db, "IMMEDIATE"):
            revision = int(db.execute("SELECT value FROM revision").fetchone()[0])
            for change in changes:
                _expect(db, change)
            if changes:
                revision += 1
                db.execute("UPDATE revision SET value = ?", (revision,))
            for change in changes:
                _change(db, change, revision)
            if audit is not None:
                self._append(db, audit)
        return revision

    def _append(self, db: sqlite3.Connection, entry: AuditEntry) -> None:
        head = _head(db)
        fault = chain.check_head(head, self._sign)
        if head is None or fault:
            raise IntegrityError(
                f"the audit chain was tampered with or its key replaced: {fault}",
                where=str(self._path),
                remedy="nf audit verify; then restore store and key from one backup",
            )
        if head.signature and self._sign is None:
            raise RefusedError("the audit chain of this store is signed and no key was given", where=str(self._path))
        record = chain.link(entry, head, self._clock.now())
        row = (record.number, record.at_us, record.actor, record.action, record.object, record.outcome)
        row_hashes = (record.detail_json, record.previous, record.hash)
        db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row + row_hashes)
        sealed = chain.seal(record.number, record.hash, self._sign)
        db.execute(
            "UPDATE audit_head SET number = ?, hash = ?, signature = ?", (sealed.number, sealed.hash, sealed.signature)
        )

    def _verify(self, db: sqlite3.Connection) -> AuditReport:
        with _transaction(db, "DEFERRED"), _exact_text(db):
            rows = db.execute(f"SELECT {_AUDIT_COLUMNS} FROM audit ORDER BY number")  # noqa: S608 - only constants
            return chain.verify((AuditRecord(*row) for row in rows), _head(db), self._sign)


class _Worker:
    """A connection and the one thread that uses it."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._closed:
            raise StorageError("the store is closed", where=str(self._path))
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._guarded, work)

    def _guarded(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            if self._connection is None:
                self._connection = _connect(self._path)
            return work(self._connection)
        except (sqlite3.Error, OSError) as error:
            raise _translate(error, self._path) from error

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self._disconnect)
        self._executor.shutdown()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its WAL the mode of the main file, so that one is made first, readable by its owner only. A file that
    # is there is never opened here: closing it would drop the locks of this process's other connection (POSIX), and
    # the next process to leave would take itself for the last and delete the WAL (sqlite.org/howtocorrupt.html, 2.2).
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        _require_wal(str(db.execute("PRAGMA journal_mode = WAL").fetchone()[0]))
        # Bytes that are no UTF-8 can only come from tampering: shown, never an error of their own.
        db.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        db.close()
        raise
    return db


def _require_wal(mode: str) -> None:
    if mode != "wal":
        raise sqlite3.OperationalError("this file system cannot hold a write-ahead log")


def _prepare(db: sqlite3.Connection, path: Path, sign: Callable[[bytes], bytes] | None) -> None:
    """Create the tables in a new file; refuse a file that is something else."""
    with _transaction(db, "IMMEDIATE"):
        application = int(db.execute("PRAGMA application_id").fetchone()[0])
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        tables = int(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
        if (application, version, tables) == (0, 0, 0):
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute("INSERT INTO revision VALUES (1, 0)")
            head = chain.seal(0, chain.GENESIS, sign)
            db.execute("INSERT INTO audit_head VALUES (1, 0, ?, ?)", (head.hash, head.signature))
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_VERSION}")
            return
    if application != _APPLICATION_ID:
        raise IntegrityError("this file is not a store", where=str(path), remedy="name the store's own file")
    if version > _VERSION:
        raise RefusedError("the store was written by a newer release", where=str(path), remedy="install that release")
    found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise IntegrityError(
            f"the store is corrupt: {found}", where=str(path), remedy="restore the store from a backup"
        )


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite rolls back by itself when the disk is full; a second rollback is then no error to speak of.
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _exact_text(db: sqlite3.Connection) -> Iterator[None]:
    """Different bytes give different texts, also where they are no UTF-8."""
    usual = db.text_factory
    db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        db.text_factory = usual


def _expect(db: sqlite3.Connection, change: Change) -> None:
    if change.expected_revision is None:
        return
    query = "SELECT revision FROM entries WHERE bucket = ? AND key = ?"
    row = db.execute(query, (change.bucket, change.key)).fetchone()
    stands = int(row[0]) if row else 0
    if stands != change.expected_revision:
        raise ConflictError(
            f"somebody else changed it: revision {stands} stands, {change.expected_revision} was expected",
            where=f"{change.bucket}/{change.key}",
            remedy="read it again and repeat",
        )


def _change(db: sqlite3.Connection, change: Change, revision: int) -> None:
    if isinstance(change, Put):
        db.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?) "
            "ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
            (change.bucket, change.key, change.value, revision),
        )
    else:
        db.execute("DELETE FROM entries WHERE bucket = ? AND key = ?", (change.bucket, change.key))


def _head(db: sqlite3.Connection) -> AuditHead | None:
    row = db.execute("SELECT number, hash, signature FROM audit_head").fetchone()
    return None if row is None else AuditHead(*row)


def _translate(error: sqlite3.Error | OSError, path: Path) -> NfError:
    where = str(path)
    if isinstance(error, OSError):
        return StorageError(f"the store cannot be opened: {error.strerror}", where=where, remedy="check the directory")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageError("no space left, nothing was written", where=where, remedy="free space on this file system")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BusyError(
            f"another process held the store for {BUSY_TIMEOUT_S:g} s", where=where, remedy="find it, then repeat"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, sqlite3.DataError):
        return IntegrityError(f"the store is corrupt: {error}", where=where, remedy="restore the store from a backup")
    return StorageError(f"the store failed: {error}", where=where, remedy="check the disk and its free space")
