"""Whether a shield is well: one HTTP request over a connection of its own, answered within a time limit."""

from __future__ import annotations

import asyncio
import contextlib

from nf.media.documents import Healing, Parent

_LONGEST_LINE = 4096


def request(parent: Parent, path: str) -> bytes:
    """HTTP/1.1 (RFC 9112)."""
    host = f"{parent.address}:{parent.port}"
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: streamverse-nf-healing\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


def verdict(line: bytes) -> str:
    """What is wrong with this status line; empty when nothing is. A shield that says 404 is well: it answers."""
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not (parts[1].isdigit() and len(parts[1]) == 3):
        return "it does not answer in HTTP"
    status = int(parts[1])
    return f"it answers {status}" if status >= 500 else ""


async def probe(parent: Parent, healing: Healing) -> str:
    """What is wrong, in words; empty when the shield is well."""
    try:
        async with asyncio.timeout(healing.timeout_ms / 1000):
            reader, writer = await asyncio.open_connection(str(parent.address), parent.port, limit=_LONGEST_LINE)
            try:
                writer.write(request(parent, healing.path))
                line = await reader.readline()
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return f"it does not answer within {healing.timeout_ms} ms"
    except ValueError:
        return "it does not answer in HTTP"
    except OSError as error:
        return f"it cannot be reached: {error.strerror or error}"
    return verdict(line)
