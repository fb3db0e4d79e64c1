"""Reads files of a FAT volume by their short names (Microsoft FAT specification 1.03); FAT12, 16 and 32.

Every name that the boot chain uses fits 8.3, so long names are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from images.supply.region import Region
from nf.errors import IntegrityError, NotFoundError

_BOOT: Final = struct.Struct("<HBHBHHBHHHIII")
_ENTRY: Final = struct.Struct("<11sB8xH4xHI")
_DIRECTORY: Final = 0x10
_VOLUME: Final = 0x08
_LARGEST_DIRECTORY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    is_directory: bool
    cluster: int
    size: int


class Volume:
    """An opened volume. Each method raises IntegrityError where its structure is damaged."""

    def __init__(self, volume: Region) -> None:
        self._volume = volume
        head = volume.read(0, 512)
        (sector, per_cluster, reserved, fats, root_entries, small, _, fat16, _, _, _, large, fat32) = _BOOT.unpack_from(
            head, 11
        )
        sectors = small or large
        fat_sectors = fat16 or fat32
        root_sectors = (root_entries * 32 + sector - 1) // sector if sector else 0
        data_at = reserved + fats * fat_sectors + root_sectors
        # Sizes as the specification allows them; a FAT that is too short is found when it is read.
        if (
            head[510:] != b"\x55\xaa"
            or sector not in (512, 1024, 2048, 4096)
            or per_cluster not in (1, 2, 4, 8, 16, 32, 64, 128)
            or not reserved
            or fats not in (1, 2)
            or not fat_sectors
            or not data_at < sectors <= volume.size // sector
        ):
            raise self._damaged("it is no FAT volume")
        self._clusters = (sectors - data_at) // per_cluster
        self._bits = 12 if self._clusters < 4085 else 16 if self._clusters < 65525 else 32
        if fat_sectors * sector * 8 < (self._clusters + 2) * self._bits:
            raise self._damaged("its allocation table is too short")
        self._cluster_size = per_cluster * sector
        self._fat = volume.part(reserved * sector, fat_sectors * sector)
        self._root = volume.part((data_at - root_sectors) * sector, root_sectors * sector)
        self._root_cluster = struct.unpack_from("<I", head, 44)[0] if self._bits == 32 else 0
        self._data_at = data_at * sector

    def read_file(self, path: str, *, limit: int) -> bytes:
        """A whole file of at most `limit` octets; raises NotFoundError too."""
        entry = self._find(path)
        if entry.is_directory or entry.size > limit:
            raise self._damaged(f"{path} is no file of at most {limit} octets")
        needed = -(-entry.size // self._cluster_size)
        pieces = list(self._chain(entry.cluster, needed)) if needed else []
        if len(pieces) != needed:
            raise self._damaged(f"{path} is cut off")
        return b"".join(pieces)[: entry.size]

    def names(self, path: str = "/") -> tuple[str, ...]:
        """The short names in a directory, capital letters."""
        return tuple(entry.name for entry in self._entries(self._directory(path)))

    def _find(self, path: str) -> _Entry:
        directory, _, name = path.upper().strip("/").rpartition("/")
        found = [entry for entry in self._entries(self._directory(directory)) if entry.name == name]
        if not found:
            raise NotFoundError(f"no file {path}", where=self._volume.name)
        if len(found) > 1:
            raise self._damaged(f"{path} stands there twice")
        return found[0]

    def _directory(self, path: str) -> bytes:
        if not path.strip("/"):
            if self._bits != 32:
                return self._root.read(0, self._root.size)
            return b"".join(self._chain(self._root_cluster, _LARGEST_DIRECTORY // self._cluster_size + 1))
        entry = self._find(path)
        if not entry.is_directory:
            raise self._damaged(f"{path} is no directory")
        return b"".join(self._chain(entry.cluster, _LARGEST_DIRECTORY // self._cluster_size + 1))

    def _entries(self, directory: bytes) -> Iterator[_Entry]:
        for at in range(0, len(directory), 32):
            raw, attributes, high, low, size = _ENTRY.unpack_from(directory, at)
            if not raw[0]:
                return
            if raw[0] in (0xE5, 0x2E) or attributes & _VOLUME:
                continue
            stem, extension = raw[:8].decode("cp437").rstrip(), raw[8:].decode("cp437").rstrip()
            name = f"{stem}.{extension}" if extension else stem
            yield _Entry(name.upper(), bool(attributes & _DIRECTORY), high << 16 | low, size)

    def _chain(self, cluster: int, most: int) -> Iterator[bytes]:
        """The contents of a chain of clusters; it must end, or be cut, within `most` of them."""
        last = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[self._bits]
        for _ in range(most):
            if not 2 <= cluster < self._clusters + 2:
                raise self._damaged("a chain of clusters leads nowhere")
            yield self._volume.read(self._data_at + (cluster - 2) * self._cluster_size, self._cluster_size)
            cluster = self._next(cluster)
            if cluster >= last:
                return

    def _next(self, cluster: int) -> int:
        if self._bits == 12:
            pair = int.from_bytes(self._fat.read(cluster * 3 // 2, 2), "little")
            return pair >> 4 if cluster % 2 else pair & 0xFFF
        width = self._bits // 8
        return int.from_bytes(self._fat.read(cluster * width, width), "little") & 0x0FFFFFFF

    def _damaged(self, reason: str) -> IntegrityError:
        return IntegrityError(reason, where=self._volume.name)
