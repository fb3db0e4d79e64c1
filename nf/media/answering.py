"""Both ends of a unit's status socket: whoever connects is told one line of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.errors import NfError

Answer = Callable[[], Mapping[str, object]]
"""What is told, as JSON has it."""
Hear = Callable[[bytes], None]
"""Takes the line that a client has to say first."""
_LONGEST = 1 << 20
_ANSWER_TIMEOUT_S = 1.0


def _bound(path: Path) -> socket.socket:
    """In place of what an earlier life left, mode 0600. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


@asynccontextmanager
async def answering(path: Path, answer: Answer, hear: Hear | None = None) -> AsyncIterator[None]:
    """Raises OSError when the socket cannot be had."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):  # it is gone, or says too much
                if hear is not None:
                    hear(await reader.readline())
                writer.write(json.dumps(answer()).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()

    with contextlib.ExitStack() as stack:
        sock = _bound(path)
        stack.callback(path.unlink, missing_ok=True)
        server = await asyncio.start_unix_server(serve, sock=sock)
        stack.callback(server.close)  # not waited for: a client that says nothing would keep the unit
        yield


async def _serve(
    run: Callable[[], Coroutine[None, None, None]], answer: Answer, status: Path, hear: Hear | None
) -> None:
    running = asyncio.create_task(run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    await asyncio.sleep(0)  # its ports are had, or it has failed, before anybody is told that it is ready
    async with answering(status, answer, hear):
        await asyncio.wait([running])
    if not running.cancelled():
        running.result()


def serve_unit(
    name: str,
    run: Callable[[], Coroutine[None, None, None]],
    answer: Answer,
    status: Path,
    hear: Hear | None = None,
) -> int:
    """The life of a unit: runs, and answers at `status`, until SIGTERM or SIGINT. Its exit status; an error is told."""
    try:
        asyncio.run(_serve(run, answer, status, hear))
    except (NfError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return 0


async def ask(path: Path, line: bytes = b"") -> JsonObject | None:
    """None when nothing answers within a second. `line`: what is said first, to a unit that hears."""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST)
            try:
                writer.write(line)
                told = await reader.readline()
            finally:
                writer.close()
        answer = json.loads(told)
    except (OSError, TimeoutError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
