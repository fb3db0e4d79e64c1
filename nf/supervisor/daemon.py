"""The supervisor's process: one for each appliance, beside the agent and outliving it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from nf.clock import Clock, RealClock
from nf.contracts.units import UnitSpec
from nf.errors import RefusedError
from nf.supervisor.server import Server
from nf.supervisor.supervisor import Supervisor

SOCKET_NAME = "supervisor.sock"


def _make(*directories: Path) -> None:
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    fd = os.open(state_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise RefusedError(
            "a supervisor already runs here", where=str(state_dir), remedy="stop it, or use another state directory"
        ) from None
    try:
        yield
    finally:
        os.close(fd)


@contextlib.asynccontextmanager
async def _stop_signals() -> AsyncIterator[asyncio.Event]:
    """Set by SIGTERM and SIGINT, when this is the main thread."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def run_supervisor(
    run_dir: Path, state_dir: Path, boot_units: Sequence[UnitSpec] = (), *, clock: Clock | None = None
) -> None:
    """Run units until SIGTERM, SIGINT or cancellation; then stop all of them, so that no process stays behind.

    Serves on `run_dir`/supervisor.sock; keeps definitions and logs in `state_dir`. `boot_units` are defined and
    started beside those that are kept. Killed by SIGKILL, its units live on and the next supervisor adopts them.
    Raises RefusedError when one already runs on `state_dir`, StorageError when nothing can be kept there.
    """
    _make(run_dir, state_dir)
    with _only_one(state_dir):
        async with _stop_signals() as stop:
            supervisor = Supervisor(state_dir, clock or RealClock())
            rotation = asyncio.create_task(supervisor.rotate_logs())
            try:
                supervisor.recover(boot_units)
                async with Server(supervisor).serving(run_dir / SOCKET_NAME):
                    await stop.wait()
            finally:
                rotation.cancel()
                await supervisor.close()
