"""Both ends of a unit's status socket: a line in, perhaps empty, and one line of JSON back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path

from nf.contracts.json import JsonObject

_LONGEST = 1 << 22


def listening_socket(path: Path) -> socket.socket:
    """A Unix socket in place of the one that an earlier life left. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o600)
    except OSError:
        sock.close()
        raise
    return sock


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
