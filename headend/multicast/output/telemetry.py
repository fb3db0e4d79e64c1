"""What the output stage says, as samples and alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from headend.multicast.documents import Output, OutputMode, OutputSection
from headend.multicast.output.client import LegStatus, OutputStatus, SourceStatus, StageStatus
from headend.multicast.output.units import key
from headend.transport.packet import PACKET_SIZE
from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Quality, Sample

SILENT_AFTER_S, LEG_DOWN_AFTER_S = 2.0, 1.0
OUTPUT_SILENT, LEG_DOWN, STAGE_DOWN, MOVED = "output-silent", "leg-down", "output-stage-down", "route-moved"
LEGS = ("a", "b")


@dataclass(frozen=True, slots=True)
class _Count:
    packets: int
    uptime_s: float


class OutputWatch:
    """Samples and alarms of all outputs. Says every state once, also the good one, so that what an earlier life of
    the agent raised is cleared."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], bool] = {}
        self._counts: dict[str, _Count] = {}

    def take(self, section: OutputSection | None, status: StageStatus | None, now: float) -> Iterator[Event]:
        """`section` None: there is to be no output. `status` None: the stage does not answer."""
        wanted = {} if section is None else {key(output): output for output in section.outputs}
        objects = {*({self._appliance} if wanted else ()), *self._objects(wanted)}
        objects |= {self._about(source.source) for source in status.sources} if status is not None else set()
        yield from self._end(objects, now)
        if not wanted:
            return
        text = "the output stage does not answer: protected channels are not sent at this PoP"
        remedy = "read the log of unit multicast-output on this appliance"
        alarm = AlarmEvent(STAGE_DOWN, self._appliance, Severity.CRITICAL, now, text, remedy)
        yield from self._say(alarm, raised=status is None)
        if status is None:
            return
        for told in status.outputs:
            if told.key in wanted:
                yield from self._output(wanted[told.key], told, status.uptime_s, now)
        for source in status.sources:
            yield from self._source(source, now)

    def _about(self, name: str) -> str:
        return f"{name}/{self._appliance}"

    def _objects(self, wanted: Mapping[str, Output]) -> Iterator[str]:
        for name, output in wanted.items():
            yield self._about(name)
            yield from (self._about(f"{name}/{leg}") for leg, _ in zip(LEGS, output.feeds, strict=False))

    def _output(self, output: Output, told: OutputStatus, uptime_s: float, now: float) -> Iterator[Event]:
        name = key(output)
        count, before = _Count(told.packets, uptime_s), self._counts.get(name)
        self._counts[name] = count
        silent = _silent(told.age_ms, uptime_s, SILENT_AFTER_S)
        yield _sample(output, told, _bitrate_bps(before, count), now, silent=silent)
        text = f"nothing is sent of {name} at {self._appliance}: no feed of it comes"
        remedy = "see with `nf tree trace` where its feeds end"
        alarm = AlarmEvent(OUTPUT_SILENT, self._about(name), Severity.MAJOR, now, text, remedy)
        yield from self._say(alarm, raised=silent)
        if output.mode is OutputMode.SINGLE or len(output.feeds) < 2:
            return
        for leg, feed, one in zip(LEGS, output.feeds, told.legs, strict=False):
            text = f"{name} has no protection at {self._appliance}: nothing comes from {feed.source}"
            remedy = f"see with `nf tree trace` where ({feed.source}, {feed.group}) ends"
            alarm = AlarmEvent(LEG_DOWN, self._about(f"{name}/{leg}"), Severity.MINOR, now, text, remedy)
            yield from self._say(alarm, raised=_silent(one.age_ms, uptime_s, LEG_DOWN_AFTER_S) and not silent)

    def _source(self, source: SourceStatus, now: float) -> Iterator[Event]:
        text = f"{self._appliance} takes {source.source} from {source.via}: its own way is silent though it has a route"
        remedy = "look for a router on the way home that drops multicast; it goes back by itself"
        alarm = AlarmEvent(MOVED, self._about(source.source), Severity.WARNING, now, text, remedy)
        yield from self._say(alarm, raised=source.via is not None)

    def _end(self, objects: set[str], now: float) -> Iterator[Event]:
        """What is no longer there has no alarm."""
        for cause, about in [known for known in self._said if known[1] not in objects]:
            if self._said.pop((cause, about)):
                yield AlarmEvent(cause, about, Severity.CLEARED, now, "the output was removed")

    def _say(self, event: AlarmEvent, *, raised: bool) -> Iterator[Event]:
        known = (event.cause, event.object)
        if self._said.get(known) is raised:
            return
        self._said[known] = raised
        yield event if raised else replace(event, severity=Severity.CLEARED)


def _silent(age_ms: float | None, uptime_s: float, after_s: float) -> bool:
    return (uptime_s if age_ms is None else age_ms / 1000) >= after_s


def _sample(output: Output, told: OutputStatus, bitrate_bps: float, now: float, *, silent: bool) -> Sample:
    """`age_ms` is left out as long as nothing has come; counts of legs that a mode has not are, too."""
    values = {
        "bitrate_bps": bitrate_bps,
        "packets": float(told.packets),
        "continuity_errors": float(told.continuity_errors),
        "switches": float(told.switches),
        "resets": float(told.resets),
    }
    if told.age_ms is not None:
        values["age_ms"] = told.age_ms
    for leg, one in zip(LEGS, told.legs, strict=False) if output.mode is OutputMode.MERGE else ():
        values |= _leg_values(leg, one)
    labels = {"channel": output.channel, "path": output.path, "point": "output"}
    quality = Quality.STALE if silent else Quality.GOOD
    return Sample("path.hop", now, labels, values, text=_text(output, told, silent=silent), quality=quality)


def _leg_values(leg: str, one: LegStatus) -> dict[str, float]:
    counts = {name: float(getattr(one, name)) for name in ("received", "lost", "duplicate", "late", "skew_ms")}
    return {f"leg_{leg}_{name}": value for name, value in counts.items()}


def _text(output: Output, told: OutputStatus, *, silent: bool) -> str:
    """`legs a and b`, `leg b only`, `feed 1 of 2`."""
    if silent:
        return "no feed comes"
    if output.mode is not OutputMode.MERGE:
        return f"feed {(told.active or 0) + 1} of {len(output.feeds)}" if len(output.feeds) > 1 else "its only feed"
    limit_ms = LEG_DOWN_AFTER_S * 1000
    alive = [leg for leg, one in zip(LEGS, told.legs, strict=False) if one.age_ms is not None and one.age_ms < limit_ms]
    return f"legs {' and '.join(alive)}" if len(alive) > 1 else f"leg {''.join(alive) or '-'} only"


def _bitrate_bps(before: _Count | None, count: _Count) -> float:
    """Of what was sent between two looks; since the stage began where it began anew."""
    if before is None or count.uptime_s <= before.uptime_s or count.packets < before.packets:
        before = _Count(0, 0.0)
    elapsed_s = count.uptime_s - before.uptime_s
    return (count.packets - before.packets) * PACKET_SIZE * 8 / elapsed_s if elapsed_s > 0 else 0.0
