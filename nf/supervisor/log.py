"""The log file of a unit: bounded, with one predecessor, readable from its end."""

from __future__ import annotations

import os
from pathlib import Path

MAX_LOG_BYTES = 1 << 20
_MAX_TAIL_BYTES = 1 << 18


def predecessor(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def rotate(path: Path, limit: int = MAX_LOG_BYTES) -> bool:
    """When the file is above `limit` bytes, keep its last `limit` bytes as `<name>.1` and empty it.

    Copy and truncate, since the unit holds the file open (O_APPEND: it goes on at the new end). Lines written
    between the two can be lost.
    """
    try:
        if os.stat(path).st_size <= limit:  # noqa: PTH116 - asked every second
            return False
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= limit:
                return False
            file.seek(size - limit)
            predecessor(path).write_bytes(file.read(limit))
            file.truncate(0)
    except FileNotFoundError:
        return False
    return True


def _end_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _MAX_TAIL_BYTES))
            return file.read(_MAX_TAIL_BYTES)
    except FileNotFoundError:
        return b""


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """The last `lines` lines, reaching into the predecessor when the file was just emptied."""
    if lines <= 0:
        return ()
    found = _end_of(path).decode("utf-8", "replace").splitlines()
    if len(found) < lines:
        found = _end_of(predecessor(path)).decode("utf-8", "replace").splitlines() + found
    return tuple(found[-lines:])
