"""Samples and alarms of the access ports, from the follower's word and the kernel's counters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from headend.multicast.access.client import FollowerStatus, PortStatus
from headend.multicast.access.render import PIM, QUERIES, RATE, SENT, UNENTITLED, UNWANTED, counters
from nf.contracts.driver import Event
from nf.contracts.json import JsonObject
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Quality, Sample

LIMIT, STORM, FORGED, FOLLOWER_DOWN = "channel-limit", "igmp-rate", "subscriber-not-a-router", "access-follower-down"
QUIET_S = 10.0
"""An alarm of dropped packets ends after so many seconds without one."""


@dataclass(slots=True)
class _Port:
    dropped: dict[str, int]
    moved_at: dict[str, float] = field(default_factory=dict)

    def take(self, now: float, dropped: dict[str, int]) -> None:
        for reason, count in dropped.items():
            if count > self.dropped.get(reason, 0):
                self.moved_at[reason] = now
        self.dropped = dropped

    def lately(self, now: float, *reasons: str) -> bool:
        return any(now - self.moved_at[reason] < QUIET_S for reason in reasons if reason in self.moved_at)


class AccessWatch:
    """Turns successive readings into samples of kind `access.port`, and alarms.

    channels        joined and let through; waiting: joined and refused, since the port has its limit
    refused_packets what was not joined or beyond the limit, and unentitled_packets: dropped on their way out
    igmp_dropped    above the port's rate; forged: queries, PIM and data that came from subscribers; dropped
    """

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._ports: dict[str, _Port] = {}
        self._said: dict[tuple[str, str], bool] = {}

    def take(
        self, table: Sequence[JsonObject] | None, follower: FollowerStatus | None, now: float, at: float
    ) -> Iterator[Event]:
        """`now`: monotonic seconds; `at`: seconds since the epoch."""
        dropped = counters(table or ())
        if table is not None or (FOLLOWER_DOWN, f"{self._appliance}/access") in self._said:
            yield from self._follower_alarm(at, raised=bool(dropped) and follower is None)
        for name in [known for known in self._ports if known not in dropped]:
            del self._ports[name]
            yield from self._end(name, at)
        for name, counts in sorted(dropped.items()):
            port = self._ports.setdefault(name, _Port(counts))
            port.take(now, counts)
            status = follower.ports.get(name) if follower is not None else None
            yield self._sample(name, counts, status, at)
            yield from self._alarms(name, port, status, now, at)

    def _sample(self, name: str, counts: dict[str, int], status: PortStatus | None, at: float) -> Sample:
        told = status or PortStatus()
        values = {
            "channels": len(told.passing),
            "waiting": len(told.waiting),
            "refused_packets": counts.get(UNWANTED, 0),
            "unentitled_packets": counts.get(UNENTITLED, 0),
            "igmp_dropped": counts.get(RATE, 0),
            "forged_packets": sum(counts.get(reason, 0) for reason in (QUERIES, PIM, SENT)),
        }
        return Sample(
            kind="access.port",
            at=at,
            labels={"point": "access", "port": name},
            values={key: float(value) for key, value in values.items()},
            quality=Quality.GOOD if status is not None else Quality.STALE,
        )

    def _alarms(self, name: str, port: _Port, status: PortStatus | None, now: float, at: float) -> Iterator[Event]:
        about = f"{self._appliance}/{name}"
        if status is not None:
            text = f"port {name} asks for {len(status.passing) + len(status.waiting)} channels and may have "
            text += f"{len(status.passing)}: refused {', '.join(status.waiting[:3])}"
            remedy = "raise max_channels of the port, or let the subscriber leave a channel"
            alarm = AlarmEvent(LIMIT, about, Severity.MINOR, at, text, remedy)
            yield from self._say(alarm, raised=bool(status.waiting))
        yield from self._say(
            AlarmEvent(
                STORM,
                about,
                Severity.WARNING,
                at,
                f"port {name} sends more IGMP than its rate allows: what is above is dropped",
                "find the host that zaps without end, or raise igmp_rate of the port",
            ),
            raised=port.lately(now, RATE),
        )
        yield from self._say(
            AlarmEvent(
                FORGED,
                about,
                Severity.WARNING,
                at,
                f"a subscriber on port {name} sends what only routers and sources send: it is dropped",
                "find the host that sends queries, PIM or multicast data",
            ),
            raised=port.lately(now, QUERIES, PIM, SENT),
        )

    def _follower_alarm(self, at: float, *, raised: bool) -> Iterator[Event]:
        about = f"{self._appliance}/access"
        text = "the follower of joins does not answer: what passes goes on, new joins wait"
        alarm = AlarmEvent(FOLLOWER_DOWN, about, Severity.MAJOR, at, text, "read the log of its unit")
        yield from self._say(alarm, raised=raised)

    def _end(self, name: str, at: float) -> Iterator[Event]:
        about = f"{self._appliance}/{name}"
        for cause, other in [key for key, raised in self._said.items() if raised and key[1] == about]:
            yield AlarmEvent(cause, other, Severity.CLEARED, at, "the port has no limits any more")
        self._said = {key: raised for key, raised in self._said.items() if key[1] != about}

    def _say(self, event: AlarmEvent, *, raised: bool) -> Iterator[Event]:
        key = (event.cause, event.object)
        if self._said.get(key) is raised:
            return
        self._said[key] = raised
        yield event if raised else replace(event, severity=Severity.CLEARED)
