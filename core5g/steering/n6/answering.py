"""Both ends of a unit's status socket: a line in, perhaps empty, and one line of JSON back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.errors import NfError

_LONGEST = 1 << 20
_PATIENCE_S = 5.0

Answer = Callable[[list[str]], Awaitable[JsonObject]]
"""What is said to the words of a line."""


async def _said(answer: Answer, words: list[str]) -> JsonObject:
    try:
        return await answer(words)
    except NfError as error:
        return {"error": str(error)}


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """In place of what an earlier life left; the asyncio server that is made of it closes it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        path.chmod(0o600)
        try:
            yield sock
        finally:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def answering(path: Path, answer: Answer) -> AsyncIterator[None]:
    """Raises OSError when the socket cannot be had."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                words = (await reader.readline()).decode().split()
            writer.write(json.dumps(await _said(answer, words)).encode() + b"\n")
            await writer.drain()
        writer.close()

    with _listening(path) as sock:
        async with await asyncio.start_unix_server(serve, sock=sock, limit=_LONGEST):
            yield


async def ask(path: Path, command: str = "", timeout_s: float = 1.0) -> JsonObject | None:
    """None when nothing answers there in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST)
            try:
                writer.write(command.encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        answer = json.loads(line)
    except (OSError, TimeoutError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
