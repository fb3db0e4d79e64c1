"""From the packager's directory to the bucket: segments before the playlists that name them, old ones away."""

from __future__ import annotations

import contextlib
import re
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path

from nf.errors import InputError
from nf.media.documents import DASH_MANIFEST, HLS_MANIFEST
from nf.media.documents.ladder import SOUND
from nf.media.hls import MediaPlaylist, Segment, continued, parse_media, render_media
from nf.media.origin.client import S3, Upload
from nf.media.packager.command import playlist_of
from nf.media.packager.marks import Marks, presentation_start
from nf.media.packager.steered import Steered
from nf.media.purge.tags import PLAYLIST, RENDITION

_NUMBERED = re.compile(rf"{RENDITION}/(?:init-)?([0-9]{{1,18}})\.(?:m4s|mp4)")
_GRACE_S = 30.0
"""How long a segment stays in the bucket after it left the playlist: caches and slow players still ask for it."""

_HEAD_OCTETS = 512
_MPD = "{urn:mpeg:dash:schema:mpd:2011}"
_TYPES = {".m4s": "video/iso.segment", ".mp4": "video/mp4", ".m3u8": "application/vnd.apple.mpegurl"}
_FOR_EVER = "public, max-age=31536000, immutable"


def manifest_cache_control(segment_ms: int) -> str:
    """Fresh for half a segment at most, so that no cache holds a player back by more."""
    return f"public, max-age={segment_ms // 2000}"


def number_of(name: str) -> int | None:
    """Of a segment or an initialization segment, by its name below the channel."""
    match = _NUMBERED.fullmatch(name)
    return None if match is None else int(match[1])


def last_number(mpd: str) -> int | None:
    """The highest segment number that a DASH manifest names (ISO/IEC 23009-1, 5.3.9.6); None when it cannot be told."""
    try:
        root = ET.fromstring(mpd)  # noqa: S314 - our own packager wrote it, into a directory of ours
        found = []
        for template in root.iter(f"{_MPD}SegmentTemplate"):
            count = sum(1 + int(s.get("r", "0")) for s in template.iter(f"{_MPD}S"))
            found.append(int(template.get("startNumber", "1")) + count - 1)
    except (ET.ParseError, ValueError):
        return None
    return max(found, default=None)


@dataclass(slots=True)
class Figures:
    """What was done: objects and octets since the start; `rate_bps` over the last segments of all renditions."""

    uploads: int = 0
    octets: int = 0
    deleted: int = 0
    sequence: int = 0
    recent: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)

    def segment(self, rendition: str, duration_s: float, octets: int) -> None:
        self.recent.setdefault(rendition, deque(maxlen=5)).append((duration_s, octets))

    @property
    def rate_bps(self) -> float:
        rates = 0.0
        for taken in self.recent.values():
            seconds = sum(duration for duration, _ in taken)
            rates += sum(octets for _, octets in taken) * 8 / seconds if seconds else 0.0
        return rates


class Publisher:
    """One channel's part of a bucket, written by this process alone."""

    def __init__(
        self,
        directory: Path,
        bucket: str,
        channel: str,
        renditions: Sequence[str],
        *,
        segment_ms: int,
        window_ms: int,
        steered: Steered | None = None,
        marks: Marks | None = None,
    ) -> None:
        self._directory = directory
        self._bucket = bucket
        self._prefix = f"{channel}/"
        self._renditions = tuple(renditions)
        self._playlists = tuple(playlist_of(rendition) for rendition in renditions)
        self._window_s = window_ms / 1000
        self._keep = ceil(_GRACE_S * 1000 / segment_ms)
        self._manifests = manifest_cache_control(segment_ms)
        self._steered = steered
        self._marks = marks
        self._published: dict[str, MediaPlaylist] = {}
        self._read: dict[str, str] = {}
        self._waiting: dict[str, dict[str, Segment]] = {}
        self._there: set[str] = set()
        self.figures = Figures()

    async def recover(self, s3: S3) -> None:
        """What an earlier life published goes on. Raises the errors of `S3`."""
        keys = await s3.keys(self._bucket, self._prefix)
        self._there = {key.removeprefix(self._prefix) for key in keys}
        there = {name for name in self._there if name.endswith(PLAYLIST) and name != HLS_MANIFEST}
        for name in sorted(there):
            body = await s3.get(self._bucket, self._prefix + name)
            if body is not None:
                try:
                    self._published[name] = parse_media(body.decode(errors="replace"))
                except InputError:
                    self._published.pop(name, None)  # nobody can play it: it is replaced
        if there - set(self._playlists):
            self._begin_anew()

    def _begin_anew(self) -> None:
        """The renditions were others. The playlists of all begin with what comes now, in step: behind all numbers, and
        behind all discontinuities that a player may have seen in one of them (RFC 8216, 6.2.2 and 6.2.4)."""
        old = self._published.values()
        discontinuities = [p.discontinuity_sequence + sum(s.discontinuity for s in p.segments) for p in old]
        number = max([self.next_number(), *(playlist.next_number for playlist in old)])
        begun = MediaPlaylist(0, (), number, max(discontinuities, default=0) + 1)
        self._published = dict.fromkeys(self._playlists, begun)

    def next_number(self) -> int:
        """The first number that no segment has had, here or in the bucket."""
        names = self._there | set(self._local())
        return max((number for name in names if (number := number_of(name)) is not None), default=0) + 1

    def _local(self) -> Iterator[str]:
        for path in self._directory.glob("*/*.m*"):
            yield f"{path.parent.name}/{path.name}"

    def clear(self) -> None:
        """Forget an ended run of the packager: its files go, what is in the bucket stays."""
        manifests = (path.name for path in self._directory.glob("*.m*"))
        for name in (*self._local(), *manifests):
            (self._directory / name).unlink(missing_ok=True)
        for rendition in self._renditions:
            (self._directory / rendition).mkdir(parents=True, exist_ok=True)
        self._read.clear()
        self._waiting.clear()

    def newest_at(self) -> float | None:
        """When the packager finished its last segment (seconds since the epoch); None when it has not."""
        times = []
        for name in self._playlists:
            try:
                times.append((self._directory / name).stat().st_mtime)
            except FileNotFoundError:
                continue
        return max(times, default=None)

    async def publish(self, s3: S3) -> bool:
        """One pass: True when a playlist moved on. Raises the errors of `S3`; what was done then stays done."""
        # The DASH manifest is read first: what it names must be in the playlists that are read after it.
        mpd = self._text(DASH_MANIFEST)
        texts = {name: text for name in self._playlists if (text := self._text(name)) is not None}
        new = {name: text for name, text in texts.items() if self._read.get(name) != text}
        # Of all of them before anything is uploaded: an origin that takes nothing ends the pass.
        listed = {name: self._with_waiting(name, parse_media(text)) for name, text in new.items()}
        moved = False
        for name, text in new.items():
            playlist = await self._segments(s3, listed[name])
            if playlist is not None:
                merged = continued(self._published.get(name), playlist, self._window_s)
                await self._put(s3, name, render_media(merged).encode(), self._manifests)
                self._published[name] = merged
                self.figures.sequence = merged.next_number - 1
                moved = True
            self._read[name] = text
        await self._tops(s3, mpd)
        if moved:
            await self._remove_old(s3)
        return moved

    def _with_waiting(self, name: str, playlist: MediaPlaylist) -> MediaPlaylist:
        """What left the packager's own playlist while the origin took nothing comes before what is in it now, as long
        as its file is there: the packager keeps a bounded number of them. Before it the last one that was published, by
        which is seen that nothing is missing."""
        waiting = list(self._waiting.get(name, {}).values())
        published = self._published.get(name)
        last = published.segments[-1].uri if published is not None and published.segments else ""
        named = {segment.uri for segment in playlist.segments}
        begin = next((index for index, segment in enumerate(waiting) if segment.uri == last), 0)
        left = [segment for segment in waiting[begin:] if segment.uri not in named]
        gone = [index for index, segment in enumerate(left) if not self._is_had(segment.uri)]
        left = left[max(gone, default=-1) + 1 :]
        self._waiting[name] = {segment.uri: segment for segment in (*left, *playlist.segments)}
        if not left:
            return playlist
        segments = (*left, *playlist.segments)
        return replace(playlist, segments=segments, media_sequence=playlist.media_sequence - len(left))

    def _is_had(self, uri: str) -> bool:
        return uri in self._there or (self._directory / uri).exists()

    def _text(self, name: str) -> str | None:
        try:
            return (self._directory / name).read_text()
        except FileNotFoundError:
            return None

    async def _segments(self, s3: S3, playlist: MediaPlaylist) -> MediaPlaylist | None:
        """Upload what is not there yet. What the packager dropped before it could be uploaded is a gap: the playlist
        begins after it."""
        kept: list[Segment] = []
        for found in playlist.segments:
            segment = self._marked(replace(found, at=self._time_of(found, kept)))
            there = [await self._upload(s3, uri, segment) for uri in (segment.init_uri, segment.uri) if uri]
            if all(there):
                kept.append(segment)
            else:
                kept.clear()
        if not kept:
            return None
        return replace(playlist, segments=tuple(kept), media_sequence=kept[0].number)

    def _marked(self, segment: Segment) -> Segment:
        """With its cues. A segment that is not there any more has those that were known when it was."""
        marks = self._marks
        if marks is None:
            return segment
        if not marks.seen(segment.uri):
            with contextlib.suppress(FileNotFoundError), (self._directory / segment.uri).open("rb") as file:
                marks.mark(segment, presentation_start(file.read(_HEAD_OCTETS)))
        return replace(segment, tags=(*segment.tags, *marks.tags(segment)))

    def _time_of(self, segment: Segment, before: list[Segment]) -> float | None:
        """Continuous within a run, and the wall clock at its start. Shaka's own times are off by the time stamps of a
        contribution that did not begin at zero."""
        if before and before[-1].at is not None and not segment.discontinuity:
            return before[-1].at + before[-1].duration_s
        known = {s.uri: s.at for playlist in self._published.values() for s in playlist.segments}
        if segment.uri in known:
            return known[segment.uri]
        try:
            return (self._directory / segment.uri).stat().st_mtime - segment.duration_s
        except FileNotFoundError:
            return None

    async def _upload(self, s3: S3, uri: str, segment: Segment) -> bool:
        if uri in self._there:
            return True
        try:
            body = (self._directory / uri).read_bytes()
        except FileNotFoundError:
            return False
        await self._put(s3, uri, body, _FOR_EVER)
        self._there.add(uri)
        if uri == segment.uri:
            self.figures.segment(uri.partition("/")[0], segment.duration_s, len(body))
        return True

    async def _tops(self, s3: S3, mpd: str | None) -> None:
        """The manifests above the playlists, once everything that they name is there."""
        master = self._text(HLS_MANIFEST)
        playlists = [self._published.get(name) for name in self._playlists]
        complete = all(playlist is not None and playlist.segments for playlist in playlists)
        if master is not None and self._read.get(HLS_MANIFEST) != master and complete:
            shown = master if self._steered is None else self._steered.multivariant(master)
            await self._put(s3, HLS_MANIFEST, shown.encode(), self._manifests)
            self._read[HLS_MANIFEST] = master
        if mpd is None or self._read.get(DASH_MANIFEST) == mpd:
            return
        last = last_number(mpd)
        there = [number for name in self._there if (number := number_of(name)) is not None]
        if last is not None and last <= max(there, default=0):
            shown = mpd if self._steered is None else self._steered.presentation(mpd)
            shown = shown if self._marks is None else self._marks.presentation(shown, self._window_s)
            await self._put(s3, DASH_MANIFEST, shown.encode(), self._manifests)
            self._read[DASH_MANIFEST] = mpd

    async def _put(self, s3: S3, name: str, body: bytes, cache_control: str) -> None:
        suffix = Path(name).suffix
        kind = _TYPES.get(suffix, "application/dash+xml")
        if name.startswith(f"{SOUND}/"):
            kind = kind.replace("video", "audio")
        expires = suffix == ".m4s"  # an initialization segment is named for as long as its run lasts
        await s3.put(self._bucket, Upload(self._prefix + name, body, kind, cache_control, expires))
        self.figures.uploads += 1
        self.figures.octets += len(body)

    async def _remove_old(self, s3: S3) -> None:
        segments = [segment for playlist in self._published.values() for segment in playlist.segments]
        first = min((number for s in segments if (number := number_of(s.uri)) is not None), default=0)
        named = {s.init_uri for s in segments}
        old = sorted(
            name
            for name in self._there - named
            if (number := number_of(name)) is not None and number < first - self._keep
        )
        old += self._ended_playlists(set(old))
        if old:
            self.figures.deleted += await s3.delete(self._bucket, [self._prefix + name for name in old])
            self._there -= set(old)

    def _ended_playlists(self, going: set[str]) -> list[str]:
        """Of renditions that are no more, once the last of their segments goes."""
        left = {name.partition("/")[0] for name in self._there - going if number_of(name) is not None}
        ours = {*self._playlists, HLS_MANIFEST}
        return sorted(
            name for name in self._there - ours if name.endswith(PLAYLIST) and name.removesuffix(PLAYLIST) not in left
        )
