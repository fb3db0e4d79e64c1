"""The units contract: long-lived processes of an appliance, run by the supervisor (lab) or systemd (image).

Units outlive the agent. A driver defines and starts its own units; nobody else touches them.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Protocol


class ReadyKind(Enum):
    STARTED = "started"  # ready as soon as the process runs
    UNIX_SOCKET = "unix-socket"  # ready when `target` accepts a connection
    FILE = "file"  # ready when the path `target` exists
    TCP = "tcp"  # ready when `target` ("127.0.0.1:80") accepts a connection


@dataclass(frozen=True, slots=True)
class Readiness:
    kind: ReadyKind = ReadyKind.STARTED
    target: str = ""
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a unit may do. The default is the least: read the system, compute, and write to its standard output.

    The appliance's systemd holds a unit to it; the lab's supervisor runs units with its own rights, and as nice as this
    says.
    It goes for the unit's children too, and for what probes its readiness.

    user, group    who it runs as; "" = root, which without capabilities is only the owner of root's files
    capabilities   names of capabilities(7); with a `user` it starts with them in hand (ambient)
    families       of socket(2): "AF_INET"; that of the readiness it is asked for is added by itself
    writable       directories that exist when it starts; /tmp is its own and is not named
    executable     directories whose files it maps as code, as what compiles or copies its modules does: /run is noexec
    readable       what it reads of the configuration and the secrets of the appliance, which are hidden otherwise
    devices        with what it may do: "/dev/net/tun rw"
    system_calls   calls or groups (systemd.exec(5)) beyond those of an ordinary service
    write_execute  makes memory executable that it wrote, as what compiles at run time and loads it does
    kernel_files   reads /proc beyond its processes: settings, counters, what the processors are
    real_time      may take a real-time scheduling policy
    nice           its niceness, -20 to 19
    """

    user: str = ""
    group: str = ""
    capabilities: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    writable: tuple[Path, ...] = ()
    executable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    devices: tuple[str, ...] = ()
    system_calls: tuple[str, ...] = ()
    write_execute: bool = False
    kernel_files: bool = False
    real_time: bool = False
    nice: int = 0


@dataclass(frozen=True, slots=True)
class UnitSpec:
    """A process to run.

    after         units that must be ready before this one starts
    backoff_*     restart delay: doubles from first to last, reset after `stable_s` seconds of running
    """

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    after: tuple[str, ...] = ()
    ready: Readiness = field(default_factory=Readiness)
    restart: bool = True
    backoff_first_s: float = 0.2
    backoff_last_s: float = 10.0
    stable_s: float = 10.0
    stop_signal: int = int(signal.SIGTERM)
    stop_timeout_s: float = 5.0
    directory: Path = Path("/")
    sandbox: Sandbox = field(default_factory=Sandbox)

    def option(self, name: str) -> str | None:
        """The argument behind `name`; None when there is none."""
        return next((value for word, value in pairwise(self.argv) if word == name), None)


class UnitState(Enum):
    STOPPED = "stopped"
    WAITING = "waiting"  # for the units it comes after
    STARTING = "starting"  # runs, not ready
    READY = "ready"
    BACKOFF = "backoff"  # died, will be started again
    FAILED = "failed"  # died and is not restarted, or never became ready
    STOPPING = "stopping"

    @property
    def gone(self) -> bool:
        """It does not run, and nobody but who starts it will change that."""
        return self in (UnitState.STOPPED, UnitState.FAILED)


@dataclass(frozen=True, slots=True)
class UnitStatus:
    name: str
    state: UnitState
    pid: int | None
    since: float  # seconds since the epoch: when it entered `state`
    restarts: int
    last_exit: str = ""  # "exit 1", "signal SIGKILL", "" = never ended
    spec: UnitSpec | None = None


class Units(Protocol):
    async def define(self, spec: UnitSpec) -> None:
        """Add or replace a definition. A running unit keeps running with its old one until it is restarted."""

    async def remove(self, name: str) -> None:
        """Stop the unit if it runs and forget it. Unknown names are no error."""

    async def start(self, name: str) -> UnitStatus:
        """Start it and wait until it is ready. Raises DriverError with the log's tail when it does not become so."""

    async def stop(self, name: str) -> UnitStatus:
        """Stop it (signal, then SIGKILL after its time-out) and wait until it is gone. Idempotent."""

    async def restart(self, name: str) -> UnitStatus: ...

    async def status(self, name: str) -> UnitStatus | None:
        """None when no such unit is defined."""

    async def list(self) -> tuple[UnitStatus, ...]: ...

    async def log(self, name: str, lines: int = 50) -> tuple[str, ...]:
        """The last lines that the unit wrote to stdout and stderr."""

    def watch(self) -> AsyncIterator[UnitStatus]:
        """Every change of state from now on."""


_ON_ITS_WAY = (UnitState.WAITING, UnitState.STARTING, UnitState.BACKOFF)


async def bring_up(units: Units, spec: UnitSpec, now: UnitStatus | None, *, patient: bool = False) -> None:
    """Define the unit, and start it, anew when it runs. Raises DriverError when it does not become ready.

    patient: one of this very definition that is on its way is waited for. At boot all units start at once, and one that
    is begun anew whenever somebody's time is over never gets there.
    """
    if patient and now is not None and now.spec == spec and now.state in _ON_ITS_WAY:
        await units.start(spec.name)
        return
    await units.define(spec)
    await (units.start if now is None or now.state.gone else units.restart)(spec.name)
