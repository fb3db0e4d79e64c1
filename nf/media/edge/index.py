"""What an edge may have in its cache, by channel and name: Traffic Server cannot be asked.

An object comes into the cache by a request, and every request that was not a hit stands in the access log. So the log,
followed from where the last look ended, and what the packager's manifests name now, are all that there can be; as long
as nothing of the log was missed. The index says when that is not so, and then it is not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nf.media.edge.access_log import ACCESS_LOG

KEPT_S: Final = 2 * 24 * 3600.0
"""So long after it was last fetched a name is known."""
MAX_READ_OCTETS: Final = 64 * 1024 * 1024
"""More than this since the last look is not read: the index begins anew then."""

INDEX: Final = "names.sqlite"

_FETCHED = re.compile(
    rb'"url":"http://[^/"?]{1,260}/([a-z][a-z0-9-]{0,38})/([^"?#]{1,1024})[^"]*","status":2[0-9]{2},"octets":[0-9]+,'
    rb'"cache":"(?!TCP_HIT|TCP_MEM_HIT)'
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS names (channel TEXT, name TEXT, seen REAL, PRIMARY KEY (channel, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (only INTEGER PRIMARY KEY CHECK (only = 1), inode INTEGER, offset INTEGER, since REAL);
"""


def fetched(data: bytes) -> Iterator[tuple[str, str]]:
    """Channel and name of what lines of the log say was fetched."""
    for channel, name in set(_FETCHED.findall(data)):
        yield channel.decode("ascii"), name.decode("latin-1")


class TagIndex:
    """Blocking: call it in a thread. Made anew when it is broken."""

    def __init__(self, file: Path, logs: Path) -> None:
        self._file = file
        self._logs = logs
        self._following = threading.Lock()

    def begin(self) -> None:
        """The cache is empty: all that will ever be in it, the log will tell."""
        with self._following, self._opened() as base:
            base.execute("DELETE FROM names")
            base.execute("INSERT OR REPLACE INTO place VALUES (1, 0, 0, 0)")

    def follow(self, now: float, mark: str = "") -> bool:
        """Take what the log has said since the last time. Whether `mark` was in it."""
        with self._following, self._opened() as base:
            place = base.execute("SELECT inode, offset FROM place").fetchone()
            parts = self._unread(*place) if place else None
            if parts is None:
                self._begin_at_end(base, now)
                return False
            if not parts:
                return False
            read = [_rest(path, offset) for path, offset in parts]
            data = b"".join(read)
            whole = data[: data.rfind(b"\n") + 1]
            base.executemany("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", ((*one, now) for one in fetched(whole)))
            path, offset = parts[-1]
            inode, end = path.stat().st_ino, offset + len(read[-1]) - (len(data) - len(whole))
            base.execute("UPDATE place SET inode = ?, offset = ?", (inode, max(0, end)))
            base.execute("DELETE FROM names WHERE seen < ?", (now - KEPT_S,))
            return bool(mark) and mark.encode() in whole

    def names(self, channel: str) -> frozenset[str]:
        with self._opened() as base:
            found = base.execute("SELECT name FROM names WHERE channel = ?", (channel,)).fetchall()
        return frozenset(str(name) for (name,) in found)

    def complete(self, now: float) -> bool:
        """Whether nothing that may be fresh in the cache is older than what is known."""
        with self._opened() as base:
            found = base.execute("SELECT since FROM place").fetchone()
        return found is not None and (found[0] == 0 or now - found[0] > KEPT_S)

    def _begin_at_end(self, base: sqlite3.Connection, now: float) -> None:
        base.execute("DELETE FROM names")
        try:
            found = (self._logs / ACCESS_LOG).stat()
            end = (found.st_ino, found.st_size)
        except FileNotFoundError:
            end = (0, 0)
        base.execute("INSERT OR REPLACE INTO place VALUES (1, ?, ?, ?)", (*end, now))

    def _unread(self, inode: int, offset: int) -> list[tuple[Path, int]] | None:
        """Files and where to go on, oldest first; None: something between is missing, or it is too much."""
        current = self._logs / ACCESS_LOG
        rolled = sorted(self._logs.glob("access*.old"), key=lambda path: path.stat().st_mtime)
        files = [*rolled, *([current] if current.exists() else [])]
        at = next((index for index, path in enumerate(files) if path.stat().st_ino == inode), 0 if inode == 0 else None)
        if at is None or (inode and files[at].stat().st_size < offset):
            return None
        parts = [(path, offset if index == 0 else 0) for index, path in enumerate(files[at:])]
        size = sum(path.stat().st_size - start for path, start in parts)
        return parts if size <= MAX_READ_OCTETS else None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        base = self._connect()
        try:
            with base:
                yield base
        finally:
            base.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._schema()
        except sqlite3.DatabaseError:
            self._file.unlink(missing_ok=True)
            return self._schema()

    def _schema(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(self._file, timeout=10.0)
        base.executescript(_SCHEMA)
        self._file.chmod(0o600)
        return base


async def follow(index: TagIndex, now: float) -> None:
    """Keep it up to date. What cannot be read now is read at the next look, or is missing then, which it says."""
    with contextlib.suppress(OSError, sqlite3.Error):
        await asyncio.to_thread(index.follow, now)


def _rest(path: Path, offset: int) -> bytes:
    with path.open("rb") as log:
        log.seek(offset)
        return log.read()
