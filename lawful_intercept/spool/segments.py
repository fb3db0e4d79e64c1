"""The files of a spool: `<number of the first record, 20 digits>.segment`, each written by one opening of the spool."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from lawful_intercept.spool.errors import SpoolFullError
from lawful_intercept.spool.sealing import (
    FRAME_HEAD,
    MAGIC,
    NONCES,
    SEGMENT_HEAD,
    Frame,
    SegmentSeal,
    portions,
    read_head,
)

SUFFIX: Final = ".segment"
_SEARCHED: Final = 64  # damaged frames in a row behind which others are still found
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def path_of(directory: Path, first: int) -> Path:
    return directory / f"{first:020d}{SUFFIX}"


def numbers(directory: Path) -> list[int]:
    """The first numbers of all files that have a segment's name."""
    names = (path.stem for path in directory.glob(f"*{SUFFIX}"))
    return sorted(int(name) for name in names if len(name) == 20 and name.isdecimal())


@dataclass(slots=True, repr=False)
class Segment:
    """`first`: its first record's number. `size`: octets of the file that count. `before`: see `SegmentSeal.head`."""

    path: Path
    first: int
    seal: SegmentSeal
    before: int
    size: int


def opened(directory: Path, key: bytes, identity: bytes, first: int) -> Segment | None:
    """None when it is no segment of this spool, or not this one."""
    path = path_of(directory, first)
    with path.open("rb") as file:
        head = file.read(SEGMENT_HEAD)
        size = os.fstat(file.fileno()).st_size
    seal = SegmentSeal(key, identity, first, head[len(MAGIC) : len(MAGIC) + 32])
    before = seal.before(head)
    return None if before is None else Segment(path, first, seal, before, size)


class Pages:
    """An open segment to read frames from. Raises OSError."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self._fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    @classmethod
    def of(cls, segment: Segment | None) -> Pages | None:
        """None when there is no such file any more."""
        try:
            return None if segment is None else cls(segment)
        except FileNotFoundError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def head(self, at: int) -> tuple[Frame, bytes] | None:
        """None when there is none that ends inside of the segment."""
        octets = os.pread(self._fd, FRAME_HEAD.size, at)
        frame = read_head(octets)
        if frame is None or at + FRAME_HEAD.size + frame.length > self.segment.size:
            return None
        return frame, octets

    def records(self, at: int, head: bytes, frame: Frame) -> list[bytes] | None:
        sealed = os.pread(self._fd, frame.length, at + FRAME_HEAD.size)
        return self.segment.seal.records(head, sealed) if len(sealed) == frame.length else None

    def joined(self, at: int, head: bytes, frame: Frame) -> bytes | None:
        """All records of a frame as one, for who wants them one after another."""
        sealed = os.pread(self._fd, frame.length, at + FRAME_HEAD.size)
        plain = self.segment.seal.joined(head, sealed) if len(sealed) == frame.length else None
        return None if plain is None else plain[4 * frame.records :]

    def sound(self) -> Iterator[tuple[int, int, Frame]]:
        """(start, end, frame) of each frame that is as it was written and in its order, also behind damaged ones."""
        at, nonce, least = SEGMENT_HEAD, -1, 0
        with self._mapped() as octets:
            while at < self.segment.size:
                found = self.head(at)
                if found is not None and found[0].first >= least and self.records(at, found[1], found[0]) is not None:
                    frame = found[0]
                    nonce, least = frame.nonce, frame.first + frame.records
                    start, at = at, at + FRAME_HEAD.size + frame.length
                    yield start, at, frame
                    continue
                at = self._behind(octets, at, nonce + 1, least)

    def _behind(self, octets: mmap.mmap, at: int, nonce: int, least: int) -> int:
        """Where the next sound frame begins; the end of the segment when there is none near.

        Nonces are counted, so that the head of a frame can be searched for.
        """
        for wanted in range(nonce, nonce + _SEARCHED):
            place = octets.find(wanted.to_bytes(4, "big"), at + 5, self.segment.size)
            while place != -1:
                found = self.head(place - 4)
                if found is not None and found[0].first >= least and self.records(place - 4, found[1], found[0]):
                    return place - 4
                place = octets.find(wanted.to_bytes(4, "big"), place + 1, self.segment.size)
        return self.segment.size

    @contextmanager
    def _mapped(self) -> Iterator[mmap.mmap]:
        size = min(self.segment.size, os.fstat(self._fd).st_size)
        with mmap.mmap(self._fd, size, prot=mmap.PROT_READ) as octets:
            yield octets

    def close(self) -> None:
        os.close(self._fd)


class Writer:
    """The segment that is written now. `next`: the number of the next record."""

    def __init__(self, directory: Path, key: bytes, identity: bytes, first: int, before: int) -> None:
        """Raises SpoolFullError, OSError; then there is no file of it."""
        seal = SegmentSeal(key, identity, first, os.urandom(32))
        self.segment = Segment(path_of(directory, first), first, seal, before, 0)
        self.next = first
        self._nonce = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(self.segment.path, flags, 0o600)
        try:
            self._put(seal.head(before))
        except BaseException:
            os.close(self.descriptor)
            self.segment.path.unlink()
            raise

    @property
    def worn(self) -> bool:
        """No further nonces: the next records go to another segment."""
        return self._nonce >= NONCES - (1 << 20)

    def sealed(self, records: Sequence[bytes], lengths: Sequence[int]) -> bytes:
        """The frames of these records, as they would be written next. `lengths`: theirs."""
        frames = []
        for portion in portions(lengths):
            first = self.next + portion.start
            frames.append(self.segment.seal.frame(self._nonce, first, records[portion], lengths[portion]))
            self._nonce += 1
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def write(self, frames: bytes, count: int) -> None:
        """Raises SpoolFullError, OSError; then nothing of it counts."""
        self._put(frames)
        self.next += count

    def _put(self, octets: bytes) -> None:
        at, left = self.segment.size, memoryview(octets)
        try:
            while left:
                written = os.pwrite(self.descriptor, left, at)
                at, left = at + written, left[written:]
        except OSError as error:
            self._cut()
            if error.errno in _FULL:
                raise SpoolFullError("the disk is full") from error
            raise
        self.segment.size = at

    def _cut(self) -> None:
        """What stays when this fails is written over by the next frame, or cut when the spool is opened next."""
        try:
            os.ftruncate(self.descriptor, self.segment.size)
        except OSError:
            return


def flush(descriptors: Sequence[int], directory: Path | None) -> None:
    """To the disk: what was written, and the names in the directory. Blocks. Raises OSError."""
    for descriptor in descriptors:
        os.fdatasync(descriptor)
    if directory is not None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
