"""Two network namespaces joined by a veth pair, and streams between them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from headend.transport.packet import build_packet

T = TypeVar("T")
ROOT = Path(__file__).parents[4]
SOURCE, RECEIVER, GROUP, PORT = "10.1.0.10", "10.1.0.20", "232.10.1.1", 5000
_CLONE_NEWNET = 0x40000000


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


@dataclass(frozen=True)
class Pair:
    """`head` has eth1 with SOURCE, `receiver` eth1 with RECEIVER."""

    head: str
    receiver: str

    def wire(self) -> None:
        run(
            "ip", "-n", self.head, "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", self.receiver
        )
        for name, address in ((self.head, SOURCE), (self.receiver, RECEIVER)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth1")
            run("ip", "-n", name, "link", "set", "eth1", "up")

    def unwire(self) -> None:
        run("ip", "-n", self.head, "link", "del", "eth1")


@contextlib.contextmanager
def namespaces() -> Iterator[Pair]:
    tag = uuid.uuid4().hex[:8]
    pair = Pair(f"nf-{tag}-h", f"nf-{tag}-r")
    made = []
    try:
        for name in (pair.head, pair.receiver):
            run("ip", "netns", "add", name)
            made.append(name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        pair.wire()
        yield pair
    finally:
        for name in made:
            run("ip", "netns", "del", name)


def _enter(name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{name}").open("rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def in_namespace(name: str, work: Callable[[], T]) -> Future[T]:
    """Run `work` in a thread of its own inside the namespace; sockets that it returns stay there."""
    future: Future[T] = Future()

    def body() -> None:
        try:
            _enter(name)
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=body, daemon=True).start()
    return future


async def feed(name: str, port: int, *, interval_s: float = 0.013) -> None:
    """An unbroken stream of one PID to 127.0.0.1:`port`, seven packets a datagram, until cancelled."""
    sock = in_namespace(name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).result()
    with sock:
        sock.connect(("127.0.0.1", port))
        loop = asyncio.get_running_loop()
        number, due = 0, loop.time()
        while True:
            packets = (build_packet(256, n & 15, n.to_bytes(4, "big") + bytes(180)) for n in range(number, number + 7))
            with contextlib.suppress(ConnectionRefusedError):  # nobody listens now
                sock.send(b"".join(packets))
            number += 7
            due += interval_s
            await asyncio.sleep(max(0.0, due - loop.time()))


@contextlib.asynccontextmanager
async def feeding(name: str, port: int, *, interval_s: float = 0.013) -> AsyncIterator[None]:
    task = asyncio.create_task(feed(name, port, interval_s=interval_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def process(name: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program inside the namespace, ended by SIGTERM."""
    command = ("ip", "netns", "exec", name, sys.executable, *arguments)
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()
