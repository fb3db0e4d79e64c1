"""The bundle on its way to /var: from where it broke, until it is whole and its digest is right."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

from images.update.record import sync_directory, write_durably
from nf.contracts.image import BundleSource
from nf.errors import IntegrityError, StorageError

SPARE_BYTES: Final = 64 * 1024 * 1024
"""What a bundle leaves free on /var."""
_SYNC_BYTES: Final = 16 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024

Progress = Callable[[float, str], None]


class BundleFile:
    """One bundle in `directory`. Only what is known to be on the disk is counted when it goes on."""

    def __init__(self, directory: Path, sha256: str, size: int) -> None:
        self.path = directory / f"{sha256}.raucb"
        self._part = directory / f"{sha256}.part"
        self._mark = directory / f"{sha256}.mark"
        self._directory = directory
        self._sha256 = sha256
        self._size = size

    @property
    def whole(self) -> bool:
        return self.path.exists()

    def drop(self) -> None:
        """This one and every other that was left there."""
        for pattern in ("*.raucb", "*.part", "*.mark", "*.new"):
            for path in self._directory.glob(pattern):
                path.unlink(missing_ok=True)

    async def fetch(self, source: BundleSource, progress: Progress) -> None:
        """Until it is whole. Raises what the source raises, StorageError, IntegrityError (then nothing is kept)."""
        if self.whole:
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        offset = await asyncio.to_thread(self._offset)
        self._require_room(offset)
        try:
            with self._part.open("r+b" if self._part.exists() else "w+b") as file:
                await self._append(file.fileno(), source, offset, progress)
        except OSError as error:
            raise StorageError(
                error.strerror or str(error), where=str(self._part), remedy="free space on /var"
            ) from error
        progress(1.0, "checking its digest")
        await asyncio.to_thread(self._finish)

    async def _append(self, descriptor: int, source: BundleSource, offset: int, progress: Progress) -> None:
        os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        synced = offset
        async with aclosing(source.pieces(self._sha256, offset)) as pieces:  # type: ignore[type-var]
            async for data in pieces:
                offset += len(data)
                if offset > self._size:
                    raise self._wrong(f"more than its {self._size} octets came")
                await asyncio.to_thread(_write_all, descriptor, data)
                progress(offset / self._size, f"{offset >> 20} of {self._size >> 20} MiB")
                if offset - synced >= _SYNC_BYTES:
                    await asyncio.to_thread(self._sync, descriptor, offset)
                    synced = offset
        await asyncio.to_thread(self._sync, descriptor, offset)
        if offset != self._size:
            raise self._wrong(f"{offset} octets came, not {self._size}")

    def _offset(self) -> int:
        """What was synchronised: a power cut may leave a longer file whose end is zeros."""
        try:
            return max(0, min(int(self._mark.read_text()), self._part.stat().st_size, self._size))
        except (OSError, ValueError):
            return 0

    def _sync(self, descriptor: int, offset: int) -> None:
        os.fdatasync(descriptor)
        write_durably(self._mark, str(offset).encode())

    def _require_room(self, offset: int) -> None:
        free = shutil.disk_usage(self._directory).free
        needed = self._size - offset + SPARE_BYTES
        if free < needed:
            raise StorageError(
                f"{free >> 20} MiB are free, {needed >> 20} MiB are needed",
                where=str(self._directory),
                remedy="free space on /var: old logs, captures",
            )

    def _finish(self) -> None:
        digest = hashlib.sha256()
        with self._part.open("rb") as file:
            while data := file.read(_READ_BYTES):
                digest.update(data)
        if digest.hexdigest() != self._sha256:
            raise self._wrong(f"its digest is {digest.hexdigest()[:16]}...")
        self._part.replace(self.path)
        self._mark.unlink(missing_ok=True)
        sync_directory(self._directory)

    def _wrong(self, what: str) -> IntegrityError:
        self._part.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)
        return IntegrityError(what, where=f"bundle {self._sha256[:12]}", remedy="it is fetched anew from its beginning")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
