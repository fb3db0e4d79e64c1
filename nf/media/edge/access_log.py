"""The access log of Traffic Server, followed: how many answers each channel had, from where, and what they weigh.

One line of JSON for each answer, written about a second after it. A log that is rolled away is read to its end first.
This is the one place where an edge counts by channel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

ACCESS_LOG: Final = "access.log"
MAX_READ_OCTETS: Final = 16 * 1024 * 1024
"""More than this in one go is not worth reading: then what was served meanwhile is not known."""

Key = tuple[str, str]
"""Host without its port, channel."""

# As the log's format is rendered. An expression takes about 40 % of the time of reading it as JSON.
_LINE = re.compile(
    rb'{"ts":[0-9.]+,"client":"[^"]*","method":"[^"]*","url":"https?://([^/":?]{1,253})(?::[0-9]{1,5})?/([^/"?]{1,64})/[^"]*"'
    rb',"status":([0-9])[0-9]{2},"octets":([0-9]{1,18}),"cache":"([A-Z_]+)"'
)
_FRESH = (b"TCP_HIT", b"TCP_MEM_HIT")


@dataclass(slots=True)
class Served:
    """`hits`: from the cache, without asking a shield. `octets`: of the answers, with their headers. `errors`: answers
    of status 5xx, the edge's own and those that it had from its shields."""

    requests: int = 0
    hits: int = 0
    octets: int = 0
    errors: int = 0

    def add(self, other: Served) -> None:
        self.requests += other.requests
        self.hits += other.hits
        self.octets += other.octets
        self.errors += other.errors


def tally(lines: Iterable[bytes]) -> dict[Key, Served]:
    """Lines that are none of ours, or of requests that name no channel, do not count."""
    found: dict[tuple[bytes, bytes], Served] = {}
    for line in lines:
        told = _LINE.match(line)
        if told is None:
            continue
        served = found.setdefault((told[1], told[2]), Served())
        served.requests += 1
        served.hits += told[5] in _FRESH
        served.octets += int(told[4])
        served.errors += told[3] == b"5"
    return {(host.decode("latin-1"), channel.decode("latin-1")): served for (host, channel), served in found.items()}


class AccessLog:
    """From the end that it has at the first look; from its beginning when there was none yet. Blocking: call it in a
    thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedReader | None = None
        self._rest = b""
        self._absent = False

    def read(self) -> dict[Key, Served] | None:
        """What was answered since the last call; None when that is not known: there is too much of it."""
        if self._file is None and not self._open(at_end=not self._absent):
            return {}
        data = self._read()
        if data is not None and self._rolled():
            rest, opened = self._read(), self._open(at_end=False)
            new = self._read() if opened else b""
            data = None if rest is None or new is None else data + rest + new
        if data is None:
            self._rest = b""
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return tally(lines)

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
