"""What receivers say, as samples and alarms."""

from __future__ import annotations

from collections.abc import Iterator

from nf.contracts.driver import Event
from nf.contracts.units import UnitStatus
from nf.media.documents import IngestSource
from nf.media.ingest.client import IngestStatus
from nf.media.ingest.switch import Role
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

DOWN, SILENT, ON_BACKUP, NO_BACKUP = "ingest-down", "contribution-silent", "contribution-on-backup", "backup-silent"


class IngestWatch:
    """The alarms of one contribution. Says every state once, also the good one, so that what an earlier life of the
    agent raised is cleared."""

    def __init__(self, source: IngestSource) -> None:
        self.source = source
        self._said: dict[str, str] = {}

    def take(self, status: IngestStatus | None, unit: UnitStatus, now: float) -> Iterator[Event]:
        """`status` None: the receiver does not answer."""
        name = self.source.source
        down = ""
        if status is None:
            down = f"the receiver of {name} does not run: its unit is {unit.state.value} {unit.last_exit}".rstrip()
        elif status.receiver:
            down = f"the {self.source.type} receiver of {name} ended: {status.receiver}"
        yield from self._say(DOWN, Severity.MAJOR, now, down, "read the log of its unit")
        if status is None:
            return
        yield self._sample(status, now)
        where = self.source.peer or f"port {self.source.arrival}"
        silent = "" if status.alive else f"nothing comes in for {name}, at {where} or from a backup"
        yield from self._say(SILENT, Severity.CRITICAL, now, silent, "see whether the studio sends")
        primary = Role.PRIMARY in status.alive
        backup = ""
        if status.active is Role.BACKUP and status.alive:
            backup = f"{name} goes out from its backup; the primary is {'back' if primary else 'silent'}"
        remedy = f"nf source failback {name}, when it is good" if primary else f"see what sends to {where}"
        yield from self._say(ON_BACKUP, Severity.MAJOR, now, backup, remedy)
        lone = ""
        if self.source.backup_port and status.alive == {Role.PRIMARY}:
            lone = f"the backup of {name} is silent: the next fault of the primary stops the channel"
        port = self.source.backup_port
        yield from self._say(NO_BACKUP, Severity.MINOR, now, lone, f"see what sends to port {port}")

    def _sample(self, status: IngestStatus, now: float) -> Sample:
        values = {
            "up": 1.0 if status.alive else 0.0,
            "active_backup": 1.0 if status.active is Role.BACKUP else 0.0,
            "switches": float(status.switches),
            "datagrams": float(status.sent),
        }
        if status.last_gap_s is not None:
            values["last_gap_ms"] = status.last_gap_s * 1000
        return Sample("ingest.source", now, {"source": self.source.source}, values)

    def end(self, now: float) -> Iterator[Event]:
        """It is no longer wanted: its alarms end."""
        for cause in tuple(self._said):
            yield from self._say(cause, Severity.CLEARED, now, "", "")

    def _say(self, cause: str, severity: Severity, now: float, text: str, remedy: str) -> Iterator[Event]:
        if self._said.get(cause) == text:
            return
        self._said[cause] = text
        if text:
            yield AlarmEvent(cause, self.source.source, severity, now, text, remedy)
        else:
            yield AlarmEvent(cause, self.source.source, Severity.CLEARED, now)
