"""Sockets at which qemu arrives when it starts."""

from __future__ import annotations

import asyncio
import contextlib


async def end(server: asyncio.Server | None, writer: asyncio.StreamWriter | None) -> None:
    """Of what came, and of the waiting for others."""
    if writer is not None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if server is not None:
        server.close()
        await server.wait_closed()
