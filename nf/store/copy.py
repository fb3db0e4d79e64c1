"""A consistent copy of a store's SQLite file, taken while others write to it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from nf.errors import IntegrityError, StorageError

_BUSY_S = 10.0


def copy_database(source: Path, target: Path) -> None:
    """One transaction's view of `source` as a single file (no WAL beside it), durable, mode 0600. Blocks.

    Raises StorageError, IntegrityError (the source is no database).
    """
    try:
        target.unlink(missing_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as reading,
            contextlib.closing(sqlite3.connect(target, timeout=_BUSY_S, isolation_level=None)) as writing,
        ):
            reading.backup(writing)  # all pages in one step: a read transaction of its own
            writing.execute("PRAGMA journal_mode = DELETE")
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise StorageError(f"cannot be copied: {error}", where=str(source), remedy="check both disks") from error
        raise IntegrityError(f"is corrupt: {error}", where=str(source), remedy="restore it from a backup") from error
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(target), remedy="check free space and permissions"
        ) from error


class ChangeWatch:
    """Tells whether anybody committed to a SQLite file, in whichever process. Blocks for microseconds."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)

    def version(self) -> int:
        """Another number after each commit of another connection. Raises StorageError."""
        try:
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise StorageError(f"the store cannot be read: {error}", remedy="check the disk") from error

    def close(self) -> None:
        self._db.close()
