"""One process of a unit: spawned in a session of its own or adopted, watched by pidfd, signalled, swept up.

A process is known by pid *and* start time (proc(5), /proc/pid/stat field 22), since pids are used again. Every
process of a unit inherits two environment variables that say whose it is: so a supervisor killed between a spawn
and its record still finds the child, and no grandchild that left the process group stays behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nf.contracts.units import UnitSpec
from nf.errors import DriverError

OWNER_VARIABLE = "NF_UNIT_OWNER"
UNIT_VARIABLE = "NF_UNIT"

_LIVE_STATES = frozenset("RSDTtIKWP")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """`start_ticks`: clock ticks since boot; `boot_id` tells one boot from the next."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class _Stat:
    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_ticks: int


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and parentheses
    return _Stat(pid, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def identify(pid: int) -> ProcessIdentity | None:
    """None when no such process lives (a zombie does not)."""
    stat = _read_stat(pid)
    if stat is None or stat.state not in _LIVE_STATES:
        return None
    return ProcessIdentity(pid, stat.start_ticks, boot_id())


def _environment_of(pid: int) -> frozenset[bytes]:
    try:
        return frozenset(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return frozenset()


def _marks(owner: str, unit: str) -> frozenset[bytes]:
    return frozenset({f"{OWNER_VARIABLE}={owner}".encode(), f"{UNIT_VARIABLE}={unit}".encode()})


def _processes() -> Iterator[_Stat]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _read_stat(int(entry.name))) is not None and stat.state in _LIVE_STATES:
            yield stat


def unrecorded(owner: str) -> dict[str, ProcessIdentity]:
    """Main processes of `owner`'s units, found by their marks: unit -> process."""
    found: dict[str, ProcessIdentity] = {}
    mark = f"{OWNER_VARIABLE}={owner}".encode()
    boot = boot_id()
    for stat in _processes():
        if stat.pid != stat.session or stat.pid == os.getpid():
            continue
        environment = _environment_of(stat.pid)
        if mark not in environment or mark in _environment_of(stat.parent):
            continue
        for item in environment:
            name, _, value = item.partition(b"=")
            if name == UNIT_VARIABLE.encode():
                found[value.decode("utf-8", "replace")] = ProcessIdentity(stat.pid, stat.start_ticks, boot)
    return found


def _kill(pid: int, start_ticks: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            stat = _read_stat(pid)
            if stat is not None and stat.start_ticks == start_ticks:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        finally:
            os.close(fd)


def sweep(owner: str, unit: str, leader: int) -> None:
    """SIGKILL whatever is left of a unit: its process group, its session, and what carries its marks."""
    marks = _marks(owner, unit)
    for stat in _processes():
        if stat.pid == os.getpid():
            continue
        if leader in (stat.group, stat.session) or marks <= _environment_of(stat.pid):
            _kill(stat.pid, stat.start_ticks)


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


class Process:
    """A running process. `on_exit(text, clean)` is called once, from the event loop, when it is gone."""

    def __init__(
        self,
        identity: ProcessIdentity,
        pidfd: int,
        child: subprocess.Popen[bytes] | None,
        on_exit: Callable[[str, bool], None],
    ) -> None:
        self.identity = identity
        self.gone = asyncio.Event()
        self._pidfd = pidfd
        self._child = child
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self._ended)

    def _ended(self) -> None:
        self.close()
        text, clean = "ended while no supervisor was its parent", False
        if self._child is not None:
            status = self._child.wait()  # returns at once: the pidfd is readable
            text, clean = _describe(status), status == 0
        self.gone.set()
        self._on_exit(text, clean)

    def send_signal(self, number: int) -> None:
        """To the main process alone; nothing when it is gone."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Stop watching; the process itself is left alone."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def _niceness(spec: UnitSpec) -> tuple[str, ...]:
    """The one part of a sandbox that is about the unit's work, not about its rights."""
    return ("nice", "-n", str(spec.sandbox.nice)) if spec.sandbox.nice else ()


def spawn(spec: UnitSpec, owner: str, log: Path, on_exit: Callable[[str, bool], None]) -> Process:
    """Start a unit's program. Raises DriverError when it cannot be executed.

    It writes to the log file itself, without a pipe: so it neither blocks nor gets SIGPIPE when the supervisor dies.
    """
    environment = {**os.environ, **dict(spec.environment), OWNER_VARIABLE: owner, UNIT_VARIABLE: spec.name}
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(
                (*_niceness(spec), *spec.argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=spec.directory,
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(output)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise DriverError(f"cannot execute {spec.argv[0]}: {error}", where=spec.name) from error
    stat = _read_stat(child.pid)  # our own child stays readable until it is waited for
    start_ticks = stat.start_ticks if stat is not None else 0
    return Process(ProcessIdentity(child.pid, start_ticks, boot_id()), os.pidfd_open(child.pid), child, on_exit)


def adopt(identity: ProcessIdentity, on_exit: Callable[[str, bool], None]) -> Process | None:
    """Watch a process that a former supervisor started; None when it is no longer the same one."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    if identify(identity.pid) != identity:  # compared while the pidfd already names one process for good
        os.close(pidfd)
        return None
    return Process(identity, pidfd, None, on_exit)
