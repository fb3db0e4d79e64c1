"""Restore of a NOC from a backup or a replica, onto a machine that has none."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from nf.clock import Clock
from nf.errors import NotFoundError, RefusedError, StorageError
from nf.noc import archive
from nf.noc.archive import Snapshot
from nf.noc.backup import Report, inspect, record, write_parts
from nf.noc.replica import read_replica


def load(source: Path, passphrase: str) -> Snapshot:
    """From a backup file or from the directory of a replica. Blocks. Raises IntegrityError, DeniedError."""
    if source.is_dir():
        return read_replica(source)
    return read_archive(source).open(passphrase)


def read_archive(file: Path) -> archive.Archive:
    """Every part with its digest, the keys sealed. Raises NotFoundError, IntegrityError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot be read: {error.strerror}", where=str(file), remedy="check the path") from error
    return archive.read(data, str(file))


async def restore(source: Path, state_dir: Path, passphrase: str, clock: Clock) -> Report:
    """Make `state_dir`, which is absent or empty, the NOC that `source` was taken of; all or nothing.

    Raises RefusedError (not empty), IntegrityError, DeniedError (passphrase), StorageError.
    """
    snapshot, staged = await asyncio.to_thread(_stage, source, state_dir, passphrase)
    try:
        report = await inspect(staged, snapshot, clock, str(source))
        await record(staged, "backup.restore", f"revision/{report.revision}", clock)
        await asyncio.to_thread(_finish, staged, state_dir)
    finally:
        await asyncio.to_thread(shutil.rmtree, staged, ignore_errors=True)
    return report


def _stage(source: Path, state_dir: Path, passphrase: str) -> tuple[Snapshot, Path]:
    """The files beside the target, on its own file system."""
    if state_dir.exists() and (not state_dir.is_dir() or any(state_dir.iterdir())):
        raise RefusedError("is not empty", where=str(state_dir), remedy="restore into an empty directory")
    snapshot = load(source, passphrase)
    staged = state_dir.absolute().with_name(f".{state_dir.name}.restoring")
    shutil.rmtree(staged, ignore_errors=True)
    write_parts(snapshot, staged)
    return snapshot, staged


def _finish(staged: Path, state_dir: Path) -> None:
    try:
        staged.replace(state_dir)  # an empty directory gives way
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(state_dir), remedy="check free space and permissions"
        ) from error
