"""Everything that came, as it came, in order: an append-only file, each record sealed and bound to its number.

u32 octets that follow | 12 octets nonce | AES-256-GCM of (u8 interface | u64 received_ns | PS-PDU)

A changed, moved or missing record is found when it is read. What was being written when the machine stopped is cut off
the end: nobody was told that it was stored.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nf.errors import IntegrityError, StorageError

_SIZE: Final = struct.Struct("!I")
_HEAD: Final = struct.Struct("!BQ")
_NUMBER: Final = struct.Struct("!Q")
_NONCE: Final = 12
_LEAST: Final = _NONCE + _HEAD.size + 16
_MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Of a record: its number, from 0, and where it starts, in octets."""

    number: int
    offset: int


@dataclass(frozen=True, slots=True, repr=False)
class Entry:
    """`interface`: 2 or 3 (HI2, HI3); `received_ns`: UTC since 1970."""

    place: Place
    interface: int
    received_ns: int
    pdu: bytes
    after: Place


class JournalReader:
    """May be used beside the one that writes: what it has synchronised is whole."""

    def __init__(self, path: Path, key: AESGCM) -> None:
        """Raises StorageError."""
        self.path, self._key = path, key
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, place: Place) -> Entry:
        """Raises IntegrityError when there is no whole record with this number."""
        entry = self._read(place)
        if entry is None:
            raise self._changed(place)
        return entry

    def scan(self, start: Place) -> Iterator[Entry]:
        """All records from there to the last whole one. Raises IntegrityError for a changed one."""
        place = start
        while (entry := self._read(place)) is not None:
            yield entry
            place = entry.after

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _read(self, place: Place) -> Entry | None:
        """None where the file ends within the record."""
        size = os.pread(self._descriptor, _SIZE.size, place.offset)
        if len(size) < _SIZE.size:
            return None
        (octets,) = _SIZE.unpack(size)
        if not octets and not any(os.pread(self._descriptor, _MOST, place.offset)):
            return None  # blocks that were promised to a file and never written
        if not _LEAST <= octets <= _MOST:
            raise self._changed(place)
        sealed = os.pread(self._descriptor, octets, place.offset + _SIZE.size)
        if len(sealed) < octets:
            return None
        try:
            plain = self._key.decrypt(sealed[:_NONCE], sealed[_NONCE:], _NUMBER.pack(place.number))
        except InvalidTag:
            raise self._changed(place) from None
        interface, received_ns = _HEAD.unpack_from(plain)
        after = Place(place.number + 1, place.offset + _SIZE.size + octets)
        return Entry(place, interface, received_ns, plain[_HEAD.size :], after)

    def _changed(self, place: Place) -> IntegrityError:
        return IntegrityError(
            f"record {place.number} is not what was stored",
            where=self.path.name,
            remedy="keep this directory as it is and restore another from the backup",
        )

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot be used: {error.strerror}", where=self.path.name, remedy="see its owner and the free space"
        )


class Journal(JournalReader):
    """The one that writes: one process, one thread at a time. `limit`: octets that the file may have."""

    def __init__(self, path: Path, key: AESGCM, limit: int) -> None:
        """Raises StorageError."""
        try:
            self._writing = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.path = path
            raise self._unusable(error) from error
        super().__init__(path, key)
        self._limit = limit
        self._end: Place | None = None

    def close(self) -> None:
        super().close()
        os.close(self._writing)

    def recover(self, start: Place) -> Iterator[Entry]:
        """All records from `start`; then what is torn at the end is cut off, and `append` goes on from there.

        Raises IntegrityError (a changed record, or one that had been read once is no longer there), StorageError.
        """
        if start.offset > self.size():
            raise self._changed(start)
        place = start
        for entry in self.scan(start):
            yield entry
            place = entry.after
        self._cut(place)

    @property
    def end(self) -> Place:
        """Where the next record will stand. Raises StorageError before `recover` is through."""
        if self._end is None:
            raise StorageError("the journal has not been recovered", where=self.path.name, remedy="read it first")
        return self._end

    def append(self, interface: int, received_ns: int, pdus: Sequence[bytes]) -> list[Place]:
        """Stored durably when it returns: all, or none of them. Raises StorageError."""
        end = self.end
        number, offset, records, places = end.number, end.offset, list[bytes](), list[Place]()
        head = _HEAD.pack(interface, received_ns)
        for pdu in pdus:
            nonce = secrets.token_bytes(_NONCE)
            sealed = self._key.encrypt(nonce, head + pdu, _NUMBER.pack(number))
            records += (_SIZE.pack(_NONCE + len(sealed)), nonce, sealed)
            places.append(Place(number, offset))
            number, offset = number + 1, offset + _SIZE.size + _NONCE + len(sealed)
        if offset > self._limit:
            raise StorageError("the store is full", where=self.path.name, remedy="raise limit_mib or begin another")
        try:
            self._write(b"".join(records), end.offset)
        except OSError as error:
            self._cut(end)
            raise self._unusable(error) from error
        self._end = Place(number, offset)
        return places

    def _write(self, octets: bytes, offset: int) -> None:
        view = memoryview(octets)
        while view:
            written = os.pwrite(self._writing, view, offset)
            view, offset = view[written:], offset + written
        os.fdatasync(self._writing)

    def _cut(self, end: Place) -> None:
        try:
            os.ftruncate(self._writing, end.offset)
            os.fsync(self._writing)
        except OSError as error:
            self._end = None
            raise self._unusable(error) from error
        self._end = end
