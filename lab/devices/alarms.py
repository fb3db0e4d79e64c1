"""The alarm table of a device: what holds now, since when, how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from lab.devices.tree import Reader


class AlarmKind(IntEnum):
    """As nfLabAlarmKind numbers them."""

    INPUT_LOST = 1
    OUTPUT_OVERFLOW = 2
    PROCESS_FAILED = 3
    TRANSMIT_MUTED = 4
    LEVEL_AT_MAXIMUM = 5
    BEACON_LOST = 6
    LOCK_LOST = 7
    MARGIN_LOW = 8


class Severity(IntEnum):
    CRITICAL = 1
    MAJOR = 2
    MINOR = 3
    WARNING = 4


SEVERITIES = {
    AlarmKind.INPUT_LOST: Severity.MAJOR,
    AlarmKind.OUTPUT_OVERFLOW: Severity.MAJOR,
    AlarmKind.PROCESS_FAILED: Severity.MAJOR,
    AlarmKind.TRANSMIT_MUTED: Severity.WARNING,
    AlarmKind.LEVEL_AT_MAXIMUM: Severity.WARNING,
    AlarmKind.BEACON_LOST: Severity.MAJOR,
    AlarmKind.LOCK_LOST: Severity.CRITICAL,
    AlarmKind.MARGIN_LOW: Severity.MINOR,
}
CLEARED, RAISED = 1, 2
_TEXT_OCTETS = 128


@dataclass(slots=True)
class _Row:
    text: str = ""
    last_change: int = 0
    raised: int = 0


class AlarmBoard:
    """One row for each kind that the device can raise. Times in hundredths of a second since start."""

    def __init__(self, kinds: Sequence[AlarmKind]) -> None:
        self._rows = {kind: _Row() for kind in kinds}

    def kinds(self) -> tuple[AlarmKind, ...]:
        return tuple(self._rows)

    def update(self, holding: Mapping[AlarmKind, str], uptime: int) -> list[AlarmKind]:
        """Take over what holds now, each with its text. Those raised or cleared by that."""
        changed = []
        for kind, row in self._rows.items():
            text = holding.get(kind, "")[:_TEXT_OCTETS]
            if bool(text) != bool(row.text):
                row.last_change = max(1, uptime)
                row.raised += bool(text)
                changed.append(kind)
            row.text = text
        return changed

    def state(self, kind: AlarmKind) -> int:
        return RAISED if self._rows[kind].text else CLEARED

    def text(self, kind: AlarmKind) -> str:
        return self._rows[kind].text

    def readers(self) -> dict[str, Reader]:
        """What answers a GET of the alarm table."""
        return {
            "AlarmState": lambda row: self.state(AlarmKind(row)),
            "AlarmSeverity": lambda row: int(SEVERITIES[AlarmKind(row)]),
            "AlarmText": lambda row: self.text(AlarmKind(row)),
            "AlarmLastChange": lambda row: self._rows[AlarmKind(row)].last_change,
            "AlarmRaisedCount": lambda row: self._rows[AlarmKind(row)].raised,
        }
