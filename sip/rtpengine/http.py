"""rtpengine's HTTP on loopback: /metrics, and the ng protocol for answers that no datagram holds."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from itertools import count
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from nf.errors import UnavailableError
from sip.rtpengine.messages import Members, pack, read, unpack
from sip.rtpengine.naming import HTTP_PORT

TIMEOUT_S: Final = 5.0
_MAX_OCTETS: Final = 32 << 20
_PREFIX: Final = secrets.token_hex(6)
_NUMBERS: Final = count()

Metrics = dict[str, float]
"""`name{label="value"}` -> value; the labels as rtpengine orders them, and without `{}` when it has none."""


async def ask(members: Members, port: int = HTTP_PORT, timeout_s: float = TIMEOUT_S) -> Members:
    """One request of the ng protocol. Raises UnavailableError and what `messages.read` raises."""
    # Answers are kept by cookie: with one that was used before, rtpengine gives what it said then.
    cookie = f"{_PREFIX}_{next(_NUMBERS)}".encode()
    body = await _request(port, b"POST /ng", pack(cookie, members), timeout_s)
    return read(unpack(body)[1], _where(port))


async def metrics(port: int = HTTP_PORT, timeout_s: float = TIMEOUT_S) -> Metrics:
    """Raises UnavailableError."""
    text = (await _request(port, b"GET /metrics", b"", timeout_s)).decode(errors="replace")
    return parse_metrics(text, _where(port))


def parse_metrics(text: str, where: str = "") -> Metrics:
    """Sums over labels stand under the bare name too. Raises UnavailableError for what is not of the text format."""
    found: Metrics = defaultdict(float)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] += sample.value
                if sample.labels:
                    labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                    found[f"{sample.name}{{{labels}}}"] = sample.value
    except (ValueError, KeyError, IndexError, TypeError):
        raise UnavailableError("what answers are no metrics", where=where) from None
    return dict(found)


def _where(port: int) -> str:
    return f"rtpengine 127.0.0.1:{port}"


async def _request(port: int, line: bytes, body: bytes, timeout_s: float) -> bytes:
    head = b"%b HTTP/1.0\r\nContent-Type: application/x-rtpengine-ng\r\nContent-Length: %d\r\n\r\n" % (line, len(body))
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body)
            await writer.drain()
            return await _answer(reader, port)
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:  # TimeoutError is an OSError
        raise UnavailableError("it does not answer", where=_where(port)) from error
    finally:
        if writer is not None:
            writer.close()


async def _answer(reader: asyncio.StreamReader, port: int) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    if " 200" not in head[0]:
        raise UnavailableError(f"it answers {head[0]}", where=_where(port))
    length = next((one.partition(":")[2].strip() for one in head if one.startswith("content-length:")), "")
    if not length.isdigit() or int(length) > _MAX_OCTETS:
        raise UnavailableError("its answer has no length, or is too long", where=_where(port))
    return await reader.readexactly(int(length))
