"""Exactly what is asked for goes: Varnish and Traffic Server hold objects, each asked for before and after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nf.contracts.driver import Checkpoint, Operation
from nf.contracts.json import JsonObject
from nf.media.edge.driver import EdgeDriver
from nf.media.edge.driver import create as create_edge
from nf.media.http import Response, cache_status
from nf.media.purge.message import PURGE, PURGE_RULES
from nf.media.shield.driver import ShieldDriver
from nf.media.shield.driver import create as create_shield
from tests.headend.multicast.tree.network import Node, commit, context, nodes, until
from tests.nf.media.cdn import HOST, edge_section, edge_stores, from_edge, from_shield, origin, shield_section

pytestmark = [pytest.mark.root, pytest.mark.daemon]

CHANNELS = ("ch1", "ch2")
NAMES = (
    *("master.m3u8", "manifest.mpd", "video.m3u8", "audio.m3u8", "video/init-1.mp4", "audio/init-1.mp4"),
    *("video/1.m4s", "video/2.m4s", "video/17.m4s", "audio/1.m4s", "audio/2.m4s"),
)
KEPT = tuple(name for name in NAMES if not name.endswith((".m3u8", ".mpd")))
"""What stays fresh for the length of a test."""


@pytest.fixture(scope="module")
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("varnishd", "traffic_manager", "gcc")
    with nodes("pop2") as made:
        made["pop2"].supervise()
        yield made["pop2"]


@pytest.fixture(scope="module")
def shield(node: Node) -> ShieldDriver:
    driver = create_shield(node.context())
    node.call(commit, driver, shield_section(*CHANNELS))
    return driver


@pytest.fixture(scope="module")
def edge(node: Node, shield: ShieldDriver) -> EdgeDriver:
    driver = create_edge(node.context())
    node.call(commit, driver, edge_section(*CHANNELS))
    return driver


async def run(operation: Operation, *orders: JsonObject, channel: str = "ch1", **more: Any) -> Any:
    given = [{"seq": 1, "id": "x", "mode": "refetch", "expires": time.time() + 3600, **one} for one in orders]
    arguments: JsonObject = {"stream": "", "object": channel, "after": 0, "orders": [*given], **more}
    return await operation.run(arguments, Checkpoint({}, lambda _data: None), context())


async def fill() -> None:
    """A second after the last rule: what is about a rule is told by the date, in whole seconds."""
    await next_second()
    for channel in CHANNELS:
        await edge_stores(f"/{channel}/{NAMES[0]}")
        for name in NAMES:
            await from_edge(f"/{channel}/{name}")
    await next_second()


async def next_second() -> None:
    begun = int(time.time())

    async def later() -> bool:
        return int(time.time()) > begun + 1

    await until(later)


async def gone(ask: Callable[[str], Any], hit: Callable[[Response], bool]) -> set[str]:
    """Which objects are not answered from the cache."""
    answers = {name: await ask(name) for channel in CHANNELS for name in (f"{channel}/{kept}" for kept in KEPT)}
    return {name for name, answer in answers.items() if not hit(answer)}


def edge_hit(response: Response) -> bool:
    return cache_status(response.headers) == "hit"


def shield_hit(response: Response) -> bool:
    return response.headers["x-shield"] == "hit"


def selected(holds: Callable[[str], bool]) -> set[str]:
    return {f"ch1/{name}" for name in KEPT if holds(name)}


CASES: dict[str, tuple[str, Any, Callable[[str], bool]]] = {
    "url": ("url", f"http://{HOST}/ch1/video/1.m4s", lambda name: name == "video/1.m4s"),
    "prefix": ("prefix", f"http://{HOST}/ch1/video/1", lambda name: name.startswith("video/1")),
    "rendition": ("tag", "ch1/video", lambda name: name.startswith("video/")),
    "kind": ("tag", "ch1:init", lambda name: "init" in name),
    "both": ("tag", "ch1/audio:segment", lambda name: name.startswith("audio/") and "init" not in name),
    "tags": (
        "tag",
        ["ch1/audio:init", "ch1/video:segment"],
        lambda n: n.startswith("audio/init") or (n[6:7].isdigit() and n[0] == "v"),
    ),
    "regex": ("regex", r"^/ch1/(video|audio)/\d\.m4s$", lambda name: name.endswith(".m4s") and "17" not in name),
    "channel": ("tag", "ch1", lambda _name: True),
    "all": ("all", "ch1", lambda _name: True),
}


@pytest.mark.parametrize("mode", ["refetch", "refresh"])
@pytest.mark.parametrize("case", CASES)
def test_exactly_what_is_asked_for_goes(
    node: Node, shield: ShieldDriver, edge: EdgeDriver, case: str, mode: str
) -> None:
    scope, match, holds = CASES[case]
    order: JsonObject = {"scope": scope, "match": match, "mode": mode, "id": f"{case}-{mode}"}

    async def play() -> None:
        async with origin() as source:
            await fill()
            assert await gone(lambda name: from_edge(f"/{name}"), edge_hit) == set()
            assert await gone(lambda name: from_shield(f"/media/{name}"), shield_hit) == set()
            source.asked.clear()
            shielded = await run(shield.operations[PURGE], order)
            edged = await run(edge.operations[PURGE], order)
            assert {shielded["orders"]["1"]["state"], edged["orders"]["1"]["state"]} == {"done"}
            proved = {url.removeprefix("/media/") for url in source.asked}
            # What the proof asked for is in the caches again: it was not answered from what was there before.
            assert await gone(lambda name: from_edge(f"/{name}"), edge_hit) | proved & selected(holds) == selected(
                holds
            )
            assert {url.removeprefix("/media/") for url in source.asked} & {
                f"{channel}/{name}" for channel in CHANNELS for name in KEPT
            } == selected(holds)
            if scope in {"regex", "prefix"} or mode == "refresh":
                assert [rule["id"] for rule in (await run_rules(edge))["rules"] if rule["id"] == order["id"]]

    node.call(play)


async def run_rules(edge: EdgeDriver, **arguments: Any) -> Any:
    return await edge.operations[PURGE_RULES].run(arguments, Checkpoint({}, lambda _data: None), context())


def test_what_is_still_the_same_is_kept_by_a_refresh(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        async with origin() as source:
            source.validator = '"same"'
            await run(shield.operations[PURGE], {"scope": "all", "match": "ch1"})
            await run(edge.operations[PURGE], {"scope": "all", "match": "ch1"})
            await fill()
            source.unchanged.clear()
            order: JsonObject = {"scope": "tag", "match": "ch1/video", "mode": "refresh", "id": "keep"}
            await run(shield.operations[PURGE], order)
            await run(edge.operations[PURGE], order)
            answer = await from_edge("/ch1/video/1.m4s")
            assert cache_status(answer.headers) == "stale"
            assert int(answer.headers["age"]) <= 1
            assert "/media/ch1/video/1.m4s" in source.unchanged

    node.call(play)


def test_a_rule_that_is_ended_takes_nothing_any_more(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        async with origin():
            await fill()
            order: JsonObject = {"scope": "regex", "match": r"^/ch2/video/2\.", "id": "short"}
            await run(edge.operations[PURGE], order, channel="ch2")
            told = await run_rules(edge, delete=["short", "unknown"])
            assert told["deleted"] == ["short"]
            assert "short" not in {rule["id"] for rule in told["rules"]}
            over = time.time() + 4

            async def ended() -> bool:
                return time.time() > over

            await until(ended)
            await from_edge("/ch2/video/2.m4s")
            assert edge_hit(await from_edge("/ch2/video/2.m4s"))
            assert "short" not in {rule["id"] for rule in (await run_rules(edge))["rules"]}

    node.call(play)


def test_a_cache_that_was_put_back_to_an_earlier_state_loses_its_channel(
    node: Node, shield: ShieldDriver, edge: EdgeDriver
) -> None:
    async def play() -> None:
        async with origin():
            await fill()
            order: JsonObject = {"scope": "url", "match": f"http://{HOST}/ch1/video/1.m4s"}
            for operation in (shield.operations[PURGE], edge.operations[PURGE]):
                await run(operation, {**order, "seq": 7}, stream="cdn")
                result = await run(operation, {**order, "seq": 12}, stream="cdn", after=11)
                assert "all of ch1" in result["text"]
            assert "ch1/audio/2.m4s" in await gone(lambda name: from_edge(f"/{name}"), edge_hit)
            assert edge_hit(await from_edge("/ch2/audio/2.m4s"))

    node.call(play)


def test_ten_thousand_tags_at_once(node: Node, shield: ShieldDriver, edge: EdgeDriver) -> None:
    async def play() -> None:
        async with origin():
            await fill()
            tags = [f"ch1/r{number}:segment" for number in range(10_000)]
            order: JsonObject = {"scope": "tag", "match": [*tags, "ch1/audio:init"]}
            async with asyncio.timeout(60):
                await run(shield.operations[PURGE], order)
                await run(edge.operations[PURGE], order)
            assert await gone(lambda name: from_edge(f"/{name}"), edge_hit) == {"ch1/audio/init-1.mp4"}

    node.call(play)
