"""What has been measured in an interval, and what has ended, as analytics events, each once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from nf.contracts.json import Json, JsonObject
from nf.contracts.paths import PathHealth, Ranking
from nf.contracts.telemetry import Measured, OrderState, PathSwitch
from nf.media.export.messages import ANALYTICS, AnalyticsEvent, written
from nf.media.export.outbox import Event, Remember

READING: Final = "reading"
SEEN: Final = "seen"
MARK: Final = "mark"
_INTERVAL: Final = "interval"
_SINCE: Final = "since"

FORGET_S: Final = 8 * 86_400.0
"""So long it is remembered that something that ended was told."""
_TOLD_S: Final = FORGET_S - 86_400.0
_CHAIN: Final = {"path.hop", "path.probe"}
_COUNTERS: Final = {"packets", "hits", "errors", "continuity_errors"}
_NAMES: Final = {("edge", "packets"): "requests", ("shield", "packets"): "requests"}
_LONGEST: Final = 60.0
"""Intervals: what was measured over more than that many is not told as one."""

Found = tuple[list[Event], list[Remember]]


class Analytics:
    """`interval_s`: of delivery and path-state, counted from the epoch, so that every life has the same ones."""

    def __init__(
        self,
        noc: str,
        interval_s: float,
        *,
        marks: Mapping[str, Json],
        readings: Mapping[str, Json],
        seen: Mapping[str, Json],
    ) -> None:
        """What an earlier life has remembered, by kind (`Outbox.memory`)."""
        self._noc = noc
        self._interval_s = interval_s
        self._marks = dict(marks)
        self._readings = dict(readings)
        self._seen = dict(seen)

    def due_s(self, now: float) -> float:
        """Until the next interval ends."""
        return self._interval_s - now % self._interval_s

    # ---- intervals ----

    def interval(
        self, now: float, samples: Iterable[Measured], health: Iterable[PathHealth], rankings: Iterable[Ranking]
    ) -> Found:
        """Of the interval that ended last, if it was not told."""
        end = now - now % self._interval_s
        last = self._number(self._marks.get(_INTERVAL))
        if last is not None and last > now + self._interval_s:
            last = None  # the clock was ahead
        if last is not None and end <= last:
            return [], []
        oldest = end - _LONGEST * self._interval_s
        began = end - self._interval_s if last is None else max(last, oldest)
        remember = [self._mark(_INTERVAL, end)]
        events = list(self._deliveries(samples, began, end, remember))
        events += self._states(health, rankings, began, end)
        return events, remember

    def _deliveries(
        self, samples: Iterable[Measured], began: float, end: float, remember: list[Remember]
    ) -> Iterator[Event]:
        for one in samples:
            sample = one.sample
            if sample.kind not in _CHAIN or not one.site or sample.at <= began:
                continue
            labels = sample.labels
            tier = labels.get("point", "")
            place = (one.appliance, labels.get("channel", ""), labels.get("path", ""), tier, labels.get("target", ""))
            name = "/".join(place).rstrip("/")
            counters = {_NAMES.get((tier, key), key): value for key, value in sample.values.items() if key in _COUNTERS}
            counts = self._since_last(name, counters)
            if counters:
                self._readings[name] = dict(counters)
                remember.append(Remember(READING, name, dict(counters)))
            yield self._event(
                f"delivery/{name}/{int(end)}",
                name,
                type="delivery",
                began=began,
                at=end,
                node=one.appliance,
                pop=one.site,
                channel=place[1],
                path=place[2],
                tier=tier,
                counts=counts,
                values={key: value for key, value in sample.values.items() if key not in _COUNTERS},
                facts={"target": place[4]} if place[4] else {},
            )

    def _since_last(self, name: str, counters: Mapping[str, float]) -> dict[str, float]:
        """Empty for the first time: nobody knows when they began. One that fell began anew."""
        before: Any = self._readings.get(name)
        if not isinstance(before, dict):
            return {}
        return {
            key: value - before[key] if key in before and value >= before[key] else value
            for key, value in counters.items()
        }

    def _states(
        self, health: Iterable[PathHealth], rankings: Iterable[Ranking], began: float, end: float
    ) -> Iterator[Event]:
        active = {(one.channel, one.site): one.active for one in rankings}
        for one in health:
            name = f"{one.channel}/{one.path}/{one.site}"
            yield self._event(
                f"path-state/{name}/{int(end)}",
                name,
                type="path-state",
                began=began,
                at=end,
                pop=one.site,
                channel=one.channel,
                path=one.path,
                values={"active": float(active.get((one.channel, one.site)) == one.path)},
                facts={"verdict": one.verdict.value, "reason": one.reason[:500], "since": written(one.since)},
            )

    # ---- what has ended ----

    def ended(self, now: float, switches: Iterable[PathSwitch], orders: Iterable[OrderState]) -> Found:
        """What was not told yet, of what ended since the service was first run."""
        remember: list[Remember] = []
        since = self._number(self._marks.get(_SINCE))
        if since is None:
            since = now
            remember.append(self._mark(_SINCE, now))
        oldest = max(since, now - _TOLD_S)
        events: list[Event] = []
        for switch in switches:
            name = f"path-switched/{switch.number}/{int(switch.at * 1000)}"
            if switch.at >= oldest and self._is_new(name, switch.at, remember):
                events.append(self._switched(name, switch))
        for order in orders:
            name = f"purge-ended/{order.key}/{int(order.ended_at * 1000)}"
            if order.operation == "purge" and order.ended_at >= oldest and self._is_new(name, order.ended_at, remember):
                events.append(self._purged(name, order))
        for name in [name for name, at in self._seen.items() if (self._number(at) or 0.0) < now - FORGET_S]:
            del self._seen[name]
            remember.append(Remember(SEEN, name, None))
        return events, remember

    def _is_new(self, name: str, at: float, remember: list[Remember]) -> bool:
        if name in self._seen:
            return False
        self._seen[name] = at
        remember.append(Remember(SEEN, name, at))
        return True

    def _switched(self, name: str, one: PathSwitch) -> Event:
        return self._event(
            name,
            f"{one.channel}/{one.site}",
            type="path-switched",
            began=one.at,
            at=one.at,
            pop=one.site,
            channel=one.channel,
            path=one.target,
            facts={"from": one.source, "kind": one.kind, "tier": one.tier, "reason": one.reason[:500]},
        )

    def _purged(self, name: str, one: OrderState) -> Event:
        return self._event(
            name,
            one.object,
            type="purge-ended",
            began=one.due_at,
            at=one.ended_at,
            channel=one.object,
            values={"duration_s": round(max(0.0, one.ended_at - one.due_at), 3)},
            facts={"purge": one.id, "state": one.state, **_sender(one.arguments)},
        )

    def _event(self, name: str, subject: str, *, began: float, at: float, **values: Any) -> Event:
        made = AnalyticsEvent(id=f"{self._noc}/{name}", noc=self._noc, began=written(began), at=written(at), **values)
        return Event(ANALYTICS, made.id, subject, at, made.model_dump_json().encode())

    def _mark(self, name: str, value: float) -> Remember:
        self._marks[name] = value
        return Remember(MARK, name, value)

    @staticmethod
    def _number(value: Json) -> float | None:
        return float(value) if isinstance(value, int | float) else None


def _sender(arguments: JsonObject) -> dict[str, str]:
    """Who wanted a purge, and the trace that it is a part of, as far as its message said."""
    return {key: str(arguments[key]) for key in ("issued_by", "traceparent") if arguments.get(key)}
