"""What the monitor says of each flow, as samples and alarms. Pure.

`path.mdi`, once for each interval of a second in which somebody wants the flow or it comes: point `monitor`, and
label `leg` where the channel is sent twice. Alarms, each about channel/path, or channel/path/leg:

    loss          packets are missing or late; major from 1 % of an interval's; over after 10 s without
    flow-silent   wanted by the router's table, and nothing has come for two seconds
    monitor-down  the monitor does not answer, or cannot listen (about the appliance)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from headend.multicast.monitor.client import FlowStatus, MonitorStatus
from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Quality, Sample

LOSS, SILENT, DOWN = "loss", "flow-silent", "monitor-down"
SILENT_AFTER_MS: Final = 2000.0
LOSS_OVER_AFTER_S: Final = 10.0
_MAJOR: Final = 0.01
_OPTIONAL: Final = ("pcr_jitter_us", "pcr_accuracy_ns", "first_packet_ms", "age_ms")
_VALUES: Final = (
    "bitrate_bps",
    "packets",
    "lost",
    "reordered",
    "duplicates",
    "continuity_errors",
    "media_loss_rate",
    "delay_factor_ms",
)


def flow_name(flow: FlowStatus) -> str:
    return "/".join(filter(None, (flow.channel, flow.path, flow.leg)))


class MonitorWatch:
    """Says every alarm's state once, also the good one, so that what an earlier life of the agent raised is cleared."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], Severity] = {}
        self._intervals = -1
        self._dropped = 0
        self._clean_since: dict[str, float] = {}

    def take(self, status: MonitorStatus | None, now: float) -> Iterator[Event]:
        """`status` None: the monitor does not answer."""
        yield from self._down(status, now)
        if status is None or status.intervals == self._intervals:
            return
        suspect = status.dropped > self._dropped
        self._intervals, self._dropped = status.intervals, status.dropped
        known = set[str]()
        for flow in status.flows:
            known.add(flow_name(flow))
            if flow.wanted or flow.interval_packets:
                yield self._sample(flow, now, suspect=suspect)
            yield from self._loss(flow, now, suspect=suspect)
            yield from self._silence(flow, now)
        yield from self._end(now, {name for _, name in self._said} - known - {self._appliance}, "is no longer watched")

    def end(self, now: float) -> Iterator[Event]:
        """Nothing is watched any more."""
        yield from self._end(now, {name for _, name in self._said}, "is no longer watched")

    def _sample(self, flow: FlowStatus, now: float, *, suspect: bool) -> Sample:
        values = {name: float(getattr(flow, name)) for name in _VALUES}
        values |= {name: float(value) for name in _OPTIONAL if (value := getattr(flow, name)) is not None}
        labels = {"channel": flow.channel, "path": flow.path, "point": "monitor"}
        if flow.leg is not None:
            labels["leg"] = flow.leg
        quality = Quality.SUSPECT if suspect else Quality.GOOD if flow.interval_packets else Quality.STALE
        return Sample("path.mdi", now, labels, values, quality=quality)

    def _loss(self, flow: FlowStatus, now: float, *, suspect: bool) -> Iterator[Event]:
        """While the monitor itself drops packets nothing is raised."""
        name = flow_name(flow)
        losing = flow.media_loss_rate > 0 and not suspect
        if losing:
            per_datagram = max(1.0, flow.ts_packets / flow.packets) if flow.packets else 1.0
            lost = flow.media_loss_rate / per_datagram
            share = lost / (lost + flow.interval_packets)
            severity = Severity.MAJOR if share >= _MAJOR else Severity.MINOR
            if self._said.get((LOSS, name)) is Severity.MAJOR:
                severity = Severity.MAJOR  # it goes down by clearing, not packet by packet
            text = f"{name} loses packets on its way to {self._appliance}"
            remedy = f"see where: nf tree trace {flow.channel} {self._appliance}"
            yield from self._say(AlarmEvent(LOSS, name, severity, now, text, remedy))
            self._clean_since.pop(name, None)
            return
        clean_since = self._clean_since.setdefault(name, now)
        standing = self._said.get((LOSS, name), Severity.WARNING)  # a former life may have raised it
        over = now - clean_since >= LOSS_OVER_AFTER_S
        if standing is not Severity.CLEARED and (over or (LOSS, name) not in self._said):
            text = f"{name} has come without loss for {LOSS_OVER_AFTER_S:.0f} s"
            yield from self._say(AlarmEvent(LOSS, name, Severity.CLEARED, now, text))

    def _silence(self, flow: FlowStatus, now: float) -> Iterator[Event]:
        name = flow_name(flow)
        silent = flow.wanted and not flow.interval_packets and (flow.age_ms is None or flow.age_ms >= SILENT_AFTER_MS)
        severity = Severity.MAJOR if silent else Severity.CLEARED
        text = (
            f"{name} is wanted at {self._appliance} and does not come" if silent else f"{name} comes, or is not wanted"
        )
        remedy = f"see where it ends: nf tree trace {flow.channel} {self._appliance}" if silent else ""
        yield from self._say(AlarmEvent(SILENT, name, severity, now, text, remedy))

    def _down(self, status: MonitorStatus | None, now: float) -> Iterator[Event]:
        text = "the monitor does not answer" if status is None else "; ".join(status.problems)
        raised = AlarmEvent(DOWN, self._appliance, Severity.MINOR, now, text, "read the log of unit multicast-monitor")
        yield from self._say(raised if text else replace(raised, severity=Severity.CLEARED, text="", remedy=""))

    def _end(self, now: float, names: set[str], why: str) -> Iterator[Event]:
        for cause, name in sorted(self._said):
            if name in names:
                if self._said.pop((cause, name)) is not Severity.CLEARED:
                    yield AlarmEvent(cause, name, Severity.CLEARED, now, f"{name} {why}")
                self._clean_since.pop(name, None)

    def _say(self, event: AlarmEvent) -> Iterator[Event]:
        key = (event.cause, event.object)
        if self._said.get(key) is not event.severity:
            self._said[key] = event.severity
            yield event
