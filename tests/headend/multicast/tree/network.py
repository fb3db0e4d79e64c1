"""A small tree in namespaces of its own: source - router a - router b - receiver, each with its drivers.

A node lives in a thread that has entered the node's network namespace; its units run under a real supervisor there.
"""

from __future__ import annotations

import asyncio
import ctypes
import difflib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pyroute2 import AsyncIPRoute

from nf.clock import RealClock
from nf.contracts.driver import Context, Driver, DriverContext, Step, Undo
from nf.documents.model import DocumentModel
from nf.supervisor.client import SupervisorClient
from nf.supervisor.systemd.units import SystemdUnits
from tests.support import pid1
from tests.support.supervisor import answering

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_SUPERVISOR = (
    "import asyncio, sys, pathlib\n"
    "from nf.supervisor.daemon import run_supervisor\n"
    "asyncio.run(run_supervisor(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))\n"
)


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


class Node:
    """`call` runs an async function inside the namespace and returns its result."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.namespace = f"nft{os.getpid() % 100000}{name}"
        self.run_dir, self.state_dir = directory / name / "run", directory / name / "state"
        self.drivers: dict[str, Driver] = {}
        self.loop = asyncio.new_event_loop()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._systemd: SystemdUnits | None = None
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        self.run_dir.mkdir(parents=True)
        self.state_dir.mkdir(parents=True)
        self._thread = threading.Thread(target=self._main, name=name)
        self._thread.start()

    def _main(self) -> None:
        fd = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, timeout_s: float = 240.0) -> T:
        return self.start(function, *arguments).result(timeout_s)

    def start(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> Future[T]:
        async def run() -> T:
            return await function(*arguments)

        return asyncio.run_coroutine_threadsafe(run(), self.loop)

    def shell(self, *argv: str) -> str:
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.namespace}", *argv], check=True, capture_output=True, text=True
        )
        return done.stdout

    def context(self) -> DriverContext:
        units = self._systemd or SupervisorClient(self.run_dir / "supervisor.sock")
        return DriverContext(self.name, self.run_dir, self.state_dir, units, RealClock())

    def supervise(self) -> None:
        """Start the node's supervisor; it answers when this returns."""
        if pid1.INSIDE:
            self._systemd = pid1.units_in(self.namespace, self.state_dir)
            return
        program = [sys.executable, "-c", _SUPERVISOR, str(self.run_dir), str(self.state_dir)]
        self._supervisor = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.namespace}", *program])
        self.call(answering, self.run_dir)

    def close(self) -> None:
        if self._supervisor is not None:
            self._supervisor.send_signal(signal.SIGTERM)
            self._supervisor.wait(90)
        if self._systemd is not None:
            self.call(_forget, self._systemd)
        self.call(_finish_tasks)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
        ip("netns", "del", self.namespace)

    # -- what a person sees -----------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, str]:
        """Everything a transaction may change, as text."""
        views = {
            "addresses": ("ip", "-d", "address"),
            "routes": ("ip", "route", "show", "table", "all"),
            "rules": ("ip", "rule"),
            "multicast": ("ip", "mroute", "show", "table", "all"),
            "nftables": ("nft", "list", "ruleset"),
        }
        texts = {key: self.shell(*argv) for key, argv in views.items()}
        # The multicast routes have a view of their own.
        texts["routes"] = re.sub(r"^.*multicast 232\..*\n(?:[ \t]+.*\n)*", "", texts["routes"], flags=re.MULTILINE)
        switches = ("ip_forward", "conf/all/rp_filter", "conf/eth1/rp_filter", "conf/all/mc_forwarding")
        texts["switches"] = self.shell("head", *(f"/proc/sys/net/ipv4/{name}" for name in switches))
        return texts

    def changes(self, before: dict[str, str]) -> list[str]:
        """What is not as `before`, line by line."""
        now = self.snapshot()
        return [
            f"{view}: {line}"
            for view, text in now.items()
            for line in difflib.unified_diff(before[view].splitlines(), text.splitlines(), lineterm="", n=0)
        ]


async def _forget(units: SystemdUnits) -> None:
    for status in await units.list():
        await units.remove(status.name)
    await units.close()


async def _finish_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def context(seconds: float = 30.0) -> Context:
    clock = RealClock()
    return Context(clock, clock.monotonic() + seconds)


async def commit(driver: Driver, want: DocumentModel | None) -> list[Undo]:
    """What the engine does for one driver, up to verify; the undo records, last first."""
    steps = driver.plan(await driver.observe(), want)
    await driver.check(steps, want)
    undos: list[Undo] = []
    for step in steps:
        undos.insert(0, await driver.prepare(step))
        await driver.apply(step, context())
    drift = await driver.verify(want, context(5.0))
    assert not drift, drift
    assert driver.plan(await driver.observe(), want) == ()
    return undos


async def take_back(driver: Driver, undos: list[Undo]) -> None:
    for undo in undos:
        await driver.undo(undo, context())
        await driver.undo(undo, context())  # a crash may repeat it


@contextmanager
def nodes(*names: str) -> Iterator[dict[str, Node]]:
    # Unix socket names are short, so not below pytest's directories; open to user frr, unlike a default one.
    directory = Path(tempfile.mkdtemp(prefix="nft"))
    directory.chmod(0o755)
    made: dict[str, Node] = {}
    try:
        for name in names:
            made[name] = Node(name, directory)
        yield made
    finally:
        for node in made.values():
            node.close()
        shutil.rmtree(directory)


def connect(left: Node, left_name: str, right: Node, right_name: str) -> None:
    """A veth pair, both ends down and without addresses."""
    peer = ("peer", "name", right_name, "netns", right.namespace)
    ip("-n", left.namespace, "link", "add", left_name, "type", "veth", *peer)
    # A link gets its queue when it first goes up and keeps it: that is no configuration, so it has it from the start.
    for state in ("up", "down"):
        for node, name in ((left, left_name), (right, right_name)):
            ip("-n", node.namespace, "link", "set", name, state)


# -- traffic --------------------------------------------------------------------------------------------------------

PORT = 5000


async def send(source: str, groups: tuple[str, ...], packets: int = 10_000, interval_s: float = 0.02) -> None:
    """One packet of 1316 octets to each group every interval, until cancelled."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        out.bind((source, 0))
        for number in range(packets):
            for group in groups:
                out.sendto(number.to_bytes(4, "big") + bytes(1312), (group, PORT))
            await asyncio.sleep(interval_s)


@contextmanager
def joined(interface: str, source: str, group: str) -> Iterator[socket.socket]:
    """An IGMPv3 receiver of (source, group). Call it in the receiver's thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind((group, PORT))
        addresses = [socket.inet_aton(text) for text in (group, interface, source)]
        receiver.setsockopt(socket.IPPROTO_IP, 39, struct.pack("4s4s4s", *addresses))  # IP_ADD_SOURCE_MEMBERSHIP
        yield receiver


async def receive(interface: str, source: str, group: str, timeout_s: float) -> int:
    """Packets of (source, group) until five have come or the time is over."""
    loop = asyncio.get_running_loop()
    count = 0
    with joined(interface, source, group) as receiver:
        try:
            async with asyncio.timeout(timeout_s):
                while count < 5:
                    await loop.sock_recv(receiver, 2048)
                    count += 1
        except TimeoutError:
            pass
    return count


async def overhear(interface: str, group: str, timeout_s: float, packets: int = 5) -> int:
    """Packets to `group` that arrive on the interface although nobody here joins, until so many have come."""
    loop = asyncio.get_running_loop()
    count = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as receiver:
        receiver.bind((interface, 0x0800))
        receiver.setblocking(False)
        try:
            async with asyncio.timeout(timeout_s):
                while count < packets:
                    count += (await loop.sock_recv(receiver, 2048))[16:20] == socket.inet_aton(group)
        except TimeoutError:
            pass
    return count


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline, "did not become true in time"
        await asyncio.sleep(0.05)


async def killed_after(driver: Driver, step: Step, calls: int) -> bool:
    """Whether `apply` came to its end before that many calls of the kernel; an agent that is killed says nothing."""
    left = calls
    link = AsyncIPRoute.link

    async def counted(route: AsyncIPRoute, *arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise SystemError("killed")
        return await link(route, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch, suppress(SystemError):
        patch.setattr(AsyncIPRoute, "link", counted)
        await driver.apply(step, context(5.0))
        return True
    return False
