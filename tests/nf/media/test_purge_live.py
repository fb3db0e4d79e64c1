"""Purging as it runs: Varnish and Traffic Server before a small origin; what was in them is asked for anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Operation
from nf.contracts.json import JsonObject
from nf.errors import DriverError, UnavailableError
from nf.media.edge.driver import EdgeDriver
from nf.media.edge.driver import create as create_edge
from nf.media.edge.server import UNIT as EDGE_UNIT
from nf.media.http import cache_status
from nf.media.purge.message import PURGE
from nf.media.purge.proof import ELAPSED
from nf.media.shield.driver import ShieldDriver
from nf.media.shield.driver import create as create_shield
from tests.headend.multicast.tree.network import Node, commit, context, nodes, until
from tests.nf.media.cdn import HOST, edge_section, edge_stores, from_edge, from_shield, order, origin, shield_section

pytestmark = [pytest.mark.root, pytest.mark.daemon]

NAMES = ("master.m3u8", "manifest.mpd", "v0/1.m4s")


@pytest.fixture(scope="module")
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("varnishd", "traffic_manager", "gcc")
    with nodes("pop1") as made:
        made["pop1"].supervise()
        yield made["pop1"]


@pytest.fixture(scope="module")
def shield(node: Node) -> ShieldDriver:
    driver = create_shield(node.context())
    node.call(commit, driver, shield_section("ch1", "ch2"))
    return driver


@pytest.fixture(scope="module")
def edge(node: Node, shield: ShieldDriver) -> EdgeDriver:
    driver = create_edge(node.context())
    node.call(commit, driver, edge_section("ch1", "ch2"))
    return driver


async def run(operation: Operation, arguments: JsonObject) -> Any:
    result: Any = await operation.run(arguments, Checkpoint({}, lambda _data: None), context())
    return result["orders"]["1"]


async def fill() -> None:
    await edge_stores("/ch2/v0/1.m4s")
    for channel in ("ch1", "ch2"):
        for name in NAMES:
            await from_edge(f"/{channel}/{name}")
    for channel in ("ch1", "ch2"):
        await edge_stores(f"/{channel}/v0/1.m4s")  # within its second a rule also takes what came after it
        assert (await from_shield(f"/media/{channel}/v0/1.m4s")).headers["x-shield"] == "hit"


def test_a_channel_is_purged_shield_first_and_another_stays(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        async with origin() as source:
            await fill()
            source.asked.clear()
            begun = time.monotonic()
            done = await run(shield.operations[PURGE], order("all", "ch1", **{ELAPSED: 0.0}))
            assert done["refetched"] == 2
            assert done["purged"] == 3
            done = await run(edge.operations[PURGE], order("all", "ch1", **{ELAPSED: 0.5}))
            assert (done["refetched"], done["refilled"], done["gone"]) == (4, 0, 0)  # with and without the port
            refilled = await from_edge("/ch1/v0/1.m4s")
            assert cache_status(refilled.headers) == "miss"
            assert int(refilled.headers["age"]) <= time.monotonic() - begun + 1
            assert "/media/ch1/v0/1.m4s" in source.asked
            assert cache_status((await from_edge("/ch2/v0/1.m4s")).headers) == "hit"
            assert (await from_shield("/media/ch2/v0/1.m4s")).headers["x-shield"] == "hit"
            assert not [url for url in source.asked if "/ch2/" in url]

    node.call(play)


def test_one_object_by_its_url(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        arguments = order("url", f"http://{HOST}/ch1/v0/1.m4s?session=7", **{ELAPSED: 0.0})
        async with origin() as source:
            await fill()
            await from_edge("/ch1/v0/2.m4s")
            source.asked.clear()
            assert (await run(shield.operations[PURGE], arguments))["refetched"] == 1
            assert (await run(edge.operations[PURGE], arguments))["refetched"] == 2  # with and without the port
            assert source.asked == ["/media/ch1/v0/1.m4s"]
            assert cache_status((await from_edge("/ch1/v0/2.m4s")).headers) == "hit"
            # A host that is not served here is not this edge's.
            other = await run(edge.operations[PURGE], order("url", "http://other.example/ch1/v0/1.m4s"))
            assert other == {
                "state": "done",
                "text": "it does not serve other.example",
                "served_under": ["cdn.streamverse.test"],
            }

    node.call(play)


def test_all_below_a_prefix(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        arguments = order("prefix", f"http://{HOST}/ch1/v0/", **{ELAPSED: 0.0})
        async with origin() as source:
            await fill()
            source.asked.clear()
            await run(shield.operations[PURGE], arguments)
            assert (await from_shield("/media/ch1/v0/1.m4s")).headers["x-shield"] == "miss"
            assert (await from_shield("/media/ch1/manifest.mpd")).headers["x-shield"] == "hit"
            await run(edge.operations[PURGE], arguments)
            assert cache_status((await from_edge("/ch1/v0/1.m4s")).headers) == "miss"
            assert cache_status((await from_edge("/ch1/manifest.mpd")).headers) == "hit"
            assert cache_status((await from_edge("/ch2/v0/1.m4s")).headers) == "hit"

    node.call(play)


def test_an_edge_alone_is_refilled_from_before_and_says_so(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        async with origin():
            await fill()

            async def aged() -> bool:
                return int((await from_shield("/media/ch1/v0/1.m4s")).headers["age"]) >= 5

            await until(aged)
            arguments = order("url", f"http://{HOST}/ch1/v0/1.m4s", **{ELAPSED: 0.0})
            with pytest.raises(DriverError, match=r"still served from before the purge.*: v0/1\.m4s"):
                await run(edge.operations[PURGE], arguments)
            await run(shield.operations[PURGE], arguments)
            assert (await run(edge.operations[PURGE], arguments))["oldest_s"] <= 2

    node.call(play)


def test_a_purge_outlives_a_restart_of_the_edge(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        units = node.context().units
        async with origin():
            await fill()
            await run(shield.operations[PURGE], order("all", "ch1"))
            await run(edge.operations[PURGE], order("all", "ch1"))
            await units.restart(EDGE_UNIT)

            async def kept() -> bool:
                try:
                    return cache_status((await from_edge("/ch2/v0/1.m4s")).headers) == "hit"
                except UnavailableError:
                    return False  # it is about to end, or not there yet

            await until(kept)
            assert cache_status((await from_edge("/ch1/v0/1.m4s")).headers) == "miss"

    node.call(play)


def test_an_interrupted_purge_goes_on_with_its_own_time(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        saved: list[JsonObject] = []
        async with origin():
            await fill()
            first = Checkpoint({}, saved.append)
            await shield.operations[PURGE].run(order("all", "ch1", **{ELAPSED: 5.0}), first, context())
            assert float(str(saved[-1]["began_at"])) <= RealClock().now() - 5.0
            again = Checkpoint(saved[-1], saved.append)
            result: Any = await shield.operations[PURGE].run(order("all", "ch1", **{ELAPSED: 0.0}), again, context())
            assert result["orders"]["1"]["refetched"] == 2
            assert len(saved) == 1

    node.call(play)
