"""Whether an HTTP server is well, by the first line that it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.media.server_probe import probe, verdict

LOOPBACK = IPv4Address("127.0.0.1")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\n", ""),
        (b"HTTP/1.1 500 Oops\r\n", "it answers 500"),
        (b"HTTP/1.1 503\r\n", "it answers 503"),
        (b"", "it does not answer in HTTP"),
        (b"SSH-2.0-x\r\n", "it does not answer in HTTP"),
        (b"HTTP/1.1 99999 x\r\n", "it does not answer in HTTP"),
    ],
)
def test_what_an_answer_says(line: bytes, told: str) -> None:
    assert verdict(line) == told


@given(st.binary(max_size=60))
def test_no_answer_breaks_the_verdict(line: bytes) -> None:
    assert isinstance(verdict(line), str)


@asynccontextmanager
async def peer(answer: bytes | None) -> AsyncIterator[int]:
    """Answers everybody the same; None: takes connections and says nothing."""
    gone = asyncio.Event()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await gone.wait()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        gone.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "timeout_ms", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 10_000, ""),
        (b"HTTP/1.1 500 Oops\r\n\r\n", 10_000, "it answers 500"),
        (b"x" * 10_000, 10_000, "it does not answer in HTTP"),
        (None, 50, "it does not answer within 50 ms"),
    ],
)
async def test_a_probe_tells_how_a_server_fails(answer: bytes | None, timeout_ms: int, told: str) -> None:
    async with peer(answer) as port:
        assert await probe(LOOPBACK, port, "/", timeout_ms) == told


async def test_a_server_that_is_gone_refuses() -> None:
    async with peer(b"") as port:
        pass
    assert "cannot be reached" in await probe(LOOPBACK, port, "/", 10_000)
