"""What the source stages say, as samples and alarms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from headend.multicast.documents import SourceStage
from headend.multicast.planning.facts import point
from headend.multicast.source.client import StageStatus
from headend.multicast.source.units import key
from headend.transport.continuity import StreamCounters
from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Quality, Sample

LOST_AFTER_S = 2.0
LOST, OVER_RATE, STAGE_DOWN = "contribution-lost", "contribution-over-rate", "source-stage-down"
SECOND_DOWN = "second-flow-down"


def hop_sample(stage: SourceStage, name: str, counters: StreamCounters, now: float) -> Sample:
    """`age_ms` is left out as long as nothing has come. Each of two encoders of a path is a point of its own."""
    values = {
        "bitrate_bps": counters.bitrate_bps,
        "packets": float(counters.packets),
        "continuity_errors": float(counters.continuity_errors),
    }
    if counters.age_s is not None:
        values["age_ms"] = counters.age_s * 1000
    fresh = counters.age_s is not None and counters.age_s < LOST_AFTER_S
    return Sample(
        kind="path.hop",
        at=now,
        labels={"channel": stage.channel, "path": stage.path, "point": point(name, stage.leg)},
        values=values,
        quality=Quality.GOOD if fresh else Quality.STALE,
    )


def _lost_about(stage: SourceStage) -> str:
    """Each of two encoders has an alarm of its own."""
    return stage.channel if stage.leg is None else key(stage)


class StageWatch:
    """The alarms of one stage. Says every state once, also the good one, so that what an earlier life of the agent
    raised is cleared."""

    def __init__(self, stage: SourceStage) -> None:
        self.stage = stage
        self._said: dict[str, bool] = {}
        self._policed: int | None = None
        self._sent_second: int | None = None

    def take(self, status: StageStatus | None, now: float) -> Iterator[Event]:
        """Samples and changes of alarms. `status` None: the stage does not answer."""
        stage, name = self.stage, key(self.stage)
        yield from self._say(
            AlarmEvent(
                STAGE_DOWN,
                name,
                Severity.MAJOR,
                now,
                f"the source stage of {name} does not answer",
                "read the log of its unit on the headend",
            ),
            raised=status is None,
        )
        if status is None:
            return
        yield hop_sample(stage, "contribution", status.contribution, now)
        yield hop_sample(stage, "source", status.source, now)
        silent_s = status.contribution.age_s if status.contribution.age_s is not None else status.uptime_s
        yield from self._say(
            AlarmEvent(
                LOST,
                _lost_about(stage),
                Severity.MAJOR,
                now,
                f"no contribution on udp port {stage.contribution_port}",
                "check the feed that sends to this appliance",
            ),
            raised=silent_s >= LOST_AFTER_S,
        )
        more = self._policed is not None and status.policed > self._policed
        self._policed = status.policed
        yield from self._say(
            AlarmEvent(
                OVER_RATE,
                name,
                Severity.MINOR,
                now,
                f"the contribution exceeds {stage.rate_bps} bit/s: packets are dropped at the headend",
                "lower the encoder's rate, or raise `rate` of the path",
            ),
            raised=more,
        )
        if stage.second is not None and status.second is not None:
            stuck = status.second.datagrams == self._sent_second and silent_s < LOST_AFTER_S
            self._sent_second = status.second.datagrams
            yield from self._say(
                AlarmEvent(
                    SECOND_DOWN,
                    name,
                    Severity.MINOR,
                    now,
                    f"nothing leaves from {stage.second.source}: {name} is sent once and has no protection",
                    f"see that {stage.second.source} is on an interface that is up",
                ),
                raised=stuck,
            )

    def end(self, now: float) -> Iterator[Event]:
        """The stage is no longer wanted: its alarms end."""
        for cause, raised in tuple(self._said.items()):
            if raised:
                about = _lost_about(self.stage) if cause == LOST else key(self.stage)
                yield AlarmEvent(cause, about, Severity.CLEARED, now, "the source stage was removed")

    def _say(self, event: AlarmEvent, *, raised: bool) -> Iterator[Event]:
        if self._said.get(event.cause) is raised:
            return
        self._said[event.cause] = raised
        yield event if raised else replace(event, severity=Severity.CLEARED)
