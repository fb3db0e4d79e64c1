"""Processes by identity: a number alone may belong to somebody else by now, a number with its start time may not."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nf.contracts.json import JsonObject

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Process:
    """`start` is in clock ticks since boot (proc(5), stat field 22)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """None when there is no such process, or only its zombie."""
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else cls(pid, int(fields[19]))

    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to exactly this process; nothing when it is gone."""
        with self._opened() as descriptor:
            if descriptor is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)

    def kill_and_wait(self, timeout_s: float) -> bool:
        """SIGKILL, and whether the process (of a PID namespace's init: the whole namespace) was gone in time."""
        with self._opened() as descriptor:
            if descriptor is None:
                return True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            return bool(poller.poll(timeout_s * 1000))

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            yield None
            return
        try:
            yield descriptor if self.alive() else None
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """A process inside a node: `pid` as the host counts, `inner` as the node counts; `state` as in proc(5)."""

    pid: int
    inner: int
    parent: int
    state: str
    command: str
    argv: tuple[str, ...]

    def to_json(self) -> JsonObject:
        return {
            "pid": self.inner,
            "host_pid": self.pid,
            "state": self.state,
            "command": " ".join(self.argv) or self.command,
        }


def processes_of(init: Process) -> tuple[NodeProcess, ...]:
    """Every process in the PID namespace of `init`, without `init` itself, by number."""
    try:
        namespace = Path(f"/proc/{init.pid}/ns/pid").readlink()
    except OSError:
        return ()
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = [process for pid in numbers if pid != init.pid and (process := _read(pid, namespace))]
    return tuple(sorted(found, key=lambda process: process.inner))


def _read(pid: int, namespace: Path) -> NodeProcess | None:
    folder = Path("/proc", str(pid))
    try:
        if (folder / "ns" / "pid").readlink() != namespace:
            return None
        argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        status = (folder / "status").read_text(errors="replace")
    except OSError:
        return None
    fields = _stat(pid)
    if fields is None:
        return None
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    inner = int(values["NSpid"].split()[-1])
    return NodeProcess(pid, inner, int(fields[1]), fields[0], values["Name"], tuple(argv))


def _stat(pid: int) -> list[str] | None:
    """The fields after the command's name: state, parent, ..., start time at 19."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def in_network_of(init: Process, work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own whose network namespace is that of `init`.

    Sockets that it opens belong to that namespace. Raises what `work` raises, OSError when the node is gone.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _enter_network(init.pid)
            results.append(work())
        except BaseException as error:  # noqa: BLE001  # carried over to the calling thread
            failures.append(error)

    thread = threading.Thread(target=run, name="nf-lab-namespace")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _enter_network(pid: int) -> None:
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
