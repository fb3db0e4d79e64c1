"""Alarms after ITU-T X.733: raised, changed, cleared; one alarm per (probable cause, object)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum


class Severity(Enum):
    """X.733 perceived severity, worst first."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """What a source says about one object. CLEARED ends the alarm; any other severity raises or changes it."""

    cause: str  # probable cause, kebab-case: "path-down", "unit-restarting", "configuration-drift"
    object: str  # what it is about: "pop1/unit/pimd", "ch1/iptv/r1"
    severity: Severity
    at: float
    text: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    cause: str
    object: str
    severity: Severity
    text: str
    remedy: str
    first_at: float
    last_at: float
    count: int

    @property
    def id(self) -> str:
        return f"{self.cause}:{self.object}"


class AlarmTable:
    """The alarms that stand now. A repeat with nothing new only counts; a clear of nothing is nothing.

    `limit`: so many stand at most; what would be one more is not taken.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._alarms: dict[tuple[str, str], Alarm] = {}

    def __iter__(self) -> Iterator[Alarm]:
        return iter(sorted(self._alarms.values(), key=lambda alarm: (alarm.first_at, alarm.id)))

    def __len__(self) -> int:
        return len(self._alarms)

    @property
    def full(self) -> bool:
        return self._limit is not None and len(self._alarms) >= self._limit

    def find(self, cause: str, subject: str) -> Alarm | None:
        return self._alarms.get((cause, subject))

    def restore(self, alarm: Alarm) -> None:
        """Put back an alarm that was kept elsewhere, with its history."""
        self._alarms[(alarm.cause, alarm.object)] = alarm

    def take(self, event: AlarmEvent) -> Alarm | None:
        """Apply an event. The alarm as it stands now if it was raised, changed or cleared; None if nothing changed."""
        key = (event.cause, event.object)
        known = self._alarms.get(key)
        if event.severity is Severity.CLEARED:
            if known is None:
                return None
            del self._alarms[key]
            return replace(known, severity=Severity.CLEARED, text=event.text or known.text, last_at=event.at)
        if known is None:
            if self.full:
                return None
            alarm = Alarm(event.cause, event.object, event.severity, event.text, event.remedy, event.at, event.at, 1)
            self._alarms[key] = alarm
            return alarm
        changed = (known.severity, known.text, known.remedy) != (event.severity, event.text, event.remedy)
        alarm = replace(
            known,
            severity=event.severity,
            text=event.text,
            remedy=event.remedy,
            last_at=event.at,
            count=known.count + 1,
        )
        self._alarms[key] = alarm
        return alarm if changed else None
