"""`nf purge` as a person calls it, on a live NOC whose appliances have dictionaries for caches."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

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
from nf.errors import InputError
from nf.media.commands import channels
from nf.media.edge.purge import EdgeRules
from nf.media.edge.rules import Rule, Rules
from nf.media.purge.message import EVERY_EDGE, PURGE, PURGE_RULES, Mode
from nf.noc import order_runs
from tests.support.fleet import SECTION, InProcessFleet, TablePlanner, in_process_fleet

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


ABREAST = ((("pop", SECTION), ("core", SECTION), ("head", SECTION)),)


class CachePlanner(TablePlanner):
    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        stages = ((("core", SECTION),), (("pop", SECTION),))
        purges = tuple(
            FleetOperation("purge", channel.id, stages if channel.id != "ch3" else ABREAST, stream="cdn.test")
            for channel in lineup.spec.channels
        )
        rules = FleetOperation(PURGE_RULES, EVERY_EDGE, stages[1:])
        return dataclasses.replace(super().plan(lineup, fleet), operations=(*purges, rules))


class Purge:
    """`before_first`: so many others are to be asked before the first that was asked answers."""

    given: list[JsonObject]

    def __init__(self) -> None:
        self.given = []
        self.result: JsonObject = {"text": "purged", "refetched": 4, "refilled": 0}
        self.before_first = 0
        self._others = asyncio.Event()

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        self.given.append(arguments)
        if len(self.given) > self.before_first:
            self._others.set()
        elif len(self.given) == 1:
            await self._others.wait()
        orders: Any = arguments["orders"]
        return {"orders": {str(one["seq"]): {**self.result, "state": "done"} for one in orders}}

    @property
    def orders(self) -> list[Any]:
        found: list[Any] = [one for given in self.given for one in given["orders"]]  # type: ignore[union-attr]
        return found


class HeldRules:
    """What `EdgeRules` uses of `Rules`: an edge that holds these, and ends them at once."""

    def __init__(self) -> None:
        self.held = [
            Rule("p1", "^http://shield/media/ch1/a", 1_796_000_000, Mode.REFETCH),
            Rule("p2", "^http://shield/media/ch2/b", 1_796_003_600, Mode.REFRESH),
        ]

    def active(self) -> tuple[Rule, ...]:
        return tuple(self.held)

    async def end(self, ids: Iterable[str]) -> tuple[Rule, ...]:
        wanted = frozenset(ids)
        ended = tuple(rule for rule in self.held if rule.id in wanted)
        self.held = [rule for rule in self.held if rule.id not in wanted]
        return ended


@pytest.fixture
def rules() -> HeldRules:
    return HeldRules()


@pytest.fixture
async def purging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: HeldRules
) -> AsyncIterator[tuple[InProcessFleet, Purge]]:
    purge, plain = Purge(), InProcessFleet.agent_config
    operations = {PURGE: purge, PURGE_RULES: EdgeRules(cast("Rules", rules))}

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        for driver in config.drivers or ():
            monkeypatch.setattr(driver, "operations", operations, raising=False)
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
    assert purge.orders[0]["scope"] == "all"
    assert purge.orders[0]["match"] == purge.orders[0]["channel"] == "ch1"
    assert purge.orders[0]["seq"] == 1


async def test_caches_are_told_in_the_order_of_their_tier_whoever_answers_first(
    purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, purge = purging
    await fleet.commit({"ch1": 1, "ch2": 2, "ch3": 3})
    purge.before_first = 2
    assert await nf("purge", "ch3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [node["appliance"] for node in answer["nodes"]] == ["pop", "core", "head"]


async def test_a_url_in_json(purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]) -> None:
    _, purge = purging
    assert await nf("purge", "http://cdn.test/ch2/v0/1.m4s", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["complete"] is True
    assert [(node["appliance"], node["stage"], node["state"]) for node in answer["nodes"]] == [
        ("core", 0, "done"),
        ("pop", 1, "done"),
    ]
    assert purge.orders[0]["match"] == "http://cdn.test/ch2/v0/1.m4s"


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


@pytest.mark.parametrize(
    ("arguments", "scope", "match"),
    [
        (("--tag", "ch1/video"), "tag", "ch1/video"),
        (("--tag", "ch1:init", "--tag", "ch1:manifest"), "tag", ["ch1:init", "ch1:manifest"]),
        (("--prefix", "http://cdn.test/ch1/v"), "prefix", "http://cdn.test/ch1/v"),
        (("--regex", r"^/ch1/video/\d+\.m4s$"), "regex", r"^/ch1/video/\d+\.m4s$"),
        (("--all", "ch1", "--mode", "refresh"), "all", "ch1"),
    ],
)
async def test_each_scope(
    purging: tuple[InProcessFleet, Purge], arguments: tuple[str, ...], scope: str, match: Any
) -> None:
    _, purge = purging
    assert await nf("purge", *arguments) == 0
    assert (purge.orders[0]["scope"], purge.orders[0]["match"]) == (scope, match)


async def test_too_much_is_refused_unless_it_is_forced(
    purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]
) -> None:
    _, purge = purging
    for wide in (".*", r"\.m4s$", "^/ch1/.*", "^/ch1/", "(a+)+"):
        assert await nf("purge", "--regex", wide) == 2
    assert "begin it with ^/CHANNEL/, or say --force" in capsys.readouterr().err
    assert await nf("purge") in {0, 2}
    assert await nf("purge", "ch1", "--tag", "ch1") == 2
    assert purge.given == []
    assert await nf("purge", "--regex", r"\.m4s$", "--force") == 0
    assert sorted(order["channel"] for order in purge.orders) == ["ch1", "ch1", "ch2", "ch2"]


async def test_the_same_id_is_done_once_and_the_ledger_tells(
    purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]
) -> None:
    _, purge = purging
    for _ in range(2):
        assert await nf("purge", "ch1", "--id", "once") == 0
    assert len(purge.given) == 2  # one at each cache
    assert await nf("purge", "ch2") == 0
    capsys.readouterr()
    assert await nf("purge", "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["seq"], one["object"], one["state"]) for one in listed] == [(2, "ch2", "done"), (1, "ch1", "done")]
    assert await nf("purge", "show", "once") == 0
    assert "is done" in capsys.readouterr().out
    assert await nf("purge", "show", "never") == 7


async def test_who_wants_it_and_its_trace_go_with_it_to_its_end(
    purging: tuple[InProcessFleet, Purge], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, purge = purging
    caplog.set_level(logging.INFO, "nf.noc.order_runs")
    monkeypatch.delenv("TRACEPARENT", raising=False)
    assert await nf("purge", "ch1") == 0
    monkeypatch.setenv("TRACEPARENT", TRACE)
    assert await nf("purge", "ch1", "--issued-by", "cms") == 0
    assert await nf("purge", "ch1", "--traceparent", "none") == 2
    told = [(one.get("issued_by"), one.get("traceparent")) for one in purge.orders]
    assert told == [("eve", None), ("eve", None), ("cms", TRACE), ("cms", TRACE)]
    ended = fleet.node.exports.orders()
    assert {(one.arguments["issued_by"], one.arguments.get("traceparent")) for one in ended} == set(told)
    assert f"of ch1 is done (issued_by 'cms', traceparent '{TRACE}')" in caplog.text


@pytest.mark.usefixtures("purging")
async def test_rules_are_listed_and_ended(rules: HeldRules, capsys: pytest.CaptureFixture[str]) -> None:
    assert await nf("purge", "rules") == 0
    told = capsys.readouterr().out
    assert "^http://shield/media/ch1/a" in told
    assert "refresh" in told
    assert "2026-" in told
    assert await nf("purge", "rules", "delete", "p1", "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)["nodes"]
    assert answer["appliance"] == "pop"
    assert [rule.id for rule in rules.held] == ["p2"]
    assert await nf("purge", "rules") == 0
    assert "p1" not in capsys.readouterr().out
    assert await nf("purge", "rules", "delete", "p1", "p2") == 7
    told = capsys.readouterr().err
    assert "no edge has a rule of p1" in told
    assert "see nf purge rules" in told
    assert rules.held == []


async def test_rules_of_an_edge_that_is_away_are_not_known(
    purging: tuple[InProcessFleet, Purge], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, _ = purging
    await fleet.kill_agent("pop")
    await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
    assert await nf("purge", "rules") == 1
    assert "not purged at: pop (offline)" in capsys.readouterr().err


async def test_who_was_away_gets_what_was_missed_by_number(purging: tuple[InProcessFleet, Purge]) -> None:
    fleet, purge = purging
    assert await nf("purge", "ch1") == 0
    await fleet.kill_agent("pop")
    await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
    for number in (2, 3):
        assert await nf("purge", "--tag", f"ch1/r{number}") == 1
    purge.given.clear()
    await fleet.stop_noc()
    await fleet.start_noc()  # the ledger is in the store
    assert [order.state for order in fleet.node.operations.orders.all()] == ["owed", "owed", "done"]
    await fleet.start_agent("pop")
    await fleet.until(lambda: not fleet.node.operations.orders.keys())
    (given,) = purge.given
    assert [one["seq"] for one in purge.orders] == [2, 3]
    assert given["after"] == 1


async def test_who_missed_too_much_loses_all_of_the_channel(
    purging: tuple[InProcessFleet, Purge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_runs, "MAX_REPLAY", 2)
    fleet, purge = purging
    await fleet.kill_agent("pop")
    await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
    several = [{"scope": "tag", "match": f"ch1/r{number}"} for number in range(4)]
    await fleet.node.operations.submit("purge", "ch1", several, "spiffe://lab.example/operator/eve")
    await fleet.until(lambda: all(order.attempts for order in fleet.node.operations.orders.all()))
    assert len(purge.given) == 1  # four orders, one question
    purge.given.clear()
    await fleet.start_agent("pop")
    await fleet.until(lambda: not fleet.node.operations.orders.keys())
    assert "4 were missed" in str(purge.given[-1]["lost"])


async def test_one_that_is_for_later_waits(purging: tuple[InProcessFleet, Purge]) -> None:
    fleet, purge = purging
    later = {"scope": "all", "match": "ch1", "not_before": "2999-01-01T00:00:00Z", "expires": "2999-01-02T00:00:00Z"}
    with pytest.raises(InputError, match="more than 7 days"):
        await fleet.node.operations.submit("purge", "ch1", [later], "spiffe://lab.example/operator/eve")
    soon = datetime.now(UTC) + timedelta(hours=1)
    await fleet.node.operations.submit(
        "purge",
        "ch1",
        [{"scope": "all", "match": "ch1", "not_before": soon.isoformat()}],
        "spiffe://lab.example/operator/eve",
    )
    await nf("purge", "ch2")
    assert [one["channel"] for one in purge.orders] == ["ch2", "ch2"]
    assert [order.state for order in fleet.node.operations.orders.all()] == ["done", "waiting"]


async def test_completion_knows_what_can_be_purged(purging: tuple[InProcessFleet, Purge]) -> None:
    await nf("version")
    from nf.cli.operations import FleetClient

    CLIENT.set(FleetClient())
    assert await asyncio.to_thread(channels, "c") == ["ch1", "ch2"]
    assert await asyncio.to_thread(channels, "ch2") == ["ch2"]
