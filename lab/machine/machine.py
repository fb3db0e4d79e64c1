"""The machine itself: power on, console, power cut, power on again; its disk, variables and TPM last in between."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lab.machine import disks
from lab.machine.console import SerialConsole
from lab.machine.firmware import accelerator, find_firmware
from lab.machine.process import OwnProcess
from lab.machine.qmp import Monitor
from lab.machine.spec import MachineSpec, Parts, command_line
from lab.machine.tpm import start_tpm
from lab.native.processes import Process
from nf.errors import DeadlineError, RefusedError, UnavailableError


@dataclass(slots=True)
class _Run:
    """One run, from power on to power off."""

    qemu: OwnProcess
    console: SerialConsole
    monitor: Monitor
    stack: AsyncExitStack = field(repr=False)


class Machine:
    """`folder` holds what lasts (overlay, variables, TPM) and the logs; a new Machine on the same folder goes on there.

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
        return self._run is not None and self._run.qemu.running

    @property
    def console(self) -> SerialConsole:
        """That of the present or last run. Raises UnavailableError before the first."""
        return self._present().console

    @property
    def monitor(self) -> Monitor:
        return self._present().monitor

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
            console = await stack.enter_async_context(SerialConsole(parts.serial, self.folder / "console.log"))
            monitor = await stack.enter_async_context(Monitor(parts.monitor))
            if parts.tpm is not None:
                tpm = await start_tpm(self.folder / "tpm", parts.tpm, self.folder / "swtpm.log")
                stack.push_async_callback(tpm.kill)
            qemu = await OwnProcess.start(
                command_line(self.spec, parts, await asyncio.to_thread(accelerator)),
                log=self.folder / "qemu.log",
                package="qemu-system-x86",
                network_of=self._node.pid if self._node else 0,
            )
            stack.push_async_callback(qemu.kill)
            self._run = _Run(qemu, console, monitor, stack.pop_all())

    async def await_console(self, pattern: str, *, patience_s: float, unless: str = "") -> re.Match[str]:
        """The next match on the serial console; see SerialConsole.await_pattern."""
        return await self.console.await_pattern(pattern, patience_s=patience_s, unless=unless)

    async def power_cut(self) -> None:
        """The plug is pulled: SIGKILL. What the guest had not flushed to its disk is lost. No error when it is off."""
        if self._run is not None:
            await self._run.qemu.kill()
            await self._close(keep=True)

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
                await self._present().qemu.wait()
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
        if self._run is not None:
            await self._run.stack.aclose()
            if not keep:
                self._run = None
