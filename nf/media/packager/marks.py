"""Cues of a contribution in what is published: EXT-X-DATERANGE in playlists (RFC 8216, 4.3.2.7.1), events in the DASH
manifest (ANSI/SCTE 214-1, 6.7). Pure.

Shaka keeps the time stamps of the contribution, so that a segment tells which of its pictures a cue is for.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from nf.media.hls import Segment
from nf.media.ingest.ts import CLOCK_HZ, CLOCK_MODULUS, later
from nf.media.packager.cues import Cue, Kind

SCHEME: Final = "urn:scte:scte35:2014:xml+bin"
_SIGNAL: Final = "http://www.scte.org/schemas/35/2016"
_PERIOD = re.compile(r"<Period\b[^>]*[^/]>")
_KEPT: Final = 64
_MARKED: Final = 4096
_STALE_S: Final = 60.0


def presentation_start(data: bytes) -> int | None:
    """Earliest presentation time of a segment, 90 kHz, by its `sidx` (ISO/IEC 14496-12, 8.16.3); None: it has none."""
    place = data.find(b"sidx", 0, 256)
    if place < 0 or len(data) < place + 24:
        return None
    scale = int.from_bytes(data[place + 12 : place + 16], "big")
    size = 8 if data[place + 4] else 4
    time = int.from_bytes(data[place + 16 : place + 16 + size], "big")
    return time * CLOCK_HZ // scale if scale else None


@dataclass(slots=True)
class _Rendition:
    """`told`: cues that its playlist has; `open`: event -> ID, START-DATE and PTS of the break that is going on."""

    told: deque[Cue] = field(default_factory=lambda: deque(maxlen=_KEPT))
    open: dict[int, tuple[str, str, int]] = field(default_factory=dict)


class Marks:
    """The cues of one run of the packager, and which segments they stand before."""

    def __init__(self) -> None:
        self._cues: deque[Cue] = deque(maxlen=_KEPT)
        self._renditions: dict[str, _Rendition] = {}
        self._tags: dict[str, tuple[str, ...]] = {}
        self._newest: int | None = None

    def begin(self) -> None:
        """Another run, which has other time stamps: what was not told is told no more."""
        self._cues.clear()
        self._renditions.clear()
        self._newest = None

    def note(self, cue: Cue) -> None:
        """A splice that is cancelled before it stands in any playlist will stand in none."""
        if cue.kind is Kind.CANCEL:
            told = [one for rendition in self._renditions.values() for one in rendition.told]
            self._cues = deque((one for one in self._cues if one.event != cue.event or one in told), _KEPT)
        elif cue not in self._cues:
            self._cues.append(cue)

    def seen(self, uri: str) -> bool:
        return uri in self._tags

    def mark(self, segment: Segment, start: int | None) -> None:
        """A segment that is there for the first time, and begins at `start`."""
        self._tags[segment.uri] = () if start is None or segment.at is None else tuple(self._of(segment, start))
        if len(self._tags) > _MARKED:
            del self._tags[next(iter(self._tags))]

    def tags(self, segment: Segment) -> tuple[str, ...]:
        return self._tags.get(segment.uri, ())

    def _of(self, segment: Segment, start: int) -> list[str]:
        """All cues before the segment's end that this rendition has not told: one that came late is told late."""
        self._newest = start if self._newest is None else max(start, self._newest)
        rendition = self._renditions.setdefault(segment.uri.partition("/")[0], _Rendition())
        found = []
        for cue in self._cues:
            after = later(cue.pts, start % CLOCK_MODULUS)
            if cue not in rendition.told and after < segment.duration_s * CLOCK_HZ:
                rendition.told.append(cue)
                if after > -_STALE_S * CLOCK_HZ:
                    found.append(_date_range(cue, (segment.at or 0.0) + after / CLOCK_HZ, rendition))
        return found

    def presentation(self, mpd: str, window_s: float) -> str:
        """The MPD with an event for each cue of the window."""
        period = _PERIOD.search(mpd)
        if self._newest is None or period is None or SCHEME in mpd:
            return mpd
        events = []
        for cue in self._cues:
            at = self._newest + later(cue.pts, self._newest % CLOCK_MODULUS)
            if at >= self._newest - window_s * CLOCK_HZ:
                length = "" if cue.duration is None else f' duration="{cue.duration}"'
                binary = base64.b64encode(cue.section).decode()
                signal = f'<Signal xmlns="{_SIGNAL}"><Binary>{binary}</Binary></Signal>'
                events.append(f'<Event presentationTime="{at}"{length} id="{_id(cue)}">{signal}</Event>')
        if not events:
            return mpd
        stream = f'<EventStream schemeIdUri="{SCHEME}" timescale="{CLOCK_HZ}">'
        made = "".join(f"\n      {line}" for line in events)
        return f"{mpd[: period.end()]}\n    {stream}{made}\n    </EventStream>{mpd[period.end() :]}"


def _id(cue: Cue) -> str:
    return f"{cue.event}-{cue.pts}"


def _date_range(cue: Cue, at: float, rendition: _Rendition) -> str:
    name, date = _id(cue), datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    more = ""
    if cue.kind is Kind.OUT:
        rendition.open[cue.event] = (name, date, cue.pts)
        more = "" if cue.duration is None else f",PLANNED-DURATION={cue.duration / CLOCK_HZ:.3f}"
    elif cue.kind is Kind.IN and cue.event in rendition.open:
        # Two tags for one range: what both have is the same (4.3.2.7.1).
        name, date, began = rendition.open.pop(cue.event)
        more = f",DURATION={max(0, later(cue.pts, began)) / CLOCK_HZ:.3f}"
    attribute = {Kind.OUT: "OUT", Kind.IN: "IN"}.get(cue.kind, "CMD")
    return f'#EXT-X-DATERANGE:ID="{name}",START-DATE="{date}"{more},SCTE35-{attribute}=0x{cue.section.hex().upper()}'
