"""Whether the cache is well: one HTTP request over a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib

from core5g.steering.n6.documents import N6Cache

_LONGEST_LINE = 4096


def request(cache: N6Cache) -> bytes:
    """HTTP/1.1 (RFC 9112)."""
    health = cache.health
    head = f"GET {health.path} HTTP/1.1\r\nHost: {health.host}\r\nUser-Agent: n6-gate\r\nConnection: close\r\n\r\n"
    return head.encode("ascii")


def verdict(line: bytes) -> str:
    """What is wrong with this status line; empty when nothing is."""
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        return "the cache does not answer in HTTP"
    status = int(parts[1])
    return "" if 200 <= status < 400 else f"the cache answers {status}"


async def probe(cache: N6Cache) -> str:
    """What is wrong, in words; empty when the cache is well."""
    try:
        async with asyncio.timeout(cache.health.timeout_ms / 1000):
            reader, writer = await asyncio.open_connection(str(cache.address), cache.health.port, limit=_LONGEST_LINE)
            try:
                writer.write(request(cache))
                line = await reader.readline()
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return f"the cache does not answer within {cache.health.timeout_ms} ms"
    except ValueError:
        return "the cache does not answer in HTTP"
    except OSError as error:
        return f"the cache cannot be reached: {error.strerror or error}"
    return verdict(line)
