"""Whether an HTTP server is well: one request over a connection of its own, answered within a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from functools import cache
from ipaddress import IPv4Address

_LONGEST_LINE = 4096


@cache
def _unjudged() -> ssl.SSLContext:
    """Whether it answers is asked, not who it is: certificates are the business of those who install them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verdict(line: bytes) -> str:
    """What is wrong with this status line (RFC 9112 section 4); empty when nothing is. To refuse is to be well."""
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not (parts[1].isdigit() and len(parts[1]) == 3):
        return "it does not answer in HTTP"
    status = int(parts[1])
    return f"it answers {status}" if status >= 500 else ""


async def probe(
    address: IPv4Address, port: int, path: str, timeout_ms: int, *, host: str = "", tls: bool = False
) -> str:
    """What is wrong, in words; empty when it is well. `host`: by which it is asked, its address when not given."""
    name = host or f"{address}:{port}"
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: streamverse-nf-probe\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
    context, asked = (_unjudged(), name) if tls else (None, None)
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            reader, writer = await asyncio.open_connection(
                str(address), port, limit=_LONGEST_LINE, ssl=context, server_hostname=asked
            )
            try:
                writer.write(request)
                line = await reader.readline()
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return f"it does not answer within {timeout_ms} ms"
    except ValueError:
        return "it does not answer in HTTP"
    except OSError as error:
        return f"it cannot be reached: {os.strerror(error.errno) if error.errno else error}"
    return verdict(line)
