"""What can go wrong with a device beyond SNMP itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from headend.devices.values import Value
from nf.errors import DriverError, Problem
from nf.telemetry.alarms import AlarmEvent, Severity


class Aftermath(Enum):
    """What a set that failed has left behind."""

    UNCHANGED = "unchanged"  # nothing was written
    ROLLED_BACK = "rolled-back"  # the old values were written, and read back
    CHANGED = "changed"  # it holds other values than before, and does not take the old ones
    UNKNOWN = "unknown"  # it does not answer any more


class DeviceError(DriverError):
    """A device did not do what was asked.

    aftermath   what it holds now
    before      the old values by name; secrets and what could not be read are left out
    """

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        aftermath: Aftermath = Aftermath.UNKNOWN,
        before: Mapping[str, Value] | None = None,
        remedy: str = "",
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(message, where=where, remedy=remedy, problems=problems)
        self.aftermath = aftermath
        self.before = dict(before or {})

    def alarm(self, device: str, at: float) -> AlarmEvent:
        """For the caller to raise; it clears with the next set that works."""
        lasting = self.aftermath in (Aftermath.CHANGED, Aftermath.UNKNOWN)
        severity = Severity.CRITICAL if lasting else Severity.MAJOR
        return AlarmEvent(SET_FAILED, device, severity, at, str(self), self.remedy)


SET_FAILED = "device-set-failed"
"""Probable cause of the alarm that a failed set raises."""
