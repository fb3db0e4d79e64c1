"""What an edge counts, as samples: `packets` are the responses it sent for a channel, `hits` those from its cache.

`bitrate_bps` is what these responses weigh, headers included, over the last ten seconds: from its access log, since
Traffic Server counts no octets by channel.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nf.clock import Clock
from nf.contracts.driver import Event
from nf.errors import UnavailableError
from nf.media.documents import EdgeSection
from nf.media.edge.access_log import AccessLog, Weight
from nf.media.edge.render import counter
from nf.media.http import get_once
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

EVENTS_S = 2.0
WANTED_S = 10.0
"""So long after the last request a channel counts as asked for: a player asks at least once in a segment."""

SILENT = "edge-silent"


def parse_statistics(body: bytes) -> dict[str, int]:
    """The whole-number counters of stats_over_http. Raises ValueError."""
    try:
        found = json.loads(body)["global"]
        return {name: value for name, value in found.items() if isinstance(value, int)}
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("no statistics") from error


@dataclass(slots=True)
class _Reading:
    requests: int
    moved_at: float | None


class _Rates:
    """Octets by (host, channel) of the last seconds, since a channel is fetched in gusts, a segment at a time."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._recent: deque[tuple[float, Counter[tuple[str, str]]]] = deque()

    def take(self, weights: Iterable[Weight] | None, now: float) -> None:
        """`weights`: since the last call; None: nobody knows, so that it begins anew."""
        if weights is None or self._since is None:
            self._since = None if weights is None else now
            self._recent.clear()
            return
        added: Counter[tuple[str, str]] = Counter()
        for host, channel, octets in weights:
            added[host, channel] += octets
        self._recent.append((now, added))
        while self._recent[0][0] <= now - WANTED_S:
            self._since, _ = self._recent.popleft()

    def bitrate_bps(self, host: str, channel: str, now: float) -> float | None:
        """None: not known, or nothing was served."""
        octets = sum(added[host, channel] for _, added in self._recent)
        return octets * 8.0 / (now - self._since) if octets and self._since is not None else None


class EdgeWatch:
    """Turns counters into samples, and silence into an alarm that is said once."""

    def __init__(self, appliance: str, clock: Clock, log: AccessLog) -> None:
        self._appliance = appliance
        self._clock = clock
        self._log = log
        self._rates = _Rates()
        self._silent: bool | None = None
        self._last: dict[tuple[str, str], _Reading] = {}

    async def take(self, section: EdgeSection | None) -> tuple[Event, ...]:
        """`section` None: there is no edge here."""
        if section is None:
            self._log.close()
            return self._alarm(silent=False)
        weights = await asyncio.to_thread(self._log.read)
        self._rates.take(weights, self._clock.monotonic())
        try:
            url = f"http://{section.listen[0]}:{section.port}/_stats"
            counters = parse_statistics((await get_once(url)).body)
        except (UnavailableError, ValueError):
            return self._alarm(silent=True)
        return (*self._alarm(silent=False), *self.samples(section, counters))

    def samples(self, section: EdgeSection, counters: Mapping[str, int]) -> tuple[Sample, ...]:
        """One for each channel. `age_ms`: since its last request; absent before the first one is seen."""
        now = self._clock.monotonic()
        found = []
        for channel in section.channels:
            key = (channel.channel, channel.path)
            requests = counters.get(counter(*key, "requests"), 0)
            last = self._last.get(key)
            moved = requests > 0 and last is not None and requests != last.requests
            reading = _Reading(requests, now if moved else last.moved_at if last is not None else None)
            self._last[key] = reading
            age_s = None if reading.moved_at is None else now - reading.moved_at
            values = {
                "packets": float(requests),
                "hits": float(counters.get(counter(*key, "hits"), 0)),
                "wanted": float(age_s is not None and age_s < WANTED_S),
            }
            if age_s is not None:
                values["age_ms"] = age_s * 1000.0
            rate = self._rates.bitrate_bps(channel.host, channel.channel, now)
            if rate is not None:
                values["bitrate_bps"] = rate
            labels = {"channel": channel.channel, "path": channel.path, "point": "edge"}
            found.append(Sample("path.hop", self._clock.now(), labels, values))
        return tuple(found)

    def _alarm(self, *, silent: bool) -> tuple[AlarmEvent, ...]:
        if self._silent is silent:
            return ()
        self._silent = silent
        severity = Severity.MAJOR if silent else Severity.CLEARED
        text = "the edge cache does not answer" if silent else "the edge cache answers"
        remedy = "read the log of the unit trafficserver"
        return (AlarmEvent(SILENT, self._appliance, severity, self._clock.now(), text, remedy),)
