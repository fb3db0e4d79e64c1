"""The machine's TPM 2.0: a process (swtpm) beside each run of the machine; its state lasts in a directory."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from lab.machine.process import OwnProcess
from nf.errors import DriverError

_READY_S = 10.0


async def start_tpm(state: Path, socket: Path, log: Path) -> OwnProcess:
    """It ends with the machine. Raises UnavailableError without swtpm, DriverError when it does not come up."""
    _make_room(state, socket)
    argv = ["swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", f"dir={state}"]
    argv += ["--ctrl", f"type=unixio,path={socket}"]
    process = await OwnProcess.start(argv, log=log, package="swtpm")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_S):
            while process.running and not _there(socket):  # noqa: ASYNC110  # a file is no event
                await asyncio.sleep(0.02)
    if not _there(socket):
        await process.kill()
        raise DriverError("the TPM does not come up", where=str(log), remedy="see this file")
    return process


def _make_room(state: Path, socket: Path) -> None:
    state.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)


def _there(socket: Path) -> bool:
    return socket.exists()
