"""Whether the cache is well: one HTTP request over a connection of its own, and a TLS handshake where it has https.

It is asked at each address that flows are sent to, so that none of them ends at a listener that is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from functools import cache as kept

from core5g.steering.n6.documents import IpAddress, N6Cache

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


@kept
def _unjudged() -> ssl.SSLContext:
    """Whether it answers is asked, not who it is: certificates are the business of those who install them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def probe(cache: N6Cache) -> str:
    """What is wrong, in words; empty when the cache is well."""
    if cache.address6 is None:
        return await _asked(cache, cache.address)
    answers = await asyncio.gather(*(_asked(cache, one) for one in (cache.address, cache.address6)))
    return answers[0] or (f"by IPv6 {answers[1]}" if answers[1] else "")


async def _asked(cache: N6Cache, address: IpAddress) -> str:
    try:
        async with asyncio.timeout(cache.health.timeout_ms / 1000):
            return await _http(cache, address) or await _https(cache, address)
    except TimeoutError:
        return f"the cache does not answer within {cache.health.timeout_ms} ms"
    except ValueError:
        return "the cache does not answer in HTTP"
    except OSError as error:
        return f"the cache cannot be reached: {error.strerror or error}"


async def _http(cache: N6Cache, address: IpAddress) -> str:
    reader, writer = await asyncio.open_connection(str(address), cache.health.port, limit=_LONGEST_LINE)
    try:
        writer.write(request(cache))
        return verdict(await reader.readline())
    finally:
        await _ended(writer)


async def _https(cache: N6Cache, address: IpAddress) -> str:
    """An alert is an answer too: it has a certificate for the CDN's names, and need have none for ours."""
    port, name = cache.health.tls_port, cache.health.host
    if port is None:
        return ""
    try:
        _, writer = await asyncio.open_connection(str(address), port, ssl=_unjudged(), server_hostname=name)
    except ssl.SSLError as error:
        return "" if "ALERT" in (error.reason or "") else "the cache does not answer in TLS"
    await _ended(writer)
    return ""


async def _ended(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
