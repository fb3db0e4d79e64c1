"""Alarms that are said once, and once more when they are over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nf.telemetry.alarms import AlarmEvent, Severity


class Said:
    def __init__(self) -> None:
        self._said: dict[tuple[str, str], AlarmEvent] = {}

    def change(self, raised: Iterable[AlarmEvent], at: float) -> Iterator[AlarmEvent]:
        """`raised`: all that hold at `at`, seconds since the epoch."""
        now = {(one.cause, one.object): one for one in raised}
        for key, alarm in now.items():
            known = self._said.get(key)
            if known is None or (known.severity, known.text) != (alarm.severity, alarm.text):
                yield alarm
        for key, alarm in self._said.items():
            if key not in now:
                yield replace(alarm, severity=Severity.CLEARED, at=at)
        self._said = now
