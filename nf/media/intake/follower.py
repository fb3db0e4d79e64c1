"""Follows a live HLS presentation at its edge: which objects come next, and where what follows no longer fits on.

A run is what one decoder may take as a whole: one initialization segment for each rendition, segments without a gap.
Where that ends (a declared discontinuity, another initialization segment, segments that have left the window unseen, a
numbering that began anew), `cut` says so and the next run begins near the live edge (RFC 8216, 6.3.3 and 6.3.4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from nf.errors import InputError, UnavailableError
from nf.media.hls import MediaPlaylist, Segment, parse_media, parse_multivariant
from nf.media.http import Connection

_TIMEOUT_S = 4.0
_BEHIND = 2
"""A run begins so many segments before the end: with one in hand when the next is due."""


@dataclass(slots=True)
class _Rendition:
    """`number`: of the segment that comes next."""

    url: str
    connection: Connection
    number: int = 0
    init: str | None = None


def start_number(playlists: Sequence[MediaPlaylist]) -> int | None:
    """Of the first segment of a run that all renditions have: two from the end, and behind the last discontinuity.

    None when they have none in common. Pure.
    """
    if not all(playlist.segments for playlist in playlists):
        return None
    first = max(playlist.segments[0].number for playlist in playlists)
    last = min(playlist.segments[-1].number for playlist in playlists)
    breaks = [s.number for playlist in playlists for s in playlist.segments if s.discontinuity and s.number <= last]
    start = max([first, last - _BEHIND + 1, *breaks])
    return start if start <= last else None


def continuing(playlist: MediaPlaylist, number: int, init: str | None) -> tuple[tuple[Segment, ...], bool]:
    """What comes from `number` on and fits to what came before; and whether something is there that does not. Pure."""
    if not playlist.segments:
        return (), False
    if playlist.segments[0].number > number or playlist.next_number < number - len(playlist.segments):
        return (), True
    found: list[Segment] = []
    for segment in playlist.segments:
        if segment.number < number:
            continue
        begun = init is not None or bool(found)
        wanted = init if init is not None else (found[0].init_uri if found else segment.init_uri)
        if begun and (segment.discontinuity or segment.init_uri != wanted):
            return tuple(found), True
        found.append(segment)
    return tuple(found), False


class Follower:
    """One run. `poll` is called until `cut`."""

    def __init__(self, url: str, host: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host = host
        self._place = (parts.hostname or "", parts.port or 80)
        self._connection = self._connect()
        self._renditions: tuple[_Rendition, ...] = ()
        self.cut = False
        self.segments = 0
        self.newest_at: float | None = None

    def _connect(self) -> Connection:
        return Connection(*self._place, timeout_s=_TIMEOUT_S)

    async def open(self) -> int:
        """How many renditions there are. Raises UnavailableError and InputError."""
        text = await self._get(self._connection, self._url)
        uris = parse_multivariant(text.decode(errors="replace")).best_uris
        renditions = tuple(_Rendition(urljoin(self._url, uri), self._connect()) for uri in uris)
        playlists = await asyncio.gather(*map(self._playlist, renditions))
        number = start_number(playlists)
        if number is None:
            raise UnavailableError("its renditions have no segment in common", where=self._url)
        for rendition in renditions:
            rendition.number = number
        self._renditions = renditions
        return len(renditions)

    async def poll(self) -> tuple[bytes, ...]:
        """What is new of each rendition, the initialization segment first. Raises UnavailableError and InputError."""
        return tuple(await asyncio.gather(*map(self._new, self._renditions)))

    async def _new(self, rendition: _Rendition) -> bytes:
        playlist = await self._playlist(rendition)
        segments, cut = continuing(playlist, rendition.number, rendition.init)
        self.cut = self.cut or cut or playlist.ended
        parts = []
        for segment in segments:
            if rendition.init is None:
                if segment.init_uri:
                    parts.append(await self._get(rendition.connection, urljoin(rendition.url, segment.init_uri)))
                rendition.init = segment.init_uri
            parts.append(await self._get(rendition.connection, urljoin(rendition.url, segment.uri)))
            rendition.number = segment.number + 1
        if segments and rendition is self._renditions[0]:
            self.segments += len(segments)
            at = segments[-1].at
            self.newest_at = None if at is None else at + segments[-1].duration_s
        return b"".join(parts)

    async def _playlist(self, rendition: _Rendition) -> MediaPlaylist:
        return parse_media((await self._get(rendition.connection, rendition.url)).decode(errors="replace"))

    async def _get(self, connection: Connection, url: str) -> bytes:
        parts = urlsplit(url)
        if (parts.hostname, parts.port or 80) != self._place:
            raise InputError(f"{url} is not at the edge that is followed", where=self._url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        answer = await connection.get(target, {"Host": self._host, "User-Agent": "streamverse-nf-intake"})
        if answer.status != 200:
            raise UnavailableError(f"{parts.path} is answered with {answer.status}", where=self._host)
        return answer.body

    def close(self) -> None:
        self._connection.close()
        for rendition in self._renditions:
            rendition.connection.close()
