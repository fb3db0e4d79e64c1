"""Both ends of a unit's status socket: whoever connects is told one line of JSON."""

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
async def answering(path: Path, answer: Callable[[], Awaitable[JsonObject]]) -> AsyncIterator[None]:
    """Raises OSError when the socket cannot be had."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - its form
        with contextlib.suppress(OSError):
            writer.write(json.dumps(await answer()).encode() + b"\n")
            await writer.drain()
        writer.close()

    with contextlib.ExitStack() as stack:
        sock = _bound(path)
        stack.callback(path.unlink, missing_ok=True)
        async with await asyncio.start_unix_server(serve, sock=sock):
            yield


async def ask(path: Path) -> JsonObject | None:
    """None when nothing answers within a second."""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST)
            try:
                line = await reader.readline()
            finally:
                writer.close()
        answer = json.loads(line)
    except (OSError, TimeoutError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
