"""What mediation must not forget, sealed: rows in SQLite whose names and values nobody reads without the key.

A row is found by a keyed digest of its name. Its value is AES-256-GCM over name and value, bound to the digest, so that
a changed or moved row is found. A commit is one transaction that is on the disk when it returns. Counters, which change
with every packet, are written as one short record for all of them and folded from time to time.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.keys import SecretKey
from nf.errors import IntegrityError, StorageError

_APPLICATION_ID: Final = 0x53564D44  # "SVMD"
_SCHEMA: Final = """
CREATE TABLE rows (id BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE deltas (number INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE epoch (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL) STRICT;
INSERT INTO epoch VALUES (1, 0);
"""
_SLOT: Final = struct.Struct("<QQQ")
_FOLDED: Final = "counters"
_FOLD_AFTER: Final = 512


class State:
    """One process's. Not for several threads at once; calls block on the disk."""

    def __init__(self, path: Path, key: SecretKey) -> None:
        """Open or create. Raises IntegrityError (no such file, changed, another key), StorageError."""
        self._where = path.name
        with key.opened() as octets:
            self._names = blake2b(b"names", key=bytes(octets), digest_size=32).digest()
        self._aead: AESGCM = key.aead()
        self._rows: dict[str, bytes] = {}
        self.counters: dict[int, tuple[int, int]] = {}
        """Slot -> two values, each below 2^64."""
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._open()
            self._load()
        except sqlite3.Error as error:
            raise _storage(error, self._where) from error

    def _open(self) -> None:
        db = self._db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        found = db.execute("PRAGMA application_id").fetchone()[0]
        if found == 0 and not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID}; COMMIT;")
        elif found != _APPLICATION_ID:
            raise IntegrityError("not the state of mediation", where=self._where, remedy="name another directory")
        # Nonces never repeat: each opening has its own number, and counts from there.
        db.execute("UPDATE epoch SET value = value + 1")
        self._epoch = int(db.execute("SELECT value FROM epoch").fetchone()[0])
        self._nonce = 0

    def _load(self) -> None:
        for identity, sealed in self._db.execute("SELECT id, value FROM rows"):
            name, value = self._unseal(identity, sealed)
            self._rows[name] = value
        self._fold(self._rows.pop(_FOLDED, b""))
        self._deltas = 0
        for number, sealed in self._db.execute("SELECT number, value FROM deltas ORDER BY number"):
            self._fold(self._unseal(struct.pack("!Q", number), sealed)[1])
            self._deltas = number

    def _fold(self, packed: bytes) -> None:
        self.counters.update((slot, (value, extra)) for slot, value, extra in _SLOT.iter_unpack(packed))

    def rows(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Names that begin with `kind/`, without it, and values, as they were when the state was opened."""
        start = f"{kind}/"
        return ((name[len(start) :], value) for name, value in self._rows.items() if name.startswith(start))

    def commit(self, rows: Mapping[str, bytes | None], counters: Sequence[int] = ()) -> None:
        """All of it or nothing; None removes a row. `counters`: slot, value, value, slot, ... one after another.

        Raises StorageError: nothing was written.
        """
        self.counters.update(zip(counters[::3], zip(counters[1::3], counters[2::3], strict=True), strict=True))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for name, value in rows.items():
                identity = self._identity(name)
                if value is None:
                    self._db.execute("DELETE FROM rows WHERE id = ?", (identity,))
                else:
                    self._put(identity, name, value)
            if counters:
                self._deltas += 1
                sealed = self._seal(struct.pack("!Q", self._deltas), "", _packed(counters))
                self._db.execute("INSERT INTO deltas VALUES (?, ?)", (self._deltas, sealed))
            if self._deltas >= _FOLD_AFTER:
                whole = [number for slot, values in self.counters.items() for number in (slot, *values)]
                self._put(self._identity(_FOLDED), _FOLDED, _packed(whole))
                self._db.execute("DELETE FROM deltas")
                self._deltas = 0
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._deltas = int(self._db.execute("SELECT coalesce(max(number), 0) FROM deltas").fetchone()[0])
            raise _storage(error, self._where) from error

    def forget_counters(self, slots: Iterable[int]) -> None:
        """They are left out when counters are folded next."""
        for slot in slots:
            self.counters.pop(slot, None)

    def close(self) -> None:
        self._db.close()

    def _put(self, identity: bytes, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (identity, self._seal(identity, name, value)))

    def _identity(self, name: str) -> bytes:
        return blake2b(name.encode(), key=self._names, digest_size=16).digest()

    def _seal(self, identity: bytes, name: str, value: bytes) -> bytes:
        self._nonce += 1
        nonce = struct.pack("!IQ", self._epoch, self._nonce)
        plain = name.encode()
        return nonce + self._aead.encrypt(nonce, struct.pack("!H", len(plain)) + plain + value, identity)

    def _unseal(self, identity: bytes, sealed: bytes) -> tuple[str, bytes]:
        try:
            plain = self._aead.decrypt(sealed[:12], sealed[12:], identity)
        except (InvalidTag, ValueError):
            remedy = "see `store_key`; restore the directory from a backup when it was changed"
            raise IntegrityError("the state does not open with this key", where=self._where, remedy=remedy) from None
        end = 2 + int.from_bytes(plain[:2], "big")
        return plain[2:end].decode(), plain[end:]


def _packed(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def _storage(error: sqlite3.Error, where: str) -> StorageError:
    remedy = "make room on its file system; see that no other process has it open"
    return StorageError(f"the state cannot be read or written: {type(error).__name__}", where=where, remedy=remedy)
