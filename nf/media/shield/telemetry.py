"""What a shield counts, as samples: `bitrate_bps` and `packets` (responses) are what it fetched from the origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nf.clock import Clock
from nf.contracts.driver import Event
from nf.errors import DriverError
from nf.media.documents import ShieldSection
from nf.media.shield.render import backend_name
from nf.media.shield.varnish import Varnish
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

EVENTS_S = 2.0
WANTED_S = 10.0
"""So long after its last fetch a channel counts as asked for: an edge asks for the manifest in every segment."""

SILENT = "shield-silent"


@dataclass(slots=True)
class _Reading:
    """`recent`: (when, octets) of the last seconds, since a channel is fetched in gusts, a segment at a time."""

    fetches: int
    moved_at: float | None
    recent: tuple[tuple[float, int], ...]

    def bitrate_bps(self) -> float:
        (first_at, first), (last_at, last) = self.recent[0], self.recent[-1]
        return (last - first) * 8.0 / (last_at - first_at) if last_at > first_at else 0.0


class ShieldWatch:
    """Turns counters into samples, and silence into an alarm that is said once."""

    def __init__(self, appliance: str, clock: Clock) -> None:
        self._appliance = appliance
        self._clock = clock
        self._silent: bool | None = None
        self._last: dict[tuple[str, str], _Reading] = {}

    async def take(self, section: ShieldSection | None, varnish: Varnish) -> tuple[Event, ...]:
        """`section` None: there is no shield here."""
        if section is None:
            return self._alarm(silent=False)
        try:
            counters = await varnish.statistics()
        except DriverError:
            return self._alarm(silent=True)
        return (*self._alarm(silent=False), *self.samples(section, counters))

    def samples(self, section: ShieldSection, counters: Mapping[str, int]) -> tuple[Sample, ...]:
        """One for each channel. `age_ms`: since its last fetch; absent before the first one is seen."""
        now = self._clock.monotonic()
        found = []
        for channel in section.channels:
            key = (channel.channel, channel.path)
            fetches, octets = (_sum(counters, backend_name(*key), what) for what in ("req", "beresp_bodybytes"))
            last = self._last.get(key)
            reading = _next(last, now, fetches, octets)
            self._last[key] = reading
            age_s = None if reading.moved_at is None else now - reading.moved_at
            values = {
                "bitrate_bps": reading.bitrate_bps(),
                "packets": float(fetches),
                "wanted": float(age_s is not None and age_s < WANTED_S),
            }
            if age_s is not None:
                values["age_ms"] = age_s * 1000.0
            labels = {"channel": channel.channel, "path": channel.path, "point": "shield"}
            found.append(Sample("path.hop", self._clock.now(), labels, values))
        return tuple(found)

    def _alarm(self, *, silent: bool) -> tuple[AlarmEvent, ...]:
        if self._silent is silent:
            return ()
        self._silent = silent
        severity = Severity.MAJOR if silent else Severity.CLEARED
        text = "the shield cache does not answer" if silent else "the shield cache answers"
        return (
            AlarmEvent(SILENT, self._appliance, severity, self._clock.now(), text, "read the log of the unit varnishd"),
        )


def _sum(counters: Mapping[str, int], backend: str, what: str) -> int:
    """Over every VCL that is loaded: `VBE.<vcl>.<backend>.<what>`."""
    tail = f".{backend}.{what}"
    return sum(value for name, value in counters.items() if name.startswith("VBE.") and name.endswith(tail))


def _next(last: _Reading | None, now: float, fetches: int, octets: int) -> _Reading:
    if last is None:
        return _Reading(fetches, None, ((now, octets),))
    moved_at = now if fetches > last.fetches else last.moved_at
    # The counters belong to the VCL: with another one they begin anew.
    kept = [(at, value) for at, value in last.recent if now - at <= WANTED_S and value <= octets]
    return _Reading(fetches, moved_at, (*kept, (now, octets)))
