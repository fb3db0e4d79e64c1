"""A process that is ours: it ends when we do, and is only ever ended by what we hold of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from nf.errors import UnavailableError


class OwnProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, argv: Sequence[str], *, log: Path, package: str, network_of: int = 0) -> OwnProcess:
        """`network_of`: the process in whose network namespace it runs. Raises UnavailableError without the program."""
        if shutil.which(argv[0]) is None:
            raise UnavailableError(f"{argv[0]} is missing", where="machine", remedy=f"install the package {package}")
        there = ["nsenter", f"--net=/proc/{network_of}/ns/net", "--"] if network_of else []
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *there,
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C at our terminal is not for it
            )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """Its exit code, negative after a signal."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """No error when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
