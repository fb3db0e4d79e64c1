"""Purging: a tag against one URL after the other, ours against the bare requests, and the fan-out to many caches."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.media.http import Connection
from nf.media.purge.message import PURGE
from nf.media.shield.driver import ShieldDriver
from nf.media.shield.driver import create as create_shield
from tests.bench.harness import Benchmark
from tests.headend.multicast.tree.network import Node, commit, nodes
from tests.nf.media.cdn import HOST, SHIELD, SHIELD_PORT, origin, shield_section

OBJECTS = 2_000
CACHES = 250
ROUNDS = 5
TARGETS = tuple(f"/media/ch1/video/{number}.m4s" for number in range(OBJECTS))


def _order(scope: str, match: Any) -> JsonObject:
    one: JsonObject = {"seq": 1, "id": "bench", "scope": scope, "match": match, "expires": time.time() + 3600}
    return {"stream": "", "object": "ch1", "after": 0, "orders": [one]}


async def _run(driver: ShieldDriver, order: JsonObject) -> float:
    clock = RealClock()
    began = clock.monotonic()
    context = Context(clock, began + 120.0)
    await driver.operations[PURGE].run(order, Checkpoint({}, lambda _data: None), context)
    return clock.monotonic() - began


async def _bare(method: str, targets: tuple[str, ...], headers: dict[str, str] | None = None) -> float:
    connection = Connection(SHIELD, SHIELD_PORT, timeout_s=60.0)
    try:
        began = time.monotonic()
        await connection.each(method, targets, headers)
        return time.monotonic() - began
    finally:
        connection.close()


def _beside(work: Callable[[ShieldDriver], Awaitable[float]]) -> float:
    """The work beside a shield that asks a small origin."""
    with nodes("bench") as made:
        node: Node = made["bench"]
        node.supervise()
        driver = create_shield(node.context())

        async def play() -> float:
            await commit(driver, shield_section("ch1"))
            async with origin():
                return await work(driver)

        return node.call(play)


def tag() -> float:
    """Time for 2,000 objects by their URLs, over the time for the same by their tag, the bare requests both."""

    async def work(_driver: ShieldDriver) -> float:
        await _bare("GET", TARGETS)
        by_tag = await _bare("PURGEKEYS", ("/",), {"xkey": "ch1/video"})
        await _bare("GET", TARGETS)
        return await _bare("PURGE", TARGETS) / by_tag

    return _beside(work)


def overhead() -> float:
    """Our operation for 2,000 URLs, its proof included, over the bare requests."""
    order = _order("url", [f"http://{HOST}{target.removeprefix('/media')}" for target in TARGETS])

    async def work(driver: ShieldDriver) -> float:
        ratios = []
        for _ in range(3):
            await _bare("GET", TARGETS)
            ours = await _run(driver, order)
            await _bare("GET", TARGETS)
            ratios.append(ours / await _bare("PURGE", TARGETS))
        return statistics.median(ratios)

    return _beside(work)


@contextlib.asynccontextmanager
async def _caches() -> AsyncIterator[list[tuple[str, int]]]:
    """Simulated caches: HTTP peers on loopback that answer every PURGE with 200."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        writer.close()

    servers = [await asyncio.start_server(serve, "127.0.0.1", 0) for _ in range(CACHES)]
    try:
        yield [server.sockets[0].getsockname()[:2] for server in servers]
    finally:
        for server in servers:
            server.close()


def fanout() -> float:
    """p99 of the time until a cache of 250 has acknowledged, over that of one cache alone, as seconds a second.

    The time of one purge of all is what counts: from the first request until the last acknowledgement.
    """

    async def work() -> float:
        async with _caches() as places:
            connections = [Connection(host, port, timeout_s=30.0) for host, port in places]

            async def one(connection: Connection, began: float) -> float:
                await connection.each("PURGE", ("/ch1/video/1.m4s",))
                return time.monotonic() - began

            taken: list[float] = []
            alone: list[float] = []
            try:
                for turn in range(ROUNDS + 1):  # the first opens the connections
                    began = time.monotonic()
                    found = await asyncio.gather(*(one(connection, began) for connection in connections))
                    single = await one(connections[0], time.monotonic())
                    if turn:
                        taken += found
                        alone.append(single)
            finally:
                for connection in connections:
                    connection.close()
            p99 = statistics.quantiles(taken, n=100)[98]
            print(
                f"  purge.fanout: {CACHES} caches, p50 {statistics.median(taken) * 1e3:.1f} ms, "
                f"p99 {p99 * 1e3:.1f} ms; "
                f"one alone {statistics.median(alone) * 1e3:.2f} ms"
            )
            return p99 / (CACHES * statistics.median(alone))

    return asyncio.run(work())


BENCHMARKS = [
    Benchmark("purge.tag", peer="one PURGE for each of 2,000 objects", sense=">=", target=20.0, run=tag, repeats=3),
    Benchmark("purge.overhead", peer="the bare PURGE requests", sense="<=", target=2.0, run=overhead, repeats=3),
    Benchmark("purge.fanout", peer="250 caches one after the other", sense="<=", target=1.0, run=fanout, repeats=3),
]
