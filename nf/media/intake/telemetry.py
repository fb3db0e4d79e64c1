"""What an intake says, as samples and alarms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nf.contracts.driver import Event
from nf.contracts.units import UnitStatus
from nf.media.documents import IntakeChannel
from nf.media.intake.client import IntakeStatus
from nf.media.intake.pacer import PACKET_SIZE
from nf.media.intake.units import key
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

DOWN, SILENT = "intake-down", "intake-silent"
_FRESH_S = 1.0
_STARTING_S = 15.0


class IntakeWatch:
    """The alarms of one intake. Says every state once, also the good one, so that what an earlier life of the agent
    raised is cleared."""

    def __init__(self, channel: IntakeChannel) -> None:
        self.channel = channel
        self._said: dict[str, str | None] = {}
        self._before: IntakeStatus | None = None

    def take(self, status: IntakeStatus | None, unit: UnitStatus, now: float) -> Iterator[Event]:
        """`status` None: the intake does not answer."""
        name = key(self.channel)
        text = f"the intake of {name} does not run: its unit is {unit.state.value} {unit.last_exit}".rstrip()
        down = AlarmEvent(DOWN, name, Severity.MAJOR, now, text, "read the log of its unit on this appliance")
        yield from self._say(down, raised=status is None)
        if status is None:
            return
        fresh = status.age_s is not None and status.age_s <= _FRESH_S
        why = status.problem or "nothing comes of what was fetched"
        remedy = f"ask the edge for {self.channel.url}, and see the path with `nf channel show {self.channel.channel}`"
        text = f"{name} is no fallback now: {why}"
        silent = AlarmEvent(SILENT, name, Severity.MINOR, now, text, remedy)
        yield from self._say(silent, raised=not fresh and status.uptime_s > _STARTING_S)
        yield self._sample(status, now, fresh=fresh, why=why)

    def _sample(self, status: IntakeStatus, now: float, *, fresh: bool, why: str) -> Sample:
        before, self._before = self._before, status
        values = {
            "up": float(fresh),
            "bitrate_bps": _bitrate_bps(before, status),
            "packets": float(status.packets),
            "runs": float(status.runs),
            "underruns": float(status.underruns),
            "level_s": status.level_s,
        }
        values |= {} if status.age_s is None else {"age_ms": status.age_s * 1000}
        values |= {} if status.reserve_s is None else {"reserve_s": status.reserve_s}
        values |= {} if status.latency_s is None else {"latency_s": status.latency_s}
        labels = {"channel": self.channel.channel, "path": self.channel.path, "point": "intake"}
        return Sample("path.hop", now, labels, values, "" if fresh else why)

    def end(self, now: float) -> Iterator[Event]:
        """It is no longer wanted: its alarms end."""
        for cause, text in tuple(self._said.items()):
            if text is not None:
                yield AlarmEvent(cause, key(self.channel), Severity.CLEARED, now)
        self._said.clear()

    def _say(self, event: AlarmEvent, *, raised: bool) -> Iterator[Event]:
        text = event.text if raised else None
        if event.cause in self._said and self._said[event.cause] == text:
            return
        self._said[event.cause] = text
        yield event if raised else replace(event, severity=Severity.CLEARED, text="", remedy="")


def _bitrate_bps(before: IntakeStatus | None, now: IntakeStatus) -> float:
    """Of what was sent between two looks; since it began where it began anew."""
    again = before is None or now.uptime_s <= before.uptime_s or now.packets < before.packets
    packets, since_s = (0, 0.0) if before is None or again else (before.packets, before.uptime_s)
    elapsed_s = now.uptime_s - since_s
    return (now.packets - packets) * PACKET_SIZE * 8 / elapsed_s if elapsed_s > 0 else 0.0
