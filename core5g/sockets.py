"""Both ends of a unit's unix sockets: who may connect, and a line in, perhaps empty, for one line of JSON back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.errors import NfError

_LONGEST = 1 << 22
_PATIENCE_S = 5.0

Answer = Callable[[bytes], Awaitable[JsonObject]]
"""What is said to a line."""


def bound(path: Path, owner: int | None = None) -> socket.socket:
    """In place of what an earlier life left, mode 0600; `owner`: a user id, None: this process's. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        if owner is not None and owner != os.geteuid():
            os.chown(path, owner, -1)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


@asynccontextmanager
async def answering(path: Path, answer: Answer) -> AsyncIterator[None]:
    """Raises OSError when the socket cannot be had."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                line = await reader.readline()
            writer.write(json.dumps(await _said(answer, line)).encode() + b"\n")
            await writer.drain()
        writer.close()

    with contextlib.ExitStack() as stack:
        sock = bound(path)
        stack.callback(path.unlink, missing_ok=True)
        async with await asyncio.start_unix_server(serve, sock=sock, limit=_LONGEST):
            yield


async def _said(answer: Answer, line: bytes) -> JsonObject:
    try:
        return await answer(line)
    except NfError as error:
        return {"error": str(error)}


async def ask(path: Path, line: str = "", timeout_s: float = 2.0) -> JsonObject | None:
    """None when nothing answers there in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST)
            try:
                writer.write(line.encode() + b"\n")
                told = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        answer = json.loads(told)
    except (OSError, TimeoutError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
