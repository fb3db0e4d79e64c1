"""HLS playlists (RFC 8216): read, written, and continued across restarts of a packager. Pure.

Only what a live CMAF presentation needs. Tags that are unknown here are of the segment that they stand before, and stay
with it: cues (EXT-X-DATERANGE, 4.3.2.7, EXT-X-CUE-OUT and the like) are for players and for who inserts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil, isfinite

from nf.errors import InputError

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_OF_THE_PLAYLIST = frozenset(
    f"#EXT-X-{name}"
    for name in (
        *("VERSION", "INDEPENDENT-SEGMENTS", "START", "DEFINE", "PLAYLIST-TYPE", "I-FRAMES-ONLY", "ALLOW-CACHE"),
        # Of low latency: they speak of parts of segments, and of what one server can do.
        *("SERVER-CONTROL", "PART-INF", "PART", "PRELOAD-HINT", "RENDITION-REPORT", "SKIP"),
    )
)
"""Not of a segment, and not told again: what is written has its own."""
_MAX_NUMBER = 2**63
_MAX_DURATION_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Segment:
    """`number`: its media sequence number. `at`: wall-clock time of its first sample, seconds since the epoch.

    `keys`: attributes of the EXT-X-KEY tags that hold for it, as they stand; empty = it is not encrypted (4.3.2.4).
    `tags`: other lines that stand before it, as they stand, such as cues.
    """

    number: int
    uri: str
    duration_s: float
    init_uri: str = ""
    at: float | None = None
    discontinuity: bool = False
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """`discontinuity_sequence`: how many discontinuities have left the window (4.3.3.3)."""

    target_duration_s: int
    segments: tuple[Segment, ...]
    media_sequence: int = 0
    discontinuity_sequence: int = 0
    ended: bool = False

    @property
    def next_number(self) -> int:
        return self.media_sequence + len(self.segments)


@dataclass(frozen=True, slots=True)
class Variant:
    uri: str
    bandwidth_bps: int
    audio_group: str = ""


@dataclass(frozen=True, slots=True)
class MultivariantPlaylist:
    """`audio`: group id -> URI of its first rendition that has a playlist of its own."""

    variants: tuple[Variant, ...]
    audio: Mapping[str, str]

    @property
    def media_uris(self) -> tuple[str, ...]:
        """Playlists that a player with the least bandwidth reads: one variant, and its audio when that is apart."""
        return self._uris(min(self.variants, key=lambda variant: variant.bandwidth_bps))

    @property
    def best_uris(self) -> tuple[str, ...]:
        """The same with all the bandwidth that the variants ask for."""
        return self._uris(max(self.variants, key=lambda variant: variant.bandwidth_bps))

    def _uris(self, chosen: Variant) -> tuple[str, ...]:
        audio = self.audio.get(chosen.audio_group)
        return (chosen.uri,) if audio is None or audio == chosen.uri else (chosen.uri, audio)


def _lines(text: str) -> Iterator[str]:
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "#EXTM3U":
        raise _broken("it does not begin with #EXTM3U")
    for line in lines[1:]:
        stripped = line.strip()
        if stripped:
            yield stripped


def _broken(why: str) -> InputError:
    return InputError(f"not an HLS playlist: {why}", remedy="see what the packager or the origin serves there")


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) >= _MAX_NUMBER:
        raise _broken(f"{text[:40]!r} is no whole number")
    return int(text)


def _duration(text: str) -> float:
    try:
        value = float(text.split(",", 1)[0])
    except ValueError:
        value = -1.0
    if not isfinite(value) or not 0 <= value <= _MAX_DURATION_S:
        raise _broken(f"{text[:40]!r} is no duration")
    return value


def _attributes(text: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


def _time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _broken(f"{text[:40]!r} is no date and time") from None


class _Reader:
    """The state between the lines of a media playlist."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.ended = False
        self.segments: list[Segment] = []
        self._duration_s: float | None = None
        self._init = ""
        self._at: float | None = None
        self._discontinuity = False
        self._keys: tuple[str, ...] = ()
        self._keys_began = False
        self._tags: list[str] = []

    def tag(self, line: str) -> None:
        name, _, value = line.partition(":")
        match name:
            case "#EXT-X-TARGETDURATION" | "#EXT-X-MEDIA-SEQUENCE" | "#EXT-X-DISCONTINUITY-SEQUENCE":
                self.numbers[name] = _whole(value)
            case "#EXT-X-MAP":
                self._init = _attributes(value).get("URI", "")
            case "#EXT-X-KEY":
                held = self._keys if self._keys_began else ()  # several together are ways to the same key
                self._keys = () if _attributes(value).get("METHOD") == "NONE" else (*held, value)
                self._keys_began = True
            case "#EXT-X-DISCONTINUITY":
                self._discontinuity = True
            case "#EXT-X-PROGRAM-DATE-TIME":
                self._at = _time(value)
            case "#EXT-X-ENDLIST":
                self.ended = True
            case "#EXTINF":
                self._duration_s = _duration(value)
            case _ if name not in _OF_THE_PLAYLIST:
                self._tags.append(line)

    def uri(self, uri: str) -> None:
        if self._duration_s is None:
            raise _broken("a segment without #EXTINF")
        number = len(self.segments)
        flags, tags = (self._discontinuity, self._keys), tuple(self._tags)
        self.segments.append(Segment(number, uri, self._duration_s, self._init, self._at, *flags, tags))
        self._keys_began = False
        self._tags.clear()
        self._at = None if self._at is None else self._at + self._duration_s
        self._duration_s, self._discontinuity = None, False


def parse_media(text: str) -> MediaPlaylist:
    """A media playlist. Each segment gets its time from the last EXT-X-PROGRAM-DATE-TIME before it (4.3.2.6).

    Raises InputError for what is none.
    """
    reader = _Reader()
    for line in _lines(text):
        if line.startswith("#EXT") and line != "#EXTM3U":
            reader.tag(line)
        elif not line.startswith("#"):
            reader.uri(line)
    target = reader.numbers.get("#EXT-X-TARGETDURATION")
    if target is None:
        raise _broken("it has no #EXT-X-TARGETDURATION")
    # The sequence number may stand after the first segment in sloppy playlists; the numbers follow it all the same.
    sequence = reader.numbers.get("#EXT-X-MEDIA-SEQUENCE", 0)
    segments = tuple(replace(segment, number=sequence + segment.number) for segment in reader.segments)
    left = reader.numbers.get("#EXT-X-DISCONTINUITY-SEQUENCE", 0)
    return MediaPlaylist(target, segments, sequence, left, reader.ended)


def parse_multivariant(text: str) -> MultivariantPlaylist:
    """A multivariant playlist with one variant at least. Raises InputError for what is none.

    Of several pathways (RFC 8216bis, 4.4.6.2) the first one that is named: the others have the same media elsewhere.
    """
    variants: list[Variant] = []
    audio: dict[str, str] = {}
    pathway: str | None = None
    pending: dict[str, str] | None = None
    for line in _lines(text):
        name, _, value = line.partition(":")
        if name == "#EXT-X-STREAM-INF":
            pending = _attributes(value)
        elif name == "#EXT-X-MEDIA":
            given = _attributes(value)
            if given.get("TYPE") == "AUDIO" and "URI" in given:
                audio.setdefault(given.get("GROUP-ID", ""), given["URI"])
        elif not line.startswith("#") and pending is not None:
            own = pending.get("PATHWAY-ID", "")
            pathway = own if pathway is None else pathway
            if own == pathway:
                variants.append(Variant(line, _whole(pending.get("BANDWIDTH", "")), pending.get("AUDIO", "")))
            pending = None
    if not variants:
        raise _broken("it names no variant")
    used = {variant.audio_group for variant in variants}
    return MultivariantPlaylist(tuple(variants), {k: v for k, v in audio.items() if k in used or not pathway})


def render_media(playlist: MediaPlaylist) -> str:
    """The text of a playlist; `parse_media` reads it back (times to the millisecond, durations to the microsecond)."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:6",
        f"#EXT-X-TARGETDURATION:{playlist.target_duration_s}",
        f"#EXT-X-MEDIA-SEQUENCE:{playlist.media_sequence}",
    ]
    if playlist.discontinuity_sequence:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{playlist.discontinuity_sequence}")
    init = ""
    keys: tuple[str, ...] = ()
    for segment in playlist.segments:
        if segment.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.init_uri != init:
            init = segment.init_uri
            lines.append(f'#EXT-X-MAP:URI="{init}"')
        if segment.keys != keys:
            keys = segment.keys
            lines += [f"#EXT-X-KEY:{key}" for key in keys or ("METHOD=NONE",)]
        if segment.at is not None:
            moment = datetime.fromtimestamp(segment.at, UTC).isoformat(timespec="milliseconds")
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{moment.replace('+00:00', 'Z')}")
        lines += [*segment.tags, f"#EXTINF:{segment.duration_s:.6f},", segment.uri]
    if playlist.ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def continued(before: MediaPlaylist | None, now: MediaPlaylist, window_s: float) -> MediaPlaylist:
    """What is to be published after `before`, when the packager says `now`; at least `window_s` of it where there is.

    Segments are known by their URI, and what is new gets the next sequence numbers: a packager that was started again
    knows only its own segments and counts as it likes. Where none of `now` was published before, something is missing
    in between, which is declared. Discontinuities that leave the window are counted, so that players stay in step
    (RFC 8216, 4.3.3.2, 4.3.3.3, 6.2.2).
    """
    segments = [] if before is None else list(before.segments)
    left = now.discontinuity_sequence if before is None else before.discontinuity_sequence
    sequence = now.media_sequence if before is None else before.media_sequence
    known = {segment.uri for segment in segments}
    last = max((index for index, segment in enumerate(now.segments) if segment.uri in known), default=-1)
    for segment in now.segments[last + 1 :]:
        missing = last < 0 and bool(segments) and segment is now.segments[0]
        number = sequence + len(segments)
        segments.append(replace(segment, number=number, discontinuity=segment.discontinuity or missing))
    total = sum(segment.duration_s for segment in segments)
    while len(segments) > 1 and total - segments[0].duration_s >= window_s:
        gone = segments.pop(0)
        total -= gone.duration_s
        left += gone.discontinuity
        sequence += 1
    longest = max((segment.duration_s for segment in segments), default=0.0)
    target = max(now.target_duration_s, before.target_duration_s if before else 0, ceil(longest))
    return MediaPlaylist(target, tuple(segments), sequence, left, now.ended)
