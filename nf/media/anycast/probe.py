"""Whether the cache is well: an HTTP request for each of its servers, over a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterable
from functools import cache
from ipaddress import IPv4Address

from nf.media.anycast.documents import Target

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
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        return "no answer in HTTP"
    status = int(parts[1])
    return "" if 200 <= status < 500 else f"answers {status}"


async def probe(target: Target, address: IPv4Address, timeout_ms: int) -> str:
    """What is wrong, in words; empty when it is well."""
    where = f"{address}:{target.port}"
    tls, name = (_unjudged(), target.host) if target.tls else (None, None)
    request = (
        f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\nUser-Agent: nf-anycast\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            reader, writer = await asyncio.open_connection(
                str(address), target.port, limit=_LONGEST_LINE, ssl=tls, server_hostname=name
            )
            try:
                writer.write(request.encode("ascii"))
                line = await reader.readline()
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return f"{where}: no answer within {timeout_ms} ms"
    except ValueError:
        return f"{where}: no answer in HTTP"
    except OSError as error:
        return f"{where}: {os.strerror(error.errno) if error.errno else error}"
    found = verdict(line)
    return f"{where}: {found}" if found else ""


async def probe_all(questions: Iterable[tuple[Target, IPv4Address]], timeout_ms: int) -> str:
    """All at once; the first thing that is wrong."""
    answers = await asyncio.gather(*(probe(target, address, timeout_ms) for target, address in questions))
    return next((answer for answer in answers if answer), "")
