"""`python -m sip.kamailio.alive`: asks a proxy by OPTIONS whether it is well, and writes what it found to a file.

keepalived follows the file, and takes its number from the priority with which it asks for the virtual address. What it
asks for is an answer, whichever: a proxy that answers lives (RFC 3261 section 11). Whether it takes calls is asked of
its RPC, as an answer to OPTIONS does not say so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from nf.errors import NfError
from sip.kamailio import pushing
from sip.kamailio.rpc import RpcClient
from sip.kamailio.tables import DRAINED, STARTING

WELL, RESTING, DEAD = 0, 60, 254
"""Numbers in the file. RESTING: more than what lies between the priorities of the two. DEAD: keepalived's word for one
that does not ask for the address at all."""

LOOK_S: Final = 0.4
ANSWER_S: Final = 0.6
MISSES: Final = 2
"""So many in a row before a proxy counts as dead."""


def options(address: str, port: int, transport: str, branch: str) -> bytes:
    """RFC 3261 section 11.1."""
    lines = (
        f"OPTIONS sip:{address}:{port} SIP/2.0",
        f"Via: SIP/2.0/{transport.upper()} {address}:0;rport;branch=z9hG4bK{branch}",
        "Max-Forwards: 1",
        f"From: <sip:alive@{address}>;tag={branch}",
        f"To: <sip:{address}:{port}>",
        f"Call-ID: {branch}@{address}",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def answers(data: bytes, branch: str) -> bool:
    """A final or provisional answer to our own question."""
    head = data.split(b"\r\n\r\n", 1)[0]
    return data.startswith(b"SIP/2.0 ") and f"z9hG4bK{branch}".encode() in head


class _Asked(asyncio.DatagramProtocol):
    def __init__(self, branch: str) -> None:
        self.heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._branch = branch

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:  # noqa: ARG002 - asyncio's
        if not self.heard.done() and answers(data, self._branch):
            self.heard.set_result(True)

    def error_received(self, exc: Exception) -> None:  # noqa: ARG002 - whatever it is, nobody listens
        if not self.heard.done():
            self.heard.set_result(False)


async def ask(address: str, port: int, transport: str, limit_s: float = ANSWER_S) -> bool:
    branch = secrets.token_hex(8)
    question = options(address, port, transport, branch)
    try:
        async with asyncio.timeout(limit_s):
            return await (_by_udp if transport == "udp" else _by_tcp)(address, port, question, branch)
    except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
        return False


async def _by_udp(address: str, port: int, question: bytes, branch: str) -> bool:
    loop = asyncio.get_running_loop()
    transport, asked = await loop.create_datagram_endpoint(lambda: _Asked(branch), remote_addr=(address, port))
    try:
        transport.sendto(question)
        return await asked.heard
    finally:
        transport.close()


async def _by_tcp(address: str, port: int, question: bytes, branch: str) -> bool:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(question)
        return answers(await reader.readuntil(b"\r\n\r\n"), branch)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Watch:
    """From single answers to the number: a miss alone is none."""

    def __init__(self) -> None:
        self._missed = MISSES

    def take(self, *, alive: bool, drain: int | None) -> int:
        """`drain`: as the proxy says it; None: it was not told, and counts for nothing."""
        self._missed = 0 if alive else self._missed + 1
        if self._missed >= MISSES or drain == STARTING:
            return DEAD
        return RESTING if drain == DRAINED else WELL


def write(path: Path, value: int) -> None:
    """In place: keepalived watches the file that it has."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == f"{value}\n":
            return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, f"{value}\n".encode())
    finally:
        os.close(descriptor)


async def watch(
    path: Path, alive: Callable[[], Awaitable[bool]], drain: Callable[[], Awaitable[int | None]], stop: asyncio.Event
) -> None:
    """Until it is to stop: then nobody knows any more, and the other proxy has the address."""
    seen = Watch()
    write(path, DEAD)
    try:
        while not stop.is_set():
            value = seen.take(alive=await alive(), drain=await drain())
            write(path, value)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await stop.wait()
    finally:
        write(path, DEAD)


async def _run(given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    rpc = RpcClient(given.rpc, given.clients, timeout_s=ANSWER_S)

    async def drain() -> int | None:
        try:
            return await pushing.read_drain(rpc)
        except NfError:
            return None

    try:
        await watch(given.file, lambda: ask(given.address, given.port, given.transport), drain, stop)
    finally:
        rpc.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="voice-alive", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--rpc", type=Path, required=True, help="Kamailio's socket")
    parser.add_argument("--clients", type=Path, required=True, help="directory for this one's own")
    parser.add_argument("--file", type=Path, required=True, help="what keepalived follows")
    asyncio.run(_run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
