"""HLS players of a cache, measured: `python -m lab.playing http://10.3.1.1 ch1 ch2 --host cdn.streamverse.test ...`.

Every media playlist of these channels is followed as a player does: asked for again and again, and each new segment
once. Five times a second it writes what it has seen to `--output`, until it is ended or `--seconds` are over.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import urljoin, urlsplit

_TIMEOUT_S = 30.0
_EVERY_S = 0.1
_TIMES, _AGAIN_S = 50, 0.02
_WRITE_S = 0.2
_RENDITION = re.compile(r'#EXT-X-MEDIA:.*URI="([^"]*)"')


@dataclass
class Seen:
    """`longest_wait_ms`: from asking for something to having all of it, asked for once or more; what is not there
    yet counts. `failures`: answers that were broken off, or none; the player asks again."""

    answers: int = 0
    segments: int = 0
    failures: int = 0
    longest_wait_ms: float = 0.0


@dataclass
class Watch:
    """What all players see together."""

    seen: Seen = field(default_factory=Seen)
    _lock: Lock = field(default_factory=Lock)
    _under_way: dict[int, float] = field(default_factory=dict)
    _next: int = 0

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        with self._lock:
            self._next += 1
            number, began = self._next, time.monotonic()
            self._under_way[number] = began
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[number]
                self._waited(began)

    def answered(self, *, good: bool, segment: bool) -> None:
        with self._lock:
            self.seen.answers += good
            self.seen.segments += good and segment
            self.seen.failures += not good

    def to_json(self) -> str:
        with self._lock:
            for began in self._under_way.values():
                self._waited(began)
            return json.dumps(asdict(self.seen))

    def _waited(self, began: float) -> None:
        waited_ms = round((time.monotonic() - began) * 1000, 1)
        self.seen.longest_wait_ms = max(self.seen.longest_wait_ms, waited_ms)


@dataclass(frozen=True)
class Cache:
    address: str
    port: int
    host: str
    watch: Watch

    def get(self, path: str, *, segment: bool = False) -> str:
        """The answer's text; empty when it cannot be had."""
        with self.watch.asking():
            for _ in range(_TIMES):
                text = self._ask(path)
                self.watch.answered(good=text is not None, segment=segment)
                if text is not None:
                    return text
                time.sleep(_AGAIN_S)
        return ""

    def _ask(self, path: str) -> str | None:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=_TIMEOUT_S)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path, headers={"Host": self.host})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            return text if answer.status == http.client.OK else None
        return None

    def follow(self, playlist: str) -> None:
        """A player of one media playlist, from its newest segment on. Ends with the process."""
        had = frozenset(uris(self.get(playlist)))
        while True:
            listed = frozenset(uris(self.get(playlist)))
            for uri in sorted(listed - had):
                self.get(urljoin(playlist, uri), segment=True)
            had |= listed
            time.sleep(_EVERY_S)


def uris(playlist: str) -> Iterator[str]:
    """Of the segments or variants; those of other servers are left out."""
    lines = [line.strip() for line in playlist.splitlines()]
    return (line for line in lines if line and not line.startswith(("#", "//", "http")))


def media_playlists(master: str) -> tuple[str, ...]:
    """Pure: relative references of the variants and renditions that this server has."""
    renditions = [found for found in _RENDITION.findall(master) if not found.startswith(("//", "http"))]
    return tuple(dict.fromkeys((*uris(master), *renditions)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.playing", description="Plays HLS as players do, and measures waits.")
    parser.add_argument("cache", help="http://ADDRESS[:PORT]")
    parser.add_argument("channel", nargs="+")
    parser.add_argument("--host", required=True, help="what the cache is asked for")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=300.0)
    given = parser.parse_args(arguments)
    parts = urlsplit(given.cache)
    cache = Cache(parts.hostname or "", parts.port or 80, given.host, Watch())
    for channel in given.channel:
        master = f"/{channel}/master.m3u8"
        for playlist in media_playlists(cache.get(master)):
            Thread(target=cache.follow, args=(urljoin(master, playlist),), daemon=True).start()
    ends = time.monotonic() + given.seconds
    while time.monotonic() < ends:
        fresh = given.output.with_name(f"{given.output.name}.new")
        fresh.write_text(cache.watch.to_json())
        fresh.replace(given.output)
        time.sleep(_WRITE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
