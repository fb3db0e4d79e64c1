"""Disk space kept back, so that undo and confirm can be journalled when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

from nf.errors import StorageError
from nf.transaction.killpoints import sync_directory

MIN_FREE_BYTES = 256 * 1024


class Reserve:
    """A file of real bytes (no hole, nothing that compresses) that is given up when the disk is full."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self._size = size_bytes

    def ensure(self) -> None:
        """Make it whole and see that there is room beside it. Raises StorageError when there is none."""
        if not self.whole():
            temporary = self.path.with_suffix(".new")
            try:
                with open(temporary, "wb", opener=_private) as file:
                    file.write(os.urandom(self._size))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self.path)
                sync_directory(self.path.parent)
            except OSError as error:
                temporary.unlink(missing_ok=True)
                raise _full(self.path, str(error)) from error
        free = os.statvfs(self.path.parent)
        if free.f_bavail * free.f_frsize < MIN_FREE_BYTES:
            raise _full(self.path, f"less than {MIN_FREE_BYTES // 1024} KiB are left")

    def whole(self) -> bool:
        try:
            return self.path.stat().st_size == self._size
        except FileNotFoundError:
            return False

    def release(self) -> bool:
        """Give it up. False when there was nothing to give."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        sync_directory(self.path.parent)
        return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _full(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"no room for the journal: {reason}", where=str(path.parent), remedy="free disk space there and try again"
    )
