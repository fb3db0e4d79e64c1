"""Metrics of the fleet in the names of Prometheus: `streamverse_<domain>_<thing>_<unit>`.

Labels are node (appliance), pop (site), channel, path, tier and words of fixed lists: never a URL, never a subscriber.
What has not been measured for FRESH_S is left out, so that it ends there, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from nf.contracts.paths import Paths, Verdict
from nf.contracts.telemetry import Measured, OrderState, PathSwitch, Telemetry
from nf.telemetry.samples import Quality

FRESH_S: Final = 30.0
PURGE: Final = "purge"
BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_PLACE: Final = ("node", "pop", "channel", "path")
_CACHES: Final = {"edge", "shield"}


@dataclass(slots=True)
class Totals:
    """Counters that nobody else keeps: what has ended since the service began, and what was kept from before."""

    switches: Counter[tuple[str, ...]] = field(default_factory=Counter)
    durations_s: dict[str, list[float]] = field(default_factory=dict)
    _switch: int = 0
    _ended: dict[str, float] = field(default_factory=dict)

    def take(self, switches: Iterable[PathSwitch], orders: Iterable[OrderState]) -> None:
        """Each is counted once."""
        for one in switches:
            if one.number > self._switch:
                self._switch = one.number
                self.switches[one.channel, one.site, one.source, one.target, one.kind, one.tier] += 1
        known: dict[str, float] = {}
        for order in orders:
            if order.operation != PURGE or not order.ended_at:
                continue
            known[order.key] = order.ended_at
            if self._ended.get(order.key) != order.ended_at:
                took_s = max(0.0, order.ended_at - order.due_at)
                self._count(order.state, took_s)
        self._ended = known

    def _count(self, state: str, took_s: float) -> None:
        counts = self.durations_s.setdefault(state, [0.0] * (len(BUCKETS_S) + 2))
        for number, bound in enumerate(BUCKETS_S):
            counts[number] += took_s <= bound
        counts[-2] += 1
        counts[-1] += took_s


def families(telemetry: Telemetry, paths: Paths, totals: Totals, now: float) -> Iterator[Metric]:
    """All of them, also those without a value, so that their help is told. `now`: seconds since the epoch."""
    orders = telemetry.orders()
    totals.take(telemetry.switches(), orders)
    yield _online(telemetry)
    yield _alarms(telemetry)
    fresh = [one for one in telemetry.samples() if now - one.sample.at < FRESH_S and one.sample.quality is Quality.GOOD]
    yield from _cdn(fresh)
    yield from _chain(fresh)
    yield from _paths(paths)
    yield _failovers(totals)
    yield from _purges(orders, totals)


def _online(telemetry: Telemetry) -> Metric:
    family = GaugeMetricFamily(
        "streamverse_appliance_online", "1: the appliance has a session with the NOC.", labels=("node", "pop")
    )
    for one in telemetry.appliances():
        family.add_metric((one.appliance, one.site), float(one.online))
    return family


def _alarms(telemetry: Telemetry) -> Metric:
    family = GaugeMetricFamily(
        "streamverse_alarm_standing",
        "Alarms that stand; node is empty for those of the NOC.",
        labels=("node", "pop", "severity", "cause"),
    )
    counts = Counter((one.appliance, one.site, one.alarm.severity.value, one.alarm.cause) for one in telemetry.alarms())
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, float(count))
    return family


def _cdn(fresh: Sequence[Measured]) -> Iterator[Metric]:
    """At a shield, a miss is a response of the origin; what it answers by itself is not counted there."""
    requests = CounterMetricFamily(
        "streamverse_cdn_requests",
        "Answers of a cache for a channel, by where they came from.",
        labels=("tier", "result", *_PLACE),
    )
    errors = CounterMetricFamily(
        "streamverse_cdn_errors", "Answers of a cache for a channel whose status is 5xx.", labels=("tier", *_PLACE)
    )
    for one in fresh:
        values, labels = one.sample.values, one.sample.labels
        tier = labels.get("point", "")
        if one.sample.kind != "path.hop" or tier not in _CACHES or "packets" not in values:
            continue
        hits = values.get("hits", 0.0)
        place = _place(one)
        requests.add_metric((tier, "miss", *place), max(0.0, values["packets"] - hits))
        if "hits" in values:
            requests.add_metric((tier, "hit", *place), hits)
        if "errors" in values:
            errors.add_metric((tier, *place), values["errors"])
    yield requests
    yield errors


def _chain(fresh: Sequence[Measured]) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "streamverse_origin_segment_age_seconds", "Age of the newest segment in the origin's bucket.", labels=_PLACE
    )
    rate = GaugeMetricFamily(
        "streamverse_path_rate_bytes_per_second",
        "What passes a place of a channel's chain, from the packager to the receiver.",
        labels=("tier", *_PLACE),
    )
    errors = CounterMetricFamily(
        "streamverse_path_continuity_errors",
        "Of the transport stream (ISO/IEC 13818-1, 2.4.3.3).",
        labels=("tier", *_PLACE),
    )
    added: dict[tuple[str, ...], float] = {}
    lost: dict[tuple[str, ...], float] = {}
    for one in fresh:
        if one.sample.kind not in {"path.hop", "path.probe"}:
            continue
        values, place = one.sample.values, _place(one)
        tier = one.sample.labels.get("point", "")
        if tier == "origin" and "age_ms" in values:
            age.add_metric(place, values["age_ms"] / 1000)
        # Several receivers of one appliance are told together.
        for into, name, unit in ((added, "bitrate_bps", 8.0), (lost, "continuity_errors", 1.0)):
            if name in values:
                into[tier, *place] = into.get((tier, *place), 0.0) + values[name] / unit
    for family, found in ((rate, added), (errors, lost)):
        for labels, value in found.items():
            family.add_metric(labels, value)
    yield from (age, rate, errors)


def _place(one: Measured) -> tuple[str, str, str, str]:
    return one.appliance, one.site, one.sample.labels.get("channel", ""), one.sample.labels.get("path", "")


def _paths(paths: Paths) -> Iterator[Metric]:
    labels = ("channel", "path", "pop")
    up = GaugeMetricFamily(
        "streamverse_path_up", "1: it delivers, 0: it is down; absent where nobody knows.", labels=labels
    )
    degraded = GaugeMetricFamily(
        "streamverse_path_degraded", "1: it delivers, with losses or too little margin.", labels=labels
    )
    active = GaugeMetricFamily("streamverse_path_active", "1: the policy has chosen it.", labels=labels)
    alert = GaugeMetricFamily(
        "streamverse_path_alert",
        "1: the choice is not the line-up's first one, or may soon change.",
        labels=("channel", "pop"),
    )
    for one in paths.health():
        if one.verdict is not Verdict.UNKNOWN:
            place = (one.channel, one.path, one.site)
            up.add_metric(place, float(one.verdict is not Verdict.DOWN))
            degraded.add_metric(place, float(one.verdict is Verdict.DEGRADED))
    for ranking in paths.rankings():
        for path in ranking.paths:
            active.add_metric((ranking.channel, path, ranking.site), float(path == ranking.active))
        alert.add_metric((ranking.channel, ranking.site), float(ranking.alert))
    yield from (up, degraded, active, alert)


def _failovers(totals: Totals) -> Metric:
    family = CounterMetricFamily(
        "streamverse_failover",
        "Switches of a channel at a site; reason: failover, failback, restart, site-out or site-back; tier: who acted.",
        labels=("channel", "pop", "from", "to", "reason", "tier"),
    )
    for switch, count in sorted(totals.switches.items()):
        family.add_metric(switch, float(count))
    return family


def _purges(orders: Iterable[OrderState], totals: Totals) -> Iterator[Metric]:
    pending = GaugeMetricFamily(
        "streamverse_cdn_purge_pending", "Purges that not every cache has acknowledged.", labels=("channel", "state")
    )
    counts = Counter((one.object, one.state) for one in orders if one.operation == PURGE and not one.ended_at)
    for labels, count in sorted(counts.items()):
        pending.add_metric(labels, float(count))
    duration = HistogramMetricFamily(
        "streamverse_cdn_purge_duration_seconds",
        "From when a purge was due until its last acknowledgement, or its end.",
        labels=("state",),
    )
    for state, (*buckets, ended, total) in sorted(totals.durations_s.items()):
        told = [(f"{bound:g}", value) for bound, value in zip(BUCKETS_S, buckets, strict=True)]
        duration.add_metric((state,), [*told, ("+Inf", ended)], total)
    yield from (pending, duration)
