"""What an edge served, as samples: `packets` are its answers for a channel since the agent began to look, `hits` those
from its cache, `errors` those of status 5xx; `bitrate_bps` is what they weigh, headers included, and `error_share` how
many of them are errors, over the last ten seconds. All from its access log: Traffic Server counts nothing by channel.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Collection, Mapping

from nf.clock import Clock
from nf.contracts.driver import Event
from nf.errors import UnavailableError
from nf.media.documents import EdgeSection
from nf.media.edge.access_log import AccessLog, Key, Served
from nf.media.http import get_once
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

EVENTS_S = 2.0
WANTED_S = 10.0
"""So long after the last request a channel counts as asked for: a player asks at least once in a segment."""
_FEWEST = 5
"""Of fewer answers no share is told: one error among them would be most of them."""

SILENT, EXPIRING = "edge-silent", "edge-certificate-expiring"


def check_statistics(body: bytes) -> None:
    """Whether stats_over_http answered. Raises ValueError."""
    try:
        json.loads(body)["global"].items()
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("no statistics") from error


class _Count:
    """What was served by (host, channel): in all, and of the last seconds, since a channel is fetched in gusts, a
    segment at a time."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._recent: deque[tuple[float, Mapping[Key, Served]]] = deque()
        self._totals: dict[Key, Served] = {}
        self._moved_at: dict[Key, float] = {}

    def take(self, served: Mapping[Key, Served] | None, now: float, ours: Collection[Key]) -> None:
        """`served`: since the last call; None: nobody knows, so that the rates begin anew. `ours`: anybody can ask for
        any host, so nothing else is kept."""
        kept = {key: one for key, one in (served or {}).items() if key in ours}
        for key, one in kept.items():
            self._totals.setdefault(key, Served()).add(one)
            self._moved_at[key] = now
        if served is None or self._since is None:
            self._since = None if served is None else now
            self._recent.clear()
            return
        self._recent.append((now, kept))
        while self._recent[0][0] <= now - WANTED_S:
            self._since, _ = self._recent.popleft()

    def total(self, key: Key) -> Served:
        return self._totals.get(key, Served())

    def age_s(self, key: Key, now: float) -> float | None:
        """Since the last answer; None before the first one is seen."""
        moved_at = self._moved_at.get(key)
        return None if moved_at is None else now - moved_at

    def bitrate_bps(self, key: Key, now: float) -> float | None:
        """None: not known, or nothing was served."""
        octets = self._lately(key).octets
        return octets * 8.0 / (now - self._since) if octets and self._since is not None else None

    def error_share(self, key: Key) -> float | None:
        """None: not known, or too little was served to tell."""
        lately = self._lately(key)
        return lately.errors / lately.requests if lately.requests >= _FEWEST else None

    def _lately(self, key: Key) -> Served:
        found = Served()
        for _, added in self._recent:
            if key in added:
                found.add(added[key])
        return found


def _named_once(section: EdgeSection, served: Mapping[Key, Served] | None) -> Mapping[Key, Served] | None:
    """What was asked for by another name of a channel's host, counted under that host."""
    names = {(alias, one.channel): (one.host, one.channel) for one in section.channels for alias in one.aliases}
    if served is None or not names:
        return served
    found: dict[Key, Served] = {}
    for key, one in served.items():
        found.setdefault(names.get(key, key), Served()).add(one)
    return found


class EdgeWatch:
    """Turns the access log into samples, and silence into an alarm that is said once."""

    def __init__(self, appliance: str, clock: Clock, log: AccessLog) -> None:
        self._appliance = appliance
        self._clock = clock
        self._log = log
        self._count = _Count()
        self._silent: bool | None = None

    async def take(self, section: EdgeSection | None) -> tuple[Event, ...]:
        """`section` None: there is no edge here."""
        if section is None:
            self._log.close()
            return self._alarm(silent=False)
        served = await asyncio.to_thread(self._log.read)
        self.count(section, served)
        try:
            check_statistics((await get_once(f"http://{section.listen[0]}:{section.port}/_stats")).body)
        except (UnavailableError, ValueError):
            return self._alarm(silent=True)
        return (*self._alarm(silent=False), *self.samples(section))

    def count(self, section: EdgeSection, served: Mapping[Key, Served] | None) -> None:
        """What was served since the last call; None: that is not known."""
        ours = {(channel.host, channel.channel) for channel in section.channels}
        self._count.take(_named_once(section, served), self._clock.monotonic(), ours)

    def samples(self, section: EdgeSection) -> tuple[Sample, ...]:
        """One for each channel. `age_ms`: since its last request; absent before the first one is seen."""
        now = self._clock.monotonic()
        found = []
        for channel in section.channels:
            key = (channel.host, channel.channel)
            total, age_s, rate = self._count.total(key), self._count.age_s(key, now), self._count.bitrate_bps(key, now)
            share = self._count.error_share(key)
            values = {
                "packets": float(total.requests),
                "hits": float(total.hits),
                "errors": float(total.errors),
                "wanted": float(age_s is not None and age_s < WANTED_S),
            }
            if age_s is not None:
                values["age_ms"] = age_s * 1000.0
            if rate is not None:
                values["bitrate_bps"] = rate
            if share is not None:
                values["error_share"] = share
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
