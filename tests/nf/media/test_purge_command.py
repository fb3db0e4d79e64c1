"""`nf purge` as a person calls it, on a live NOC whose appliances have dictionaries for caches."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nf.agent.daemon import AgentConfig
from nf.cli.main import main
from nf.cli.profile import given, save_profile
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.contracts.noc_client import CLIENT
from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.media.commands import channels
from tests.support.fleet import SECTION, InProcessFleet, TablePlanner, in_process_fleet


class CachePlanner(TablePlanner):
    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        stages = ((("core", SECTION),), (("pop", SECTION),))
        purges = tuple(FleetOperation("purge", channel.id, stages) for channel in lineup.spec.channels)
        return dataclasses.replace(super().plan(lineup, fleet), operations=purges)


class Purge:
    given: list[JsonObject]

    def __init__(self) -> None:
        self.given = []
        self.result: JsonObject = {"text": "purged", "refetched": 4, "refilled": 0}

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        self.given.append(arguments)
        return self.result


@pytest.fixture
async def purging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[InProcessFleet, Purge]]:
    purge, plain = Purge(), InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        for driver in config.drivers or ():
            monkeypatch.setattr(driver, "operations", {"purge": purge}, raising=False)
        return config

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    async with in_process_fleet(tmp_path, planner=CachePlanner()) as fleet:
        identity = await fleet.operator()
        save_profile(tmp_path / "profile", f"127.0.0.1:{fleet._ports[0]}", identity)
        monkeypatch.setenv("NF_PROFILE", str(tmp_path / "profile"))
        await fleet.commit({"ch1": 1, "ch2": 2})
        yield fleet, purge


async def nf(*arguments: str) -> int:
    given.set(None)
    return await asyncio.to_thread(main, arguments)


async def test_a_channel_is_purged_and_every_cache_is_told(
    purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]
) -> None:
    _, purge = purging
    assert await nf("purge", "ch1") == 0
    told = capsys.readouterr()
    assert "ch1 is purged at 2 caches" in told.out
    assert "4 refetched" in told.out
    assert "stage 1/2  core" in told.err
    assert purge.given[0]["channel"] == "ch1"


async def test_a_url_in_json(purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]) -> None:
    _, purge = purging
    assert await nf("purge", "http://cdn.test/ch2/v0/1.m4s", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["complete"] is True
    assert [(node["appliance"], node["stage"], node["state"]) for node in answer["nodes"]] == [
        ("core", 0, "done"),
        ("pop", 1, "done"),
    ]
    assert purge.given[0]["url"] == "http://cdn.test/ch2/v0/1.m4s"


async def test_a_cache_that_is_offline_is_named_and_the_command_fails(
    purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, _ = purging
    await fleet.kill_agent("pop")
    await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
    assert await nf("purge", "ch1") == 1
    told = capsys.readouterr()
    assert "not purged at: pop (offline)" in told.err
    assert "who is offline is purged when it returns" in told.err


async def test_what_is_wrong_has_its_exit_code(
    purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await nf("purge", "ch9") == 7
    told = capsys.readouterr().err
    assert "ch9: the current line-up has nothing of this name to purge" in told
    assert "one of: ch1, ch2" in told
    assert await nf("purge", "ftp://cdn.test/ch1/x") == 2
    assert await nf("purge", "http://cdn.test/") == 2


async def test_a_host_that_no_edge_serves_is_no_purge(
    purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]
) -> None:
    _, purge = purging
    purge.result = {"text": "it does not serve wrong.test", "served_under": ["cdn.test", "tv.test"]}
    assert await nf("purge", "http://wrong.test/ch1/x.m4s") == 7
    told = capsys.readouterr()
    assert "no edge serves this host" in told.err
    assert "name it as a player does: cdn.test, tv.test" in told.err
    assert "is purged" not in told.out


async def test_completion_knows_what_can_be_purged(purging: tuple[InProcessFleet, Purge]) -> None:
    await nf("version")
    from nf.cli.operations import FleetClient

    CLIENT.set(FleetClient())
    assert await asyncio.to_thread(channels, "c") == ["ch1", "ch2"]
    assert await asyncio.to_thread(channels, "ch2") == ["ch2"]
