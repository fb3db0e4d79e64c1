"""A CDN on one node: an origin, a shield and an edge on loopback addresses of a network namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from nf.contracts.json import JsonObject
from nf.media.documents import EdgeChannel, EdgeSection, Parent, ShieldChannel, ShieldSection
from nf.media.http import Response, cache_status, get_once
from tests.headend.multicast.tree.network import until

ORIGIN, SHIELD, OTHER_SHIELD, EDGE, STRANGER = (f"127.0.1.{number}" for number in (10, 11, 12, 13, 14))
ORIGIN_PORT, SHIELD_PORT, EDGE_PORT = 8333, 6081, 8080
HOST = "cdn.streamverse.test"
BODY = b"x" * 1000
PATIENCE_S = 30.0


@dataclass
class Origin:
    """Answers every GET after `delay_s` with BODY, or what `bodies` has, and remembers what it was asked for.

    `validator`: its ETag; who has it already is told so, and remembered in `unchanged`.
    """

    asked: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    delay_s: float = 0.0
    cache_control: str = "public, max-age=3600"
    validator: str = ""
    unchanged: list[str] = field(default_factory=list)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, address: str, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._client, address, port)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.asked.append(head.split(" ")[1])
                found = "missing" not in self.asked[-1]
                status = "200 OK" if found else "404 Not Found"
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.validator and f"if-none-match: {self.validator}" in head.lower():
                    self.unchanged.append(self.asked[-1])
                    lines = ["HTTP/1.1 304 Not Modified", f"ETag: {self.validator}"]
                    writer.write("\r\n".join([*lines, f"Cache-Control: {self.cache_control}", "", ""]).encode())
                    await writer.drain()
                    continue
                body = self.bodies.get(self.asked[-1], BODY)
                lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Cache-Control: {self.cache_control}"]
                lines += [f"ETag: {self.validator}"] if self.validator else []
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        self.writers.discard(writer)
        writer.close()


@contextlib.asynccontextmanager
async def origin(address: str = ORIGIN, port: int = ORIGIN_PORT) -> AsyncIterator[Origin]:
    made = Origin()
    server = await made.serve(address, port)
    try:
        yield made
    finally:
        server.close()
        for writer in tuple(made.writers):  # a kept connection would outlive the origin
            writer.close()


def shield_section(*channels: str) -> ShieldSection:
    return ShieldSection(
        listen=IPv4Address(SHIELD),
        port=SHIELD_PORT,
        channels=tuple(
            ShieldChannel(
                channel=channel,
                path="ott",
                bucket="media",
                endpoint=f"http://{ORIGIN}:{ORIGIN_PORT}",
                segment_ms=2000,
                provides=(f"shield {channel}",),
            )
            for channel in channels
        ),
    )


def edge_section(*channels: str, shields: tuple[str, ...] = (SHIELD, OTHER_SHIELD)) -> EdgeSection:
    return EdgeSection(
        listen=(IPv4Address(EDGE),),
        port=EDGE_PORT,
        shields=tuple(Parent(address=IPv4Address(address), port=SHIELD_PORT) for address in shields),
        channels=tuple(
            EdgeChannel(channel=channel, path="ott", host=HOST, bucket="media", provides=(f"edge {channel}",))
            for channel in channels
        ),
    )


async def from_shield(path: str) -> Response:
    return await get_once(f"http://{SHIELD}:{SHIELD_PORT}{path}", timeout_s=PATIENCE_S)


async def from_edge(path: str) -> Response:
    return await get_once(f"http://{EDGE}:{EDGE_PORT}{path}", {"Host": HOST}, timeout_s=PATIENCE_S)


async def edge_stores(path: str) -> None:
    """Traffic Server serves before its cache is ready: wait until it keeps what it serves."""

    async def stored() -> bool:
        return cache_status((await from_edge(path)).headers) == "hit"

    await until(stored)


async def ask(method: str, address: str, port: int, path: str, source: str, **headers: str) -> int:
    """The status of a request of any method, sent from the address `source`."""
    reader, writer = await asyncio.open_connection(address, port, local_addr=(source, 0))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def many(target: str, requests: int) -> int:
    """Over one kept connection, from the edge; how many octets were asked."""
    reader, writer = await asyncio.open_connection(EDGE, EDGE_PORT, local_addr=(EDGE, 0))
    request = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    try:
        for _ in range(requests):
            writer.write(request)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(BODY))
    finally:
        writer.close()
        await writer.wait_closed()
    return requests * len(request)


def order(scope: str, match: Any, mode: str = "refetch", **more: Any) -> JsonObject:
    """What the NOC asks of a cache."""
    named = match if isinstance(match, str) else match[0]
    found = re.search(r"(ch\d)", named)
    assert found is not None
    one = {"seq": 1, "id": "one", "scope": scope, "match": match, "mode": mode, "expires": time.time() + 3600}
    return {"stream": "", "object": found[1], "after": 0, "orders": [one], **more}
