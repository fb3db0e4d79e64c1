"""An image onto a disk: compared with its signed digest before, written, read back and compared again.

The first MiB, with the partition table, is cleared first and written last: a write that is cut off, or an image that
changed while it was read, leaves a disk that does not boot rather than one that boots half of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from images.flash.payload import Payload
from images.flash.targets import Target, check
from images.report import Report
from nf.errors import IntegrityError, RefusedError, StorageError

MIB: Final = 1024 * 1024
HEAD: Final = MIB
_CHUNK: Final = 4 * MIB
_NOTHING: Final = bytes(_CHUNK)
_BLKZEROOUT: Final = 0x127F  # linux/fs.h
_BLKFLSBUF: Final = 0x1261
_BLKRRPART: Final = 0x125F
_SHARES: Final = ((0.0, 0.2, "check"), (0.2, 0.6, "write"), (0.6, 1.0, "read back"))


def flash(payload: Payload, target: Target, report: Report) -> None:
    """All of it. Raises RefusedError (disk in use, too small), IntegrityError (image or disk not as they should be),
    StorageError (the disk fails).
    """
    check(target, payload.size)
    verify_image(payload, _within(report, 0))
    write(payload, target, _within(report, 1))
    verify(payload, target, _within(report, 2))
    report(1.0, "done")


def _within(report: Report, share: int) -> Report:
    start, end, text = _SHARES[share]
    return lambda fraction, _text: report(start + (end - start) * fraction, text)


def verify_image(payload: Payload, report: Report) -> None:
    """Before anything is overwritten. Raises IntegrityError."""
    if _digest(payload.image, payload.size, report) != payload.sha256:
        raise IntegrityError(
            "is not the image that was signed; nothing was written",
            where=str(payload.image),
            remedy="fetch it again from its origin",
        )


def write(payload: Payload, target: Target, report: Report) -> None:
    """Zeros are cleared rather than written, where the disk can. Raises what `flash` raises."""
    digest = hashlib.sha256()
    try:
        with _opened(target) as disk, payload.image.open("rb") as image:
            _zero(disk, 0, min(HEAD, target.size))
            tail = min(HEAD, target.size - payload.size)
            _zero(disk, target.size - tail, tail)  # the second partition table of what was here
            head = b""
            for offset, chunk in _chunks(image.fileno(), payload.size):
                digest.update(chunk)
                kept = min(HEAD, len(chunk)) if offset == 0 else 0
                head += chunk[:kept]
                body, at = chunk[kept:], offset + kept
                if body == _NOTHING[: len(body)]:
                    _zero(disk, at, len(body))
                else:
                    _pwrite(disk, body, at)
                report(min(1.0, (offset + len(chunk)) / payload.size), "")
            os.fsync(disk)
            if digest.hexdigest() != payload.sha256:
                raise IntegrityError(
                    "changed while it was read; the disk is left without a partition table",
                    where=str(payload.image),
                    remedy="copy the image to a medium that nobody writes to, and flash again",
                )
            _pwrite(disk, head, 0)
            os.fsync(disk)
    except OSError as error:
        raise _failed(error, target) from error


def verify(payload: Payload, target: Target, report: Report) -> None:
    """Read it back from the disk, past the caches. Raises IntegrityError."""
    try:
        descriptor = os.open(target.node, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                fcntl.ioctl(descriptor, _BLKFLSBUF)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        found = _digest(target.node, payload.size, report)
    except OSError as error:
        raise _failed(error, target) from error
    if found != payload.sha256:
        raise IntegrityError(
            "does not hold what was written to it", where=str(target.node), remedy="replace the disk: it is faulty"
        )
    _tell_kernel(target)


def _tell_kernel(target: Target) -> None:
    """So that the new partitions can be seen; a file has none."""
    descriptor = os.open(target.node, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _BLKRRPART)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(target: Target) -> Iterator[int]:
    """A block device is opened so that the kernel refuses one that is in use, and nobody can mount it meanwhile."""
    flags = os.O_RDWR | os.O_CLOEXEC
    if stat.S_ISBLK(target.node.stat().st_mode):
        flags |= os.O_EXCL
    descriptor = os.open(target.node, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _failed(error: OSError, target: Target) -> RefusedError | StorageError:
    if error.errno == errno.EBUSY:
        return RefusedError("is in use", where=str(target.node), remedy="unmount it, or choose another disk")
    return StorageError(
        f"cannot be written or read: {error.strerror}", where=str(target.node), remedy="check cable and disk"
    )


def _digest(path: Path, size: int, report: Report) -> str:
    """Raises StorageError."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for offset, chunk in _chunks(file.fileno(), size):
                digest.update(chunk)
                report((offset + len(chunk)) / size, "")
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return digest.hexdigest()


def _chunks(descriptor: int, size: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < size:
        chunk = os.pread(descriptor, min(_CHUNK, size - offset), offset)
        if not chunk:
            return
        yield offset, chunk
        offset += len(chunk)


def _pwrite(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


def _zero(descriptor: int, offset: int, length: int) -> None:
    """BLKZEROOUT costs a disk that can unmap nothing; everything else is written."""
    if length <= 0:
        return
    if stat.S_ISBLK(os.fstat(descriptor).st_mode) and offset % 4096 == 0 and length % 4096 == 0:
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _BLKZEROOUT, struct.pack("QQ", offset, length))
            return
    while length > 0:
        part = min(length, _CHUNK)
        if os.pread(descriptor, part, offset) != _NOTHING[:part]:  # a hole in a file stays one
            _pwrite(descriptor, _NOTHING[:part], offset)
        offset, length = offset + part, length - part
