"""Files that hold keys: written atomically with mode 0600, refused when others could have read them."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from nf.errors import IntegrityError, NotFoundError, StorageError


def write_private(path: Path, data: bytes, *, keep: bool = False) -> None:
    """Replace `path` durably and as a whole; mode 0600, new directories 0700. Raises StorageError.

    `keep`: a file that is there already stays, also when another process makes it at the same instant.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(temporary, data)
        if keep:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(temporary)
            temporary.unlink()
        else:
            temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(path), remedy="check free space and permissions"
        ) from error


def read_private(path: Path, what: str) -> bytes:
    """The content of a key file. `what` names it in errors.

    Raises NotFoundError when it is absent, IntegrityError when its mode lets others read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} is not there", where=str(path)) from error
    except OSError as error:
        raise StorageError(
            f"{what} cannot be read: {error.strerror}", where=str(path), remedy="run as the owner of the file"
        ) from error
    try:
        _require_private(os.fstat(descriptor).st_mode, path, what)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _require_private(mode: int, path: Path, what: str) -> None:
    if not stat.S_ISREG(mode):
        raise IntegrityError(f"{what} is not a regular file", where=str(path), remedy="restore it from a backup")
    if mode & 0o077:
        raise IntegrityError(
            f"{what} can be read by others (mode {stat.S_IMODE(mode):04o})",
            where=str(path),
            remedy="find out who could have copied it; if nobody, chmod 0600; else replace the key",
        )


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
