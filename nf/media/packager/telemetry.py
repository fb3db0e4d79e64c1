"""What packagers say and buckets show, as samples and alarms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime

from nf.contracts.driver import Event
from nf.contracts.units import UnitStatus
from nf.errors import NfError
from nf.media.documents import PackagerChannel
from nf.media.http import Response, get_once
from nf.media.packager.client import PackagerStatus
from nf.media.packager.command import playlist_of, renditions_of
from nf.media.packager.units import key
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

STALE_SEGMENTS = 3
"""A manifest that has not moved for as many segment durations is stale."""

DOWN, STALE = "packager-down", "manifest-stale"
FAULTS = (
    *("origin-refuses", "origin-full", "origin-unreachable", "origin-fails", "clock-skew"),
    *("key-missing", "packager-disk-full", "encoder-behind"),
)


def age_s(answer: Response) -> float | None:
    """How old what was answered is, by the server's own clock and what caches add (RFC 9111, 4.2.3)."""
    try:
        written = parsedate_to_datetime(answer.headers["last-modified"])
        said = parsedate_to_datetime(answer.headers["date"])
        cached = float(answer.headers.get("age", "0"))
        return max(0.0, (said - written).total_seconds()) + cached
    except (KeyError, ValueError, TypeError):
        return None


async def playlists_age_s(channel: PackagerChannel) -> float | None:
    """Of the oldest playlist of a picture in the bucket, read as anybody reads it; None when one cannot be read."""
    pictures = renditions_of(channel.ladder)[:-1]
    ages = await asyncio.gather(*(_playlist_age_s(channel, playlist_of(rendition)) for rendition in pictures))
    known = [age for age in ages if age is not None]
    return max(known) if len(known) == len(ages) else None


async def _playlist_age_s(channel: PackagerChannel, name: str) -> float | None:
    try:
        answer = await get_once(f"{channel.endpoint}/{channel.bucket}/{channel.channel}/{name}", timeout_s=1.0)
    except NfError:
        return None
    return age_s(answer) if answer.status == 200 else None


def hop_sample(channel: PackagerChannel, point: str, status: PackagerStatus, age: float | None, now: float) -> Sample:
    """`up`: younger than three segments. `age_ms` is left out as long as there is nothing."""
    limit_s = STALE_SEGMENTS * channel.segment_ms / 1000
    fresh = age is not None and age < limit_s
    values = {
        "up": 1.0 if fresh else 0.0,
        "bitrate_bps": status.rate_bps,
        "packets": float(status.sequence if point == "packager" else status.uploads),
    }
    if age is not None:
        values["age_ms"] = age * 1000
    text = "" if fresh else status.fault_text or ("nothing yet" if age is None else f"nothing new for {age:.0f} s")
    return Sample("path.hop", now, {"channel": channel.channel, "path": channel.path, "point": point}, values, text)


class PackagerWatch:
    """The alarms of one packager. Says every state once, also the good one, so that what an earlier life of the agent
    raised is cleared."""

    def __init__(self, channel: PackagerChannel) -> None:
        self.channel = channel
        self._said: dict[str, AlarmEvent | None] = {}

    def take(
        self, status: PackagerStatus | None, in_bucket_s: float | None, now: float, unit: UnitStatus
    ) -> Iterator[Event]:
        """Samples and changes of alarms. `status` None: the packager does not answer."""
        channel, name = self.channel, key(self.channel)
        down = None
        if status is None or status.packager_pid is None:
            if status is not None:
                why = f": {status.last_exit}" if status.last_exit else ""
            else:
                why = f": its unit is {unit.state.value} {unit.last_exit}".rstrip()
            text = f"the packager of {name} does not run{why}"
            down = AlarmEvent(DOWN, name, Severity.MAJOR, now, text, "read the log of its unit on the headend")
        yield from self._say(DOWN, down, now)
        if status is None:
            return
        yield hop_sample(channel, "packager", status, status.segment_age_s, now)
        yield hop_sample(channel, "origin", status, in_bucket_s, now)
        for cause in FAULTS:
            fault = AlarmEvent(cause, name, Severity.MAJOR, now, status.fault_text, status.fault_remedy)
            yield from self._say(cause, fault if status.fault == cause else None, now)
        yield from self._say(STALE, self._stale(status, in_bucket_s, now), now)

    def _stale(self, status: PackagerStatus, in_bucket_s: float | None, now: float) -> AlarmEvent | None:
        limit_s = STALE_SEGMENTS * self.channel.segment_ms / 1000
        known = [age for age in (in_bucket_s, status.published_age_s) if age is not None]
        age = min(known, default=status.uptime_s)
        if age < limit_s:
            return None
        remedy = f"see whether the contribution on udp port {self.channel.contribution_port} comes in, and the origin"
        text = f"the manifest of {key(self.channel)} has not moved for more than {limit_s:g} s"
        return AlarmEvent(STALE, key(self.channel), Severity.MAJOR, now, text, remedy)

    def end(self, now: float) -> Iterator[Event]:
        """It is no longer wanted: its alarms end."""
        for cause in tuple(self._said):
            if self._said[cause] is not None:
                yield from self._say(cause, None, now)

    def _say(self, cause: str, event: AlarmEvent | None, now: float) -> Iterator[Event]:
        before = self._said.get(cause, event)
        known = cause in self._said
        same = known and (before is None) == (event is None) and (before is None or _text(before) == _text(event))
        self._said[cause] = event
        if not same:
            cleared = AlarmEvent(cause, key(self.channel), Severity.CLEARED, now)
            yield cleared if event is None else replace(event, at=now)


def _text(event: AlarmEvent | None) -> str:
    return "" if event is None else event.text
