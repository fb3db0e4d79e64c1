"""What the fleet measured last, as the policy needs it: found by place, with its age by the NOC's own clock.

The age counts from when a sample came: what an appliance's clock says does not matter. One that is wrong is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from nf.clock import Clock
from nf.noc.policy_places import PathAt
from nf.noc.sessions import Sessions
from nf.noc.telemetry import Telemetry
from nf.policy.health import ON_FALLBACK, Facts, Reading, Thresholds
from nf.telemetry.alarms import Alarm, Severity
from nf.telemetry.samples import Sample

SKEW: Final = "clock-skew"
SKEW_S: Final = 5.0
"""What an appliance's clock may be away from the NOC's."""
_WINDOW_S: Final = 10.0
_SMOOTH_S: Final = 5.0
OUT_S: Final = 15.0
"""So long an appliance is out of contact before what only it could prove is taken for down."""
OUT_AT_START_S: Final = 45.0
"""Likewise while it has not come since this NOC began: they do not come back all at once."""

_CHAIN: Final = frozenset({"path.hop", "path.probe"})
_BESIDE: Final = {"satellite.receiver": "carrier", "path.mdi": "path", "steering.n6": "point"}
"""Kinds of samples, and the label that says what they are about."""


@dataclass(frozen=True, slots=True)
class _Kept:
    sample: Sample
    came: float
    losses_per_s: float = 0.0


@dataclass(slots=True)
class _Skew:
    """The least distance of the clocks in a window: what a sample waited on its way is no skew."""

    began: float
    least_s: float


class Measurements:
    """A `Listener`. `changed` hears the appliance of whom something is new."""

    def __init__(self, telemetry: Telemetry, sessions: Sessions, clock: Clock, changed: Callable[[str], None]) -> None:
        self.thresholds = Thresholds()
        self.told: set[str] = set()
        """Who has listed its alarms since this NOC began: only of these the absence of an alarm says something."""
        self._telemetry = telemetry
        self._sessions = sessions
        self._clock = clock
        self._changed = changed
        self._chain: dict[tuple[str, str, str, str], _Kept] = {}
        self._beside: dict[tuple[str, str], dict[tuple[tuple[str, str], ...], _Kept]] = defaultdict(dict)
        self._skews: dict[str, _Skew] = {}
        self._began = clock.monotonic()
        self._seen: dict[str, float] = {}
        self._outs: frozenset[str] = frozenset()

    # ---- hearing ----

    def sampled(self, appliance: str, sample: Sample) -> None:
        now = self._clock.monotonic()
        labels = sample.labels
        if sample.kind in _CHAIN:
            key = (appliance, labels.get("channel", ""), labels.get("path", ""), labels.get("point", ""))
            self._chain[key] = _Kept(sample, now, _losses(self._chain.get(key), sample, now))
        elif sample.kind in _BESIDE:
            self._beside[appliance, sample.kind][tuple(sorted(labels.items()))] = _Kept(sample, now)
        else:
            return
        self._skew(appliance, sample.at - self._clock.now(), now)
        self._changed(appliance)

    def alarmed(self, appliance: str, alarm: Alarm) -> None:
        if alarm.cause == ON_FALLBACK:
            self._changed(appliance)

    def told_all(self, appliance: str) -> None:
        self.told.add(appliance)
        self._changed(appliance)

    def _skew(self, appliance: str, ahead_s: float, now: float) -> None:
        known = self._skews.get(appliance)
        if known is None:
            self._skews[appliance] = _Skew(now, ahead_s)
            return
        known.least_s = min(known.least_s, ahead_s, key=abs)
        if now - known.began < _WINDOW_S:
            return
        if abs(known.least_s) > SKEW_S:
            side = "ahead of" if known.least_s > 0 else "behind"
            text = f"its clock is {abs(known.least_s):.0f} s {side} the NOC's"
            self._telemetry.alarm(SKEW, appliance, Severity.WARNING, text, "see its time synchronisation (chrony)")
        else:
            self._telemetry.clear(SKEW, appliance)
        self._skews[appliance] = _Skew(now, ahead_s)

    def forget(self, appliances: frozenset[str]) -> None:
        """These are not of the fleet any more."""
        self._chain = {key: kept for key, kept in self._chain.items() if key[0] not in appliances}
        for key in [key for key in self._beside if key[0] in appliances]:
            del self._beside[key]
        for name in appliances:
            self._skews.pop(name, None)
            self._telemetry.clear(SKEW, name)

    # ---- asking ----

    def readings(self, at: PathAt) -> tuple[Reading, ...]:
        now, found = self._clock.monotonic(), []
        for hop in at.hops:
            kept = self._chain.get((hop.appliance, hop.channel, hop.path, hop.point))
            here = hop.appliance in at.here
            if kept is None:
                found.append(Reading(hop.appliance, hop.point, hop.order, here))
                continue
            reading = Reading(
                hop.appliance, hop.point, hop.order, here, kept.sample, now - kept.came, kept.losses_per_s
            )
            found.append(reading)
        return tuple(found)

    def facts(self, channel: str, at: PathAt) -> Facts:
        alarm = self.fallback(channel, at)
        return Facts(
            on_fallback="" if alarm is None else alarm.text,
            reception=tuple(self._fresh(at, "satellite.receiver", at.carrier)) if at.carrier else (),
            flows=tuple(
                sample for sample in self._fresh(at, "path.mdi", at.path.id) if sample.labels.get("channel") == channel
            ),
            gates=tuple(self._gates(at)),
            out=self._out(at),
        )

    def fallback(self, channel: str, at: PathAt) -> Alarm | None:
        """The alarm by which an appliance of the site says that it has taken the path's fallback."""
        for name in sorted(at.here):
            alarm = self._telemetry.standing(name, ON_FALLBACK, f"{channel}/{at.path.id}")
            if alarm is not None:
                return alarm
        return None

    def _fresh(self, at: PathAt, kind: str, about: str) -> Iterator[Sample]:
        oldest = self._clock.monotonic() - self.thresholds.stale_s
        for name in sorted(at.here):
            for kept in self._beside.get((name, kind), {}).values():
                if kept.came >= oldest and kept.sample.labels.get(_BESIDE[kind]) == about:
                    yield kept.sample

    def _gates(self, at: PathAt) -> Iterator[Sample]:
        """Of the places of the chain whose counters a gate is for, wherever they are."""
        oldest = self._clock.monotonic() - self.thresholds.stale_s
        points = {(hop.appliance, hop.point) for hop in at.hops}
        for name, point in sorted(points):
            for kept in self._beside.get((name, "steering.n6"), {}).values():
                if kept.came >= oldest and kept.sample.labels.get("point") == point:
                    yield kept.sample

    def _out(self, at: PathAt) -> str:
        """Why nothing of the path is known to come. A NOC that sees nobody is itself the one that is cut off."""
        if not at.here or not self._sessions.online():
            return ""
        if at.here <= self._outs:
            return f"out of contact: {', '.join(sorted(at.here))}"
        return ""

    def look(self, appliances: frozenset[str]) -> frozenset[str]:
        """Note who is there; those that are out of contact for long since this look, or not any more."""
        now, online = self._clock.monotonic(), self._sessions.online()
        for name in appliances & online:
            self._seen[name] = now
        out = frozenset(name for name in appliances if self._is_out(name, now))
        changed, self._outs = out ^ self._outs, out
        return changed

    def _is_out(self, appliance: str, now: float) -> bool:
        seen = self._seen.get(appliance)
        return now - self._began >= OUT_AT_START_S if seen is None else now - seen >= OUT_S


def _losses(before: _Kept | None, sample: Sample, now: float) -> float:
    """Continuity errors a second, over some seconds; a count that began anew counts from nothing."""
    after = sample.values.get("continuity_errors")
    if before is None or after is None or now <= before.came:
        return 0.0
    known, passed_s = before.sample.values.get("continuity_errors", 0.0), now - before.came
    weight = min(1.0, passed_s / _SMOOTH_S)
    return (1 - weight) * before.losses_per_s + weight * (after - known if after >= known else after) / passed_s
