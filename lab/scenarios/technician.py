"""The technician's seat: the menu on the serial console, which is all that an appliance offers on the spot."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.machine.driven import DrivenMachine

_ROW = re.compile(r"^  (\S+)  +(\S+)  +(\S+)\r?$", re.MULTILINE)
_PROMPT = r"^> $"
_PATIENCE_S = 120.0
# States of systemd that are well: it runs, or it has done what it had to and ended.
_WELL = {("active", "running"), ("active", "exited"), ("active", "mounted"), ("inactive", "dead")}


@dataclass(frozen=True, slots=True)
class Unit:
    name: str
    active: str
    sub: str

    @property
    def well(self) -> bool:
        return (self.active, self.sub) in _WELL


@dataclass(frozen=True, slots=True)
class Technician:
    machine: DrivenMachine

    def state(self, *, patience_s: float = _PATIENCE_S) -> tuple[dict[str, str], tuple[Unit, ...]]:
        """The page `state`: what the appliance says of itself, and its units. Raises DeadlineError, DriverError."""
        start = self._chosen("2", patience_s)
        self.machine.await_console(_PROMPT, patience_s=patience_s, since=start)
        return read_state(self.machine.text[start:])

    def _chosen(self, number: str, patience_s: float) -> int:
        start = self.machine.position
        self.machine.send("\r")
        self.machine.await_console(_PROMPT, patience_s=patience_s, since=start)
        start = self.machine.position
        self.machine.send(f"{number}\r")
        self.machine.await_console(rf"^> {number}$", patience_s=patience_s, since=start - 2)
        return self.machine.position


def read_state(page: str) -> tuple[dict[str, str], tuple[Unit, ...]]:
    """The two tables of the page: key and value, then UNIT, STATE, DETAIL."""
    facts, _, listed = page.partition("  UNIT  ")
    known = dict(re.findall(r"^  (\S(?:.*?\S)?)  +(\S.*)$", facts, re.MULTILINE))
    units = tuple(Unit(*row) for row in _ROW.findall(listed))
    return known, units
