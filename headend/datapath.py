"""A process of the data path: one loop, and two unix sockets in its directory.

A connection to `status.sock` is answered by one line of JSON. A datagram of JSON to `control.sock` tells it something,
such as `{"reload": true}`. It imports little, since such processes are started within a commit.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

STATUS_SOCKET, CONTROL_SOCKET = "status.sock", "control.sock"

_ANSWER_TIMEOUT_S = 1.0
_LONGEST_ANSWER = 4 << 20
_SEND_TIMEOUT_S = 0.2
_CONTROL_BYTES = 4096


class Program(Protocol):
    def command(self, data: bytes) -> None:
        """One datagram of the control socket. Raises ValueError when it is none of ours."""

    def tick(self, now: float) -> None: ...

    def status(self) -> dict[str, object]:
        """JSON."""

    def close(self) -> None: ...


async def read_status(directory: Path) -> Any:
    """What the process there says; None when none answers within a second, or not in JSON."""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            path = str(directory / STATUS_SOCKET)
            reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST_ANSWER)
            try:
                line = await reader.readline()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        return json.loads(line)
    except (OSError, TimeoutError, ValueError):
        return None


def tell(directory: Path, **told: object) -> bool:
    """`reception="bad"`, `reload=True`; whether a process is there to take it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(json.dumps(told).encode(), str(directory / CONTROL_SOCKET))
        except OSError:
            return False
    return True


def run(directory: Path, start: Callable[[selectors.BaseSelector], Program], *, tick_s: float, gather_s: float) -> None:
    """Until SIGTERM or SIGINT. `gather_s`: what arrives within so long is taken in one turn.

    Raises what `start` raises, and OSError when the unix sockets cannot be had.
    """
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    waker, woken = socket.socketpair()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with waker, woken, selectors.DefaultSelector() as selector:
        waker.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(64))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        program = start(selector)
        control = _unix_socket(directory / CONTROL_SOCKET, socket.SOCK_DGRAM)
        listener = _unix_socket(directory / STATUS_SOCKET, socket.SOCK_STREAM)  # last: it says that all is there
        with control, listener:
            selector.register(control, selectors.EVENT_READ, lambda: _obey(control, program))
            selector.register(listener, selectors.EVENT_READ, lambda: _answer(listener, program))
            due = time.monotonic() + tick_s
            while not stopped:
                for key, _ in selector.select(max(0.0, due - time.monotonic())):
                    key.data()
                if gather_s:
                    time.sleep(gather_s)
                now = time.monotonic()
                if now >= due:
                    due = now + tick_s
                    program.tick(now)
        program.close()
        for name in (STATUS_SOCKET, CONTROL_SOCKET):
            (directory / name).unlink(missing_ok=True)


def _unix_socket(path: Path, kind: socket.SocketKind) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.setblocking(False)
        sock.bind(str(path))
        path.chmod(0o600)
        if kind is socket.SOCK_STREAM:
            sock.listen(16)
    except OSError:
        sock.close()
        raise
    return sock


def _answer(listener: socket.socket, program: Program) -> None:
    with suppress(OSError):  # who asked is gone
        connection, _ = listener.accept()
        with connection:
            # More than the socket's buffer holds is sent as the other side reads it, which is not waited for long.
            connection.settimeout(_SEND_TIMEOUT_S)
            connection.sendall(json.dumps(program.status()).encode() + b"\n")


def _obey(control: socket.socket, program: Program) -> None:
    with suppress(BlockingIOError, ValueError):  # what nobody can read is not for us
        program.command(control.recv(_CONTROL_BYTES))
