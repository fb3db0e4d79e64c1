"""The access log of Traffic Server, followed: what each channel's answers weigh.

One line of JSON for each answer, written about a second after it. A log that is rolled away is read to its end first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

ACCESS_LOG: Final = "access.log"
MAX_READ_OCTETS: Final = 16 * 1024 * 1024
"""More than this in one go is not worth reading: then what was served meanwhile is not known."""

Weight = tuple[str, str, int]
"""Host without its port, channel, octets of the answer with its headers."""


def parse_line(line: bytes) -> Weight | None:
    """None for a line that is none of ours, or of a request that names no channel."""
    try:
        entry = json.loads(line)
        url, octets = entry["url"], entry["octets"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(url, str) or not isinstance(octets, int) or isinstance(octets, bool) or octets < 0:
        return None
    authority, _, path = url.partition("://")[2].partition("/")
    channel, below, _ = path.partition("/")
    return (authority.partition(":")[0], channel, octets) if below else None


class AccessLog:
    """From the end that it has at the first look; from its beginning when there was none yet. Blocking: call it in a
    thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedReader | None = None
        self._rest = b""
        self._absent = False

    def read(self) -> list[Weight] | None:
        """What was answered since the last call; None when that is not known: there is too much of it."""
        if self._file is None and not self._open(at_end=not self._absent):
            return []
        data = self._read()
        if data is not None and self._rolled():
            rest, opened = self._read(), self._open(at_end=False)
            new = self._read() if opened else b""
            data = None if rest is None or new is None else data + rest + new
        if data is None:
            self._rest = b""
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return list(_weights(lines))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, *, at_end: bool) -> bool:
        self.close()
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            self._absent = True
            return False
        self._absent = False
        if at_end:
            self._file.seek(0, 2)
        return True

    def _read(self) -> bytes | None:
        """None: more than is read at once; what is there is passed over."""
        if self._file is None:
            return b""
        data = self._file.read(MAX_READ_OCTETS + 1)
        if len(data) > MAX_READ_OCTETS:
            self._file.seek(0, 2)
            return None
        return data

    def _rolled(self) -> bool:
        """Whether another file stands in its place by now."""
        if self._file is None:
            return False
        try:
            return not self._path.samefile(f"/proc/self/fd/{self._file.fileno()}")
        except FileNotFoundError:
            return True


def _weights(lines: list[bytes]) -> Iterator[Weight]:
    for line in lines:
        weight = parse_line(line)
        if weight is not None:
            yield weight
