"""A GUID partition table (UEFI 2.10 section 5.3), both of its copies; sectors of 512 octets."""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from images.supply.region import Region
from nf.errors import IntegrityError

SECTOR: Final = 512
_HEADER: Final = struct.Struct("<8s4sII4xQQQQ16sQIII")
_HEADER_CRC_AT: Final = 16
_ENTRY: Final = struct.Struct("<16s16sQQQ72s")
_ENTRIES: Final = 128
_ENTRIES_SECTORS: Final = _ENTRIES * _ENTRY.size // SECTOR


@dataclass(frozen=True, slots=True)
class Partition:
    """`start` and `size` in octets."""

    number: int
    name: str
    type: uuid.UUID
    guid: uuid.UUID
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Table:
    """From `free_start` to `free_end` (octets) the disk is not the table's own."""

    guid: uuid.UUID
    partitions: tuple[Partition, ...]
    free_start: int
    free_end: int


@dataclass(frozen=True, slots=True)
class _Header:
    here: int
    other: int
    first: int
    last: int
    guid: bytes
    entries_at: int
    entries_crc: int


def looks_like(disk: Region) -> bool:
    """Whether a header stands where one would."""
    return disk.size >= 3 * SECTOR and disk.read(SECTOR, 8) == b"EFI PART"


def read(disk: Region) -> Table:
    """The table, once both copies were found whole and equal. Raises IntegrityError."""
    if disk.size % SECTOR or disk.size < 68 * SECTOR:
        raise IntegrityError("it is no disk image: its size is not that of one", where=disk.name)
    _check_protective(disk)
    last = disk.size // SECTOR - 1
    primary = _header(disk, 1, "first")
    backup = _header(disk, last, "second")
    same = (primary.first, primary.last, primary.guid, primary.entries_crc) == (
        backup.first,
        backup.last,
        backup.guid,
        backup.entries_crc,
    )
    if not same or primary.other != last or backup.other != 1 or primary.entries_at != 2:
        raise IntegrityError("the two copies of its partition table differ", where=disk.name)
    free_start = primary.entries_at + _ENTRIES_SECTORS
    if not free_start <= primary.first <= primary.last < backup.entries_at == last - _ENTRIES_SECTORS:
        raise IntegrityError("its partition table overlaps what it describes", where=disk.name)
    entries = _entries(disk, primary)
    _entries(disk, backup)
    partitions = tuple(
        found for number in range(_ENTRIES) if (found := _partition(entries, number, primary, disk.name)) is not None
    )
    ordered = sorted(partitions, key=lambda one: one.start)
    if any(before.start + before.size > after.start for before, after in pairwise(ordered)):
        raise IntegrityError("two of its partitions overlap", where=disk.name)
    return Table(uuid.UUID(bytes_le=primary.guid), partitions, free_start * SECTOR, backup.entries_at * SECTOR)


def _check_protective(disk: Region) -> None:
    """UEFI 2.10 clause 5.2.3: one entry of type 0xEE from sector 1 on."""
    record = disk.read(0, SECTOR)
    if record[510:] != b"\x55\xaa" or record[450] != 0xEE or record[454:458] != b"\x01\0\0\0" or any(record[462:510]):
        raise IntegrityError("its protective boot record is damaged", where=disk.name)


def _header(disk: Region, sector: int, which: str) -> _Header:
    raw = disk.read(sector * SECTOR, SECTOR)
    magic, revision, size, crc, here, other, first, last, guid, entries_at, count, entry, entries_crc = _HEADER.unpack(
        raw[: _HEADER.size]
    )
    bare = raw[:_HEADER_CRC_AT] + bytes(4) + raw[_HEADER_CRC_AT + 4 : 92]
    if magic != b"EFI PART" or revision != b"\0\0\1\0" or size != 92 or zlib.crc32(bare) != crc:
        raise IntegrityError(f"the {which} copy of its partition table is damaged", where=disk.name)
    if here != sector or any(raw[92:]) or any(raw[20:24]) or (count, entry) != (_ENTRIES, _ENTRY.size):
        raise IntegrityError(f"the {which} copy of its partition table is not as it belongs", where=disk.name)
    return _Header(here, other, first, last, guid, entries_at, entries_crc)


def _entries(disk: Region, header: _Header) -> bytes:
    entries = disk.read(header.entries_at * SECTOR, _ENTRIES * _ENTRY.size)
    if zlib.crc32(entries) != header.entries_crc:
        raise IntegrityError("the list of its partitions is damaged", where=disk.name)
    return entries


def _partition(entries: bytes, number: int, header: _Header, where: str) -> Partition | None:
    kind, guid, first, last, _flags, name = _ENTRY.unpack_from(entries, number * _ENTRY.size)
    if not any(kind):
        return None
    if not header.first <= first <= last <= header.last:
        raise IntegrityError(f"partition {number + 1} lies outside of the disk", where=where)
    try:
        label = name.decode("utf-16-le").rstrip("\0")
    except UnicodeDecodeError:
        raise IntegrityError(f"the name of partition {number + 1} cannot be read", where=where) from None
    return Partition(
        number + 1,
        label,
        uuid.UUID(bytes_le=kind),
        uuid.UUID(bytes_le=guid),
        first * SECTOR,
        (last - first + 1) * SECTOR,
    )
