"""The HLS probe: reads the playlists through an edge as a player does, fetches the newest segments, and judges them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from nf.clock import Clock
from nf.contracts.driver import Context
from nf.contracts.probe import PathSample
from nf.documents.appliance import ProbeTarget
from nf.errors import InputError, NfError, UnavailableError
from nf.media.documents import HlsProbeArguments
from nf.media.hls import MediaPlaylist, Segment, parse_media, parse_multivariant
from nf.media.http import Connection, Response, cache_status
from nf.media.isobmff import segment_fault
from nf.media.packager.telemetry import STALE_SEGMENTS, age_s

SAMPLE_INTERVAL_S = 0.5
_TIMEOUT_S = 2.0


@dataclass(slots=True)
class _Rendition:
    """One media playlist that is followed. `moved_at`: when its newest segment appeared, on the monotonic clock."""

    url: str
    moved_at: float | None = None
    next_number: int = 0
    fetched: str = ""
    rate_bps: float = 0.0


class HlsReceiver:
    """Follows a channel: its multivariant playlist once, its media playlists again and again, each newest segment."""

    def __init__(self, arguments: HlsProbeArguments, clock: Clock) -> None:
        parts = urlsplit(arguments.url)
        self._arguments = arguments
        self._clock = clock
        self._segment_s = arguments.segment_ms / 1000
        self._connection = Connection(parts.hostname or "", parts.port or 80, timeout_s=_TIMEOUT_S)
        self._renditions: list[_Rendition] = []
        self._asked_at = clock.monotonic()
        self._fault = ""
        self._cache = ""
        self._fetched = 0
        self._gaps = 0
        self._join_ms: float | None = None

    @property
    def joined(self) -> bool:
        return self._join_ms is not None

    def close(self) -> None:
        self._connection.close()

    async def poll(self) -> None:
        """One round; what went wrong is kept for the next sample."""
        try:
            if not self._renditions:
                body = await self._get(self._arguments.url)
                uris = parse_multivariant(body.body.decode(errors="replace")).media_uris
                self._renditions = [_Rendition(urljoin(self._arguments.url, uri)) for uri in uris]
            for rendition in self._renditions:
                await self._follow(rendition)
        except NfError as error:
            self._fault = error.message
            self._renditions = [] if isinstance(error, InputError) else self._renditions
            return
        self._fault = ""
        if self._join_ms is None and all(rendition.fetched for rendition in self._renditions):
            self._join_ms = (self._clock.monotonic() - self._asked_at) * 1000

    async def _get(self, url: str) -> Response:
        """Raises UnavailableError for everything but a 200."""
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        answer = await self._connection.get(
            target, {"Host": self._arguments.host, "User-Agent": "streamverse-nf-probe"}
        )
        if answer.status != 200:
            raise UnavailableError(f"{parts.path} is answered with {answer.status}", where=self._arguments.host)
        return answer

    async def _follow(self, rendition: _Rendition) -> None:
        answer = await self._get(rendition.url)
        playlist = parse_media(answer.body.decode(errors="replace"))
        if not playlist.segments:
            raise InputError("the playlist names no segment")
        self._judge(rendition, playlist, age_s(answer))
        newest = playlist.segments[-1]
        if newest.uri != rendition.fetched:
            await self._fetch(rendition, newest)

    def _judge(self, rendition: _Rendition, playlist: MediaPlaylist, header_age_s: float | None) -> None:
        now = self._clock.monotonic()
        if rendition.moved_at is None:
            # No clock of ours tells when this one was written: the origin's and the caches' do.
            rendition.moved_at = now - (header_age_s or 0.0)
        elif playlist.next_number > rendition.next_number:
            rendition.moved_at = now
            self._gaps += max(0, playlist.media_sequence - rendition.next_number)
        elif playlist.next_number < rendition.next_number - len(playlist.segments):
            self._gaps += 1  # numbering began anew
            rendition.moved_at = now
        else:
            return
        rendition.next_number = playlist.next_number

    async def _fetch(self, rendition: _Rendition, segment: Segment) -> None:
        answer = await self._get(urljoin(rendition.url, segment.uri))
        fault = segment_fault(answer.body)
        if fault:
            raise UnavailableError(f"{segment.uri}: {fault}", where=self._arguments.host)
        rendition.fetched = segment.uri
        rendition.rate_bps = len(answer.body) * 8 / segment.duration_s if segment.duration_s else 0.0
        self._fetched += 1
        self._cache = cache_status(answer.headers)

    def sample(self, target: ProbeTarget) -> PathSample:
        """What is known now. Up: nothing failed, and the newest segment of every rendition came less than three
        segment durations ago and was fetched."""
        now = self._clock.monotonic()
        moved = [rendition.moved_at for rendition in self._renditions if rendition.moved_at is not None]
        age = now - min(moved) if moved and len(moved) == len(self._renditions) else None
        rate_bps = sum(rendition.rate_bps for rendition in self._renditions)
        fault = self._fault or self._stale(age)
        carries = f"{rate_bps / 1e6:.2f} of {self._arguments.rate_bps / 1e6:.2f} Mbit/s"
        return PathSample(
            target=target.id,
            channel=target.channel,
            path=target.path,
            at=self._clock.now(),
            up=not fault,
            bitrate_bps=0.0 if fault else rate_bps,
            packets=self._fetched,
            continuity_errors=self._gaps,
            age_ms=None if age is None else age * 1000,
            join_ms=self._join_ms,
            detail=fault or (f"{carries}, cache {self._cache}" if self._cache else carries),
        )

    def _stale(self, age: float | None) -> str:
        if age is None or self._join_ms is None:
            return f"asked {self._clock.monotonic() - self._asked_at:.1f} s ago, nothing has come"
        if age >= STALE_SEGMENTS * self._segment_s:
            return f"no new segment for {age:.1f} s"
        return ""


class HlsProbe:
    """Probe kind `hls`."""

    @property
    def kind(self) -> str:
        return "hls"

    async def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        """Two samples a second; the playlists are asked every half segment duration. Until the caller stops or
        `context.cancel` is set.

        Raises pydantic's ValidationError when the target's arguments are not `HlsProbeArguments`.
        """
        arguments = HlsProbeArguments.model_validate(dict(target.arguments))
        clock = context.clock
        receiver = HlsReceiver(arguments, clock)
        poll_s = max(SAMPLE_INTERVAL_S, arguments.segment_ms / 2000)
        polled_at = float("-inf")
        try:
            while not context.cancel.is_set():
                if clock.monotonic() - polled_at >= poll_s - 0.01 or not receiver.joined:
                    polled_at = clock.monotonic()
                    await receiver.poll()
                yield receiver.sample(target)
                await clock.sleep(SAMPLE_INTERVAL_S)
        finally:
            receiver.close()
