"""A stretch of a file: a whole file, a partition of a disk, the payload of a bundle."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.errors import InputError, IntegrityError, NotFoundError

CHUNK: Final = 1 << 20
Tick = Callable[[int], None]
"""Called with the number of octets that were just read."""


def no_tick(octets: int) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Region:
    """`size` octets from `start` on. `name` is what errors call it."""

    descriptor: int
    start: int
    size: int
    name: str

    def part(self, start: int, size: int, name: str = "") -> Region:
        """Raises IntegrityError where it does not lie inside."""
        if start < 0 or size < 0 or start + size > self.size:
            raise IntegrityError(f"octets {start} to {start + size} lie outside of it", where=self.name)
        return Region(self.descriptor, self.start + start, size, name or self.name)

    def read(self, start: int, size: int) -> bytes:
        """Exactly so many octets. Raises IntegrityError where they are not there."""
        self.part(start, size)
        data = os.pread(self.descriptor, size, self.start + start)
        if len(data) != size:
            raise IntegrityError("it is cut off", where=self.name)
        return data

    def chunks(self, size: int = CHUNK, tick: Tick = no_tick) -> Iterator[bytes]:
        """All of it in pieces of `size`; the last one may be shorter."""
        for at in range(0, self.size, size):
            data = self.read(at, min(size, self.size - at))
            tick(len(data))
            yield data

    def sha256(self, tick: Tick = no_tick) -> str:
        hasher = hashlib.sha256()
        for data in self.chunks(tick=tick):
            hasher.update(data)
        return hasher.hexdigest()

    def is_zero(self, tick: Tick = no_tick) -> bool:
        zeros = bytes(CHUNK)
        return all(data == zeros[: len(data)] for data in self.chunks(tick=tick))


@contextmanager
def opened(path: Path) -> Iterator[Region]:
    """A whole file. Raises NotFoundError and InputError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError("no such file", where=str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    try:
        yield Region(descriptor, 0, os.lseek(descriptor, 0, os.SEEK_END), path.name)
    finally:
        os.close(descriptor)
