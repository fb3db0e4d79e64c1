"""Operations of the fleet: in stages, resumed by the appliances, told by name when one is not reached."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nf.agent.daemon import AgentConfig
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.control.channel import noc_channel
from nf.control.v1 import operations_pb2 as pb
from nf.control.v1 import operations_pb2_grpc
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.errors import DeniedError, DriverError, InputError, NotFoundError
from nf.noc.owed import CAUSE, left, pause_s
from nf.trust.roles import OperatorRole
from tests.support.fleet import SECTION, InProcessFleet, TablePlanner, collect, in_process_fleet, refused

UPPER, LOWER = ("head", "core"), ("pop", "recv")


class WipingPlanner(TablePlanner):
    """As its base; every channel can be wiped, at the headend and core first."""

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        stages = tuple(tuple((name, SECTION) for name in names) for names in (UPPER, LOWER))
        wipes = tuple(FleetOperation("wipe", channel.id, stages, made_good=True) for channel in lineup.spec.channels)
        return dataclasses.replace(super().plan(lineup, fleet), operations=wipes)


@dataclass
class Wipe:
    """The operation of one appliance. `gate`: it waits there; `order`: who began and ended, shared by all."""

    appliance: str
    order: list[tuple[str, str]]
    fail: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    given: list[JsonObject] = field(default_factory=list)
    resumed_from: list[JsonObject] = field(default_factory=list)

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        self.order.append(("begun", self.appliance))
        self.given.append(arguments)
        self.resumed_from.append(checkpoint.data)
        checkpoint.save({"half": True})
        context.progress(0.5, "half")
        self.reached.set()
        await self.gate.wait()
        if self.fail:
            raise DriverError(self.fail)
        self.order.append(("ended", self.appliance))
        return {"text": "wiped", "rows": 3}


Wipes = dict[str, Wipe]


@pytest.fixture
async def wiping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[InProcessFleet, Wipes]]:
    order: list[tuple[str, str]] = []
    wipes = {name: Wipe(name, order) for name in (*UPPER, *LOWER)}
    for wipe in wipes.values():
        wipe.gate.set()
    plain = InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        for driver in config.drivers or ():
            monkeypatch.setattr(driver, "operations", {"wipe": wipes[appliance]}, raising=False)
        return config

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    async with in_process_fleet(tmp_path, planner=WipingPlanner()) as fleet:
        await fleet.operator()
        await fleet.commit({"ch1": 1})
        yield fleet, wipes


async def wipe(fleet: InProcessFleet, target: str = "ch1", *, name: str = "eve", **values: Any) -> list[Any]:
    request = pb.RunOperationRequest(name="wipe", object=target, **values)
    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", await fleet.operator(name)) as channel:
        return await collect(operations_pb2_grpc.OperationsStub(channel).RunOperation(request))


def states(events: list[Any]) -> dict[str, str]:
    return {node.appliance: node.state for node in events[-1].outcome.nodes}


async def audited(fleet: InProcessFleet) -> list[str]:
    records = await fleet.node.book.store.audit_records(100)
    return [record.outcome for record in records if record.action == "operation.wipe"][::-1]


async def test_a_stage_begins_when_all_before_it_have_acknowledged(wiping: tuple[InProcessFleet, Wipes]) -> None:
    fleet, wipes = wiping
    events = await wipe(fleet, arguments_json=b'{"what": "rows"}')
    assert events[-1].outcome.complete
    assert states(events) == dict.fromkeys((*UPPER, *LOWER), "done")
    assert json.loads(events[-1].outcome.nodes[0].result_json)["rows"] == 3
    order = wipes["head"].order
    last = max(order.index(("ended", name)) for name in UPPER)
    assert all(order.index(("begun", name)) > last for name in LOWER)
    assert wipes["pop"].given[0]["what"] == "rows"
    assert float(str(wipes["pop"].given[0]["elapsed_s"])) > 0
    assert await audited(fleet) == ["begun", "done"]


async def test_a_failure_is_named_the_others_of_its_stage_are_done_and_the_next_is_withheld(
    wiping: tuple[InProcessFleet, Wipes],
) -> None:
    fleet, wipes = wiping
    wipes["head"].fail = "the disk is full"
    events = await wipe(fleet)
    assert not events[-1].outcome.complete
    assert states(events) == {"head": "failed", "core": "done", "pop": "withheld", "recv": "withheld"}
    assert "the disk is full" in events[-1].outcome.nodes[0].text
    assert await audited(fleet) == ["begun", "failed"]
    assert states(await wipe(fleet, past_failures=True))["pop"] == "done"


async def test_who_is_offline_is_named_and_not_called_done(wiping: tuple[InProcessFleet, Wipes]) -> None:
    fleet, _ = wiping
    await fleet.kill_agent("pop")
    await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
    events = await wipe(fleet)
    assert states(events) == {"head": "done", "core": "done", "pop": "offline", "recv": "done"}
    assert not events[-1].outcome.complete
    assert "keeps what it has" in next(node.text for node in events[-1].outcome.nodes if node.appliance == "pop")


def owed(fleet: InProcessFleet) -> list[str]:
    return [alarm.text for _, alarm in fleet.node.telemetry.alarms() if alarm.cause == CAUSE]


async def test_who_was_away_gets_it_when_it_returns(wiping: tuple[InProcessFleet, Wipes]) -> None:
    fleet, wipes = wiping
    await fleet.kill_agent("pop")
    await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
    await wipe(fleet)
    assert owed(fleet) == ["wipe of ch1 is still to be done at pop: pop is offline"]
    await fleet.stop_noc()  # it is in the store
    await fleet.start_noc()
    await fleet.start_agent("pop")
    await fleet.until(lambda: ("ended", "pop") in wipes["pop"].order and not owed(fleet))
    assert wipes["head"].order.count(("begun", "head")) == 1, "who has it is not asked again"
    assert float(str(wipes["pop"].given[0]["elapsed_s"])) > 0
    assert await audited(fleet) == ["begun", "failed", "done"]
    assert await fleet.node.book.store.list("owed") == ()


async def test_who_refuses_what_is_owed_is_asked_again_and_the_audit_is_told_once(
    wiping: tuple[InProcessFleet, Wipes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, wipes = wiping
    monkeypatch.setattr("nf.noc.owed.AGAIN_S", 0.01)
    monkeypatch.setattr("nf.noc.fleet_operations.AGAIN_S", 0.01)
    await fleet.kill_agent("pop")
    await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
    await wipe(fleet)
    wipes["pop"].fail = "the disk is full"
    await fleet.start_agent("pop")
    await fleet.until(lambda: wipes["pop"].order.count(("begun", "pop")) >= 3)
    wipes["pop"].fail = ""
    await fleet.until(lambda: not owed(fleet))
    assert await audited(fleet) == ["begun", "failed", "failed", "done"]


def test_attempts_that_fail_come_at_longer_intervals() -> None:
    assert [pause_s(failures) for failures in (1, 2, 3, 5, 6, 1000)] == [30, 60, 120, 480, 600, 600]


async def test_the_stages_after_who_was_away_come_after_it(wiping: tuple[InProcessFleet, Wipes]) -> None:
    fleet, wipes = wiping
    await fleet.kill_agent("core")
    await fleet.until(lambda: fleet.node.sessions.get("core") is None)
    events = await wipe(fleet, past_failures=True)
    assert states(events) == {"head": "done", "core": "offline", "pop": "done", "recv": "done"}
    before = len(wipes["head"].order)
    await fleet.start_agent("core")
    await fleet.until(lambda: not owed(fleet))
    again = wipes["head"].order[before:]
    assert {name for _, name in again} == {"core", *LOWER}, "what was filled from it meanwhile goes too"
    assert all(again.index(("begun", name)) > again.index(("ended", "core")) for name in LOWER)


async def test_a_noc_that_stops_in_between_goes_on(wiping: tuple[InProcessFleet, Wipes]) -> None:
    fleet, wipes = wiping
    wipes["head"].gate.clear()
    running = asyncio.create_task(wipe(fleet))
    await wipes["head"].reached.wait()
    await fleet.stop_noc()
    await asyncio.gather(running, return_exceptions=True)
    wipes["head"].gate.set()
    await fleet.start_noc()
    await fleet.until(lambda: all(("ended", name) in wipes[name].order for name in LOWER))
    await fleet.until(lambda: not owed(fleet))
    assert (await audited(fleet))[-1] == "done"


def test_what_is_left_begins_where_somebody_lacks_it() -> None:
    stages = ((("a", "x"), ("b", "x")), (("c", "y"),))
    assert left(stages, {(0, "a"), (0, "b"), (1, "c")}) == ()
    assert left(stages, {(0, "a"), (0, "b")}) == ((("c", "y"),),)
    assert left(stages, {(0, "a"), (1, "c")}) == ((("b", "x"),), (("c", "y"),))
    assert left((), set()) == ()


async def test_an_agent_that_dies_goes_on_where_it_was(wiping: tuple[InProcessFleet, Wipes]) -> None:
    fleet, wipes = wiping
    wipes["head"].gate.clear()
    running = asyncio.create_task(wipe(fleet))
    await wipes["head"].reached.wait()
    await fleet.kill_agent("head")
    wipes["head"].gate.set()
    await fleet.start_agent("head")
    assert states(await running)["head"] == "done"
    assert wipes["head"].resumed_from == [{}, {"half": True}]


async def test_it_goes_on_when_nobody_watches(wiping: tuple[InProcessFleet, Wipes]) -> None:
    fleet, wipes = wiping
    wipes["head"].gate.clear()
    running = asyncio.create_task(wipe(fleet))
    await wipes["head"].reached.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    wipes["head"].gate.set()
    async with asyncio.timeout(90):
        while await audited(fleet) != ["begun", "done"]:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.02)
    assert ("ended", "recv") in wipes["recv"].order


async def test_what_is_refused(wiping: tuple[InProcessFleet, Wipes]) -> None:
    fleet, wipes = wiping
    await fleet.operator("viewer", OperatorRole.VIEWER)
    await fleet.operator("local", OperatorRole.OPERATOR, ("edge",))
    assert isinstance(await refused(wipe(fleet, "ch9")), NotFoundError)
    assert isinstance(await refused(wipe(fleet, arguments_json=b"[]")), InputError)
    for name in ("viewer", "local"):
        assert isinstance(await refused(wipe(fleet, name=name)), DeniedError)
    assert wipes["head"].order == []
