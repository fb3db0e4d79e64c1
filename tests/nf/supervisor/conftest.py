"""A supervisor in this process, and one in a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.units import Sandbox, Units, UnitSpec, UnitState, UnitStatus
from nf.supervisor import process
from nf.supervisor.client import SupervisorClient
from nf.supervisor.daemon import run_supervisor
from nf.supervisor.systemd.units import SystemdUnits

_PROGRAM = """
import asyncio, sys
from pathlib import Path
from nf.supervisor.daemon import run_supervisor
from nf.supervisor.systemd.units import SystemdUnits
asyncio.run(run_supervisor(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@dataclass
class Bench:
    """Directories, a client, and every supervisor process that was started on them."""

    run_dir: Path
    state_dir: Path
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def client(self) -> SupervisorClient:
        return SupervisorClient(self.run_dir / "supervisor.sock")

    @property
    def owner(self) -> str:
        return (self.state_dir / "supervisor.owner").read_text().strip()

    async def launch(self) -> asyncio.subprocess.Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PROGRAM, str(self.run_dir), str(self.state_dir), cwd=Path(__file__).parents[3]
        )
        self.processes.append(child)
        await self.client.list()
        return child

    async def kill(self) -> None:
        self.processes[-1].kill()
        await self.processes[-1].wait()

    async def terminate(self) -> int:
        self.processes[-1].send_signal(signal.SIGTERM)
        return await self.processes[-1].wait()

    async def until(self, name: str, done: Callable[[UnitStatus], bool]) -> UnitStatus:
        async with asyncio.timeout(90):
            while True:
                status = await self.client.status(name)
                if status is not None and done(status):
                    return status
                await asyncio.sleep(0.01)

    async def until_state(self, name: str, state: UnitState) -> UnitStatus:
        return await self.until(name, lambda status: status.state is state)


@dataclass
class UnitsBench:
    """Something that implements the contract, and a directory that its units may write."""

    units: Units
    place: Path

    def spec(self, name: str, argv: tuple[str, ...], **more: Any) -> UnitSpec:
        return UnitSpec(name, argv, sandbox=Sandbox(writable=(self.place,), families=("AF_INET", "AF_UNIX")), **more)

    async def until(self, name: str, done: Callable[[UnitStatus], bool]) -> UnitStatus:
        async with asyncio.timeout(90):
            while True:
                status = await self.units.status(name)
                if status is not None and done(status):
                    return status
                await asyncio.sleep(0.01)

    async def until_state(self, name: str, state: UnitState) -> UnitStatus:
        return await self.until(name, lambda status: status.state is state)


@contextlib.asynccontextmanager
async def systemd_units(state_dir: Path) -> AsyncIterator[SystemdUnits]:
    """Over this machine's systemd, which then forgets every unit that was made."""
    units = SystemdUnits(state_dir)
    try:
        yield units
        for status in await units.list():
            await units.remove(status.name)
    finally:
        await units.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "run", tmp_path / "state")
    yield made
    for child in made.processes:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
            await child.wait()
    if (made.state_dir / "supervisor.owner").exists():
        for name, identity in process.unrecorded(made.owner).items():
            process.sweep(made.owner, name, identity.pid)


@contextlib.asynccontextmanager
async def supervising(bench: Bench) -> AsyncIterator[Bench]:
    """The supervisor runs as a task of this test."""
    task = asyncio.create_task(run_supervisor(bench.run_dir, bench.state_dir))
    await bench.client.list()
    yield bench
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def running(bench: Bench) -> AsyncIterator[Bench]:
    async with supervising(bench):
        yield bench


async def gone(pid: int) -> None:
    """Until the process has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(90):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)


def alive(pid: int) -> bool:
    return process.identify(pid) is not None and pid != os.getpid()
