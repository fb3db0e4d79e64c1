"""Which of the two runs the units of this box."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from nf.contracts.units import Units
from nf.supervisor.client import SupervisorClient
from nf.supervisor.daemon import SOCKET_NAME
from nf.supervisor.systemd.records import DIRECTORY
from nf.supervisor.systemd.units import LINKS, SystemdUnits

CONFIGURATION = Path("/etc/nf")


class UnitsKind(Enum):
    SUPERVISOR = "supervisor"
    SYSTEMD = "systemd"


def open_units(kind: UnitsKind, run_dir: Path, state_dir: Path) -> Units:
    """What the agent keeps and the configuration with its secrets are hidden from units that systemd runs."""
    if kind is UnitsKind.SYSTEMD:
        return SystemdUnits(state_dir, hidden=(state_dir, CONFIGURATION))
    return SupervisorClient(run_dir / SOCKET_NAME)


def found(run_dir: Path, state_dir: Path) -> UnitsKind:
    """The supervisor where its socket is; systemd where it runs this box and the agent gave it definitions."""
    if (run_dir / SOCKET_NAME).exists():
        return UnitsKind.SUPERVISOR
    return UnitsKind.SYSTEMD if LINKS.parent.is_dir() and (state_dir / DIRECTORY).is_dir() else UnitsKind.SUPERVISOR
