"""The machine itself: power on, console, power cut, power on again; its disk, variables and TPM last in between."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lab.machine import disks
from lab.machine.console import SerialConsole
from lab.machine.firmware import accelerator, find_firmware
from lab.machine.process import OwnProcess
from lab.machine.qmp import Event, Monitor
from lab.machine.spec import MachineSpec, Parts, command_line
from lab.machine.tpm import start_tpm
from lab.native.processes import Process
from nf.errors import DeadlineError, RefusedError, UnavailableError

_LAST_WORD_S = 5.0
_RESETS = frozenset({"guest-reset", "host-qmp-system-reset", "guest-panic-reset"})


def is_reset(event: Event) -> bool:
    """Whether this is the end of a qemu that another one follows (`-action reboot=shutdown`)."""
    return event.name == "SHUTDOWN" and str(event.data.get("reason", "")) in _RESETS


@dataclass(slots=True)
class _Run:
    """One run, from power on to power off. `stack`: what lasts over resets; `round`: what does not."""

    console: SerialConsole
    parts: Parts
    stack: AsyncExitStack = field(repr=False)
    round: AsyncExitStack = field(repr=False, default_factory=AsyncExitStack)
    over: asyncio.Event = field(repr=False, default_factory=asyncio.Event)
    qemu: OwnProcess | None = None
    monitor: Monitor | None = None
    tpm: OwnProcess | None = None
    watch: asyncio.Task[None] | None = None


class Machine:
    """An emulated one is reset by another qemu on the same disk, variables and TPM.

    `folder` holds what lasts (overlay, variables, TPM) and the logs; a new Machine on the same folder goes on there.

    `node`: PID 1 of the lab node whose TAPs the cards are on. The machine ends with this process.
    """

    def __init__(self, spec: MachineSpec, folder: Path, *, node: Process | None = None) -> None:
        self.spec = spec
        self.folder = folder
        self._node = node
        self._run: _Run | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.power_cut()

    @property
    def running(self) -> bool:
        return self._run is not None and not self._run.over.is_set()

    @property
    def console(self) -> SerialConsole:
        """That of the present or last run. Raises UnavailableError before the first."""
        return self._present().console

    @property
    def monitor(self) -> Monitor:
        monitor = self._present().monitor
        assert monitor is not None  # noqa: S101  # a run has one from its beginning
        return monitor

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    async def power_on(self) -> None:
        """Raises RefusedError when it runs, UnavailableError when a program is missing, DriverError."""
        if self.running:
            raise RefusedError("the machine runs", where=self.spec.name, remedy="power it off first")
        await self._close()
        await asyncio.to_thread(self._prepare)
        async with AsyncExitStack() as stack:
            # Names of sockets are short (108 octets), folders of tests are not.
            sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nf-vm-")))
            parts = self._parts(sockets)
            log = self.folder / "console.log"
            console = await stack.enter_async_context(SerialConsole(parts.serial, log, lasting=True))
            run = _Run(console, parts, stack.pop_all())
        self._run = run
        try:
            await self._start(run)
        except BaseException:
            run.over.set()
            await self._close()
            raise
        run.watch = asyncio.create_task(self._watch(run))

    async def _start(self, run: _Run) -> None:
        """A qemu, with its monitor and its TPM. Raises UnavailableError when a program is missing, DriverError."""
        async with AsyncExitStack() as stack:
            events = run.monitor.events if run.monitor is not None else ()
            run.monitor = await stack.enter_async_context(Monitor(run.parts.monitor, events))
            if run.parts.tpm is not None:
                run.tpm = await start_tpm(self.folder / "tpm", run.parts.tpm, self.folder / "swtpm.log")
                stack.push_async_callback(run.tpm.kill)
            run.qemu = await OwnProcess.start(
                command_line(self.spec, run.parts, await asyncio.to_thread(accelerator)),
                log=self.folder / "qemu.log",
                package="qemu-system-x86",
                network_of=self._node.pid if self._node else 0,
            )
            stack.push_async_callback(run.qemu.kill)
            run.round = stack.pop_all()

    async def _watch(self, run: _Run) -> None:
        """Until it is off: a qemu that ended by a reset is followed by the next."""
        try:
            while run.qemu is not None and run.monitor is not None:
                await run.qemu.wait()
                with contextlib.suppress(TimeoutError):  # one that died at its start never arrived
                    await asyncio.wait_for(run.monitor.gone(), _LAST_WORD_S)
                if not (run.monitor.events and is_reset(run.monitor.events[-1])):
                    break
                await run.round.aclose()
                await self._start(run)
        finally:
            run.over.set()
            await run.console.conclude()

    async def await_console(self, pattern: str, *, patience_s: float, unless: str = "") -> re.Match[str]:
        """The next match on the serial console; see SerialConsole.await_pattern."""
        return await self.console.await_pattern(pattern, patience_s=patience_s, unless=unless)

    async def power_cut(self) -> None:
        """The plug is pulled: SIGKILL. What the guest had not flushed to its disk is lost. No error when it is off."""
        await self._close(keep=True)

    async def left_by_a_power_cut(self, folder: Path) -> None:
        """What a power cut at this instant would leave, into an empty folder: a machine on it begins there.

        The machine stands still meanwhile and goes on afterwards.
        """
        run = self._present()
        stopped = [process for process in (run.qemu, run.tpm) if process is not None and process.running]
        for process in stopped:
            process.send(signal.SIGSTOP)
        try:
            await asyncio.to_thread(disks.copy_sparse, self.folder, folder)
        finally:
            for process in stopped:
                process.send(signal.SIGCONT)

    async def power_down(self, *, patience_s: float = 120.0) -> None:
        """The power button; waits until the system has shut down. Raises DeadlineError."""
        await self.monitor.execute("system_powerdown")
        await self.await_end(patience_s=patience_s)

    async def reset(self) -> None:
        """The reset button: memory is lost, the disks see no flush."""
        await self.monitor.execute("system_reset")

    async def status(self) -> str:
        """qemu's word for it, such as `running`."""
        answer: dict[str, Any] = await self.monitor.execute("query-status")
        return str(answer["status"])

    async def await_end(self, *, patience_s: float) -> None:
        """Until it is off by itself. Raises DeadlineError."""
        try:
            async with asyncio.timeout(patience_s):
                await self._present().over.wait()
        except TimeoutError:
            tail = self.console.transcript.tail()
            raise DeadlineError(f"still on after {patience_s:.0f} s\n{tail}", where=self.spec.name) from None
        await self._close(keep=True)

    async def quit(self) -> None:
        """Ends qemu in order: its own caches are written, the guest is not asked."""
        with contextlib.suppress(UnavailableError):  # it may be gone before it answers
            await self.monitor.execute("quit")
        await self.await_end(patience_s=30.0)

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.spec.disk is not None:
            disks.overlay(self.spec.disk, self.disk, at_least_mib=self.spec.disk_mib)
        for number, volume in enumerate(self.spec.volumes):
            disks.copy(volume, self.folder / f"volume{number}.img")
        if self.spec.direct is None or self.spec.variables is not None:
            template = self.spec.variables or find_firmware().variables
            if not (self.folder / "variables.fd").exists():
                shutil.copyfile(template, self.folder / "variables.fd")

    def _parts(self, sockets: Path) -> Parts:
        variables = self.folder / "variables.fd"
        firmware = find_firmware() if variables.exists() else None
        return Parts(
            monitor=sockets / "monitor",
            serial=sockets / "serial",
            code=firmware.code if firmware else None,
            variables=variables if firmware else None,
            disk=self.disk if self.spec.disk is not None else None,
            volumes=tuple(self.folder / f"volume{number}.img" for number in range(len(self.spec.volumes))),
            tpm=sockets / "tpm" if self.spec.tpm else None,
        )

    def _present(self) -> _Run:
        if self._run is None:
            raise UnavailableError("the machine was never on", where=self.spec.name, remedy="power it on")
        return self._run

    async def _close(self, *, keep: bool = False) -> None:
        """Processes, sockets; `keep`: the console's transcript and the monitor's events can still be read."""
        run = self._run
        if run is None:
            return
        if run.watch is not None:
            run.watch.cancel()
            await asyncio.wait((run.watch,))
        await run.round.aclose()
        await run.stack.aclose()
        run.over.set()
        await run.console.conclude()
        if not keep:
            self._run = None
