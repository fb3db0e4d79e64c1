"""Purging: a tag against one URL after the other, ours against the bare requests, and the fan-out to many caches."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context, Driver
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.media.edge.driver import create as create_edge
from nf.media.edge.render import hosts
from nf.media.http import Connection
from nf.media.purge.message import PURGE
from nf.media.shield.driver import create as create_shield
from tests.bench.harness import Benchmark
from tests.headend.multicast.tree.network import Node, commit, nodes
from tests.nf.media.cdn import (
    EDGE,
    EDGE_PORT,
    HOST,
    SHIELD,
    SHIELD_PORT,
    edge_section,
    edge_stores,
    origin,
    shield_section,
)
from tests.support.fleet import SECTION, Place, TableDriver, TablePlanner, in_process_fleet

OBJECTS = 2_000
CACHES = 250
ROUNDS = 5
MEMBERS = (10, 50, 250)
AT_ONCE, START_S = 10, 120.0
"""So many appliances enrol side by side."""
TARGETS = tuple(f"/media/ch1/video/{number}.m4s" for number in range(OBJECTS))
URLS = [f"http://{HOST}{target.removeprefix('/media')}" for target in TARGETS]
MASTER = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nvideo/index.m3u8\n"
PLAYLIST = "\n".join(
    ["#EXTM3U", "#EXT-X-TARGETDURATION:2", *(f"#EXTINF:2,\n{number}.m4s" for number in range(30)), ""]
).encode()


def _order(scope: str, match: Any) -> JsonObject:
    one: JsonObject = {"seq": 1, "id": "bench", "scope": scope, "match": match, "expires": time.time() + 3600}
    return {"stream": "", "object": "ch1", "after": 0, "orders": [one]}


async def _run(driver: Driver, order: JsonObject) -> float:
    clock = RealClock()
    began = clock.monotonic()
    context = Context(clock, began + 300.0)
    await driver.operations[PURGE].run(order, Checkpoint({}, lambda _data: None), context)
    return clock.monotonic() - began


async def _bare(
    method: str, targets: Sequence[str], place: tuple[str, int] = (SHIELD, SHIELD_PORT), forms: Sequence[str] = ("",)
) -> float:
    """Seconds for the bare requests, one after the other on one connection, under each form of the host."""
    connection = Connection(*place, timeout_s=60.0)
    try:
        began = time.monotonic()
        for host in forms:
            await connection.each(method, targets, {"Host": host} if host else None)
        return time.monotonic() - began
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def _origin() -> AsyncIterator[None]:
    """In a process of its own, as an origin is: in this one it would take its turns from what is measured."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield
    finally:
        process.kill()
        await process.wait()


async def _serve() -> None:
    async with origin() as source:
        source.bodies["/media/ch1/master.m3u8"] = MASTER
        source.bodies["/media/ch1/video/index.m3u8"] = PLAYLIST
        print("serves", flush=True)
        await asyncio.Event().wait()


def _beside(work: Callable[[Node], Awaitable[float]]) -> float:
    """The work on a node with a small origin, whose playlist names the newest segments."""
    with nodes("bench") as made:
        node: Node = made["bench"]
        node.supervise()

        async def play() -> float:
            async with _origin():
                return await work(node)

        return node.call(play, timeout_s=900.0)


def tag() -> float:
    """Our operation for 2,000 URLs in one message, over ours for the same objects by their tag; each proved."""

    async def work(node: Node) -> float:
        shield = create_shield(node.context())
        await commit(shield, shield_section("ch1"))
        await _bare("GET", TARGETS)
        by_tag = await _run(shield, _order("tag", "ch1/video"))
        await _bare("GET", TARGETS)
        by_url = await _run(shield, _order("url", URLS))
        print(f"  purge.tag: {OBJECTS} objects by tag {by_tag * 1e3:.0f} ms, by URL {by_url * 1e3:.0f} ms")
        return by_url / by_tag

    return _beside(work)


def overhead() -> float:
    """Our operation for 2,000 URLs, its proof included, over the bare requests: of both caches, the worse one."""
    order = _order("url", URLS)

    async def work(node: Node) -> float:
        shield, edge = create_shield(node.context()), create_edge(node.context())
        section = edge_section("ch1")
        await commit(shield, shield_section("ch1"))
        await commit(edge, section)
        await edge_stores("/ch1/video/0.m4s")
        forms = hosts(section, section.channels[0])
        at_edge = [target.removeprefix("/media") for target in TARGETS]
        ratios: dict[str, list[float]] = {"Varnish": [], "Traffic Server": []}
        for _ in range(3):
            await _bare("GET", TARGETS)
            ours = await _run(shield, order)
            await _bare("GET", TARGETS)
            ratios["Varnish"].append(ours / await _bare("PURGE", TARGETS))
            await _bare("GET", at_edge, (EDGE, EDGE_PORT), forms)
            ours = await _run(edge, order)
            await _bare("GET", at_edge, (EDGE, EDGE_PORT), forms)
            ratios["Traffic Server"].append(ours / await _bare("PURGE", at_edge, (EDGE, EDGE_PORT), forms))
        found = {name: statistics.median(values) for name, values in ratios.items()}
        print("  purge.overhead: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        return max(found.values())

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


class _Everywhere(TablePlanner):
    """Each channel can be purged at every appliance, all at one tier."""

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        members = tuple((appliance.id, SECTION) for appliance in fleet.spec.appliances)
        purges = tuple(FleetOperation(PURGE, one.id, (members,), stream="bench") for one in lineup.spec.channels)
        return dataclasses.replace(super().plan(lineup, fleet), operations=purges)


class _NoCache:
    """An operation that has nothing to do: what is left is what the fleet costs."""

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        orders: Any = arguments["orders"]
        return {"orders": {str(one["seq"]): {"state": "done"} for one in orders}}


async def _per_member(directory: Path, count: int) -> tuple[float, float]:
    """CPU seconds of NOC and agents together for each member of a purge, and seconds until all have acknowledged."""
    places = tuple(Place(f"a{number}", "hub", "headend" if number == 0 else "pop") for number in range(count))
    async with in_process_fleet(directory, places, planner=_Everywhere(), start=False) as fleet:
        for first in range(0, count, AT_ONCE):
            some = [place.id for place in places[first : first + AT_ONCE]]
            for name in some:
                await fleet.enrol(name)
                await fleet.start_agent(name)
            for name in some:
                await fleet.node.sessions.wait_online(name, START_S)
        await fleet.operator()
        await fleet.commit({"ch1": 1}, deadline="10m")
        spent, taken = [], []
        for _ in range(ROUNDS):
            gc.collect()
            spent_from, began = time.process_time(), time.monotonic()
            asked = fleet.node.operations.run(PURGE, "ch1", {"scope": "all", "match": "ch1"}, fleet.node.spiffe_id)
            last = [event async for event in asked][-1]
            spent.append((time.process_time() - spent_from) / count)
            taken.append(time.monotonic() - began)
            if len(last.outcomes) != count or last.state != "done":
                raise RuntimeError(f"of {count} members not all have acknowledged")
        return statistics.median(spent), statistics.median(taken)


def members() -> float:
    """What a member of the NOC's fan-out costs, with 250 appliances over with 10."""
    logging.getLogger("nf").setLevel(logging.ERROR)
    costs = []
    with mock.patch.object(TableDriver, "operations", {PURGE: _NoCache()}):
        for count in MEMBERS:
            with tempfile.TemporaryDirectory() as directory:
                cost_s, took_s = asyncio.run(_per_member(Path(directory), count))
            print(f"  purge.members: {count} appliances, {cost_s * 1e3:.2f} ms of CPU each, all after {took_s:.2f} s")
            costs.append(cost_s)
    return costs[-1] / costs[0]


BENCHMARKS = [
    Benchmark("purge.tag", peer="the same 2,000 objects by their URLs", sense=">=", target=20.0, run=tag, repeats=3),
    Benchmark(
        "purge.overhead",
        peer="the bare PURGE requests; the worse of Varnish and Traffic Server",
        sense="<=",
        target=2.0,
        run=overhead,
        repeats=3,
    ),
    Benchmark("purge.fanout", peer="250 caches one after the other", sense="<=", target=1.0, run=fanout, repeats=3),
    Benchmark("purge.members", peer="itself at 10 appliances", sense="<=", target=1.5, run=members, repeats=1),
]

if __name__ == "__main__":
    asyncio.run(_serve())
