"""A commit that drains first what it restarts: nothing is dropped, or it is refused, and all is let in again."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nf.agent.daemon import AgentConfig
from nf.contracts.driver import Checkpoint, Context, Driver, State, Step
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.control.v1 import noc_pb2 as pb
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.errors import CancelledError, DriverError
from nf.noc.owed import CAUSE
from tests.support.fleet import (
    SECTION,
    Daemon,
    InProcessFleet,
    TableDriver,
    TablePlanner,
    collect,
    in_process_fleet,
    lineup_text,
    refused,
)

DRAINED = ("core", "pop")
STEP = "row-ch1"


class DrainingPlanner(TablePlanner):
    """As its base; `core` and `pop` can be drained before their step of channel ch1."""

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        drains = tuple(
            FleetOperation("drain", f"gate-{name}", (((name, SECTION),),), before=frozenset({(name, STEP)}))
            for name in DRAINED
        )
        return dataclasses.replace(super().plan(lineup, fleet), operations=drains)


@dataclass
class Gate:
    """What one appliance serves. `left` sessions; `shut`: new ones are kept off; `given`: arguments in their order."""

    left: int = 0
    shut: bool = False
    fail: str = ""
    leave: int = 0
    given: list[JsonObject] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    applied_with: list[tuple[int, bool]] = field(default_factory=list)

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        self.given.append(arguments)
        if arguments.get("end"):
            self.shut = False
            return {"text": "takes new ones"}
        if self.fail:
            raise DriverError(self.fail)
        self.shut, before = True, self.left
        until = context.clock.monotonic() + float(str(arguments["wait_s"]))
        while self.left and context.clock.monotonic() < until:
            if context.cancel.is_set():
                self.shut = False
                raise CancelledError("cancelled")
            context.progress(0.5, f"{self.left} left")
            self.waiting.set()
            await context.clock.sleep(0.02)
        return {"text": f"{self.left} of {before} left", "before": before, "left": self.left}

    @property
    def drains(self) -> list[JsonObject]:
        return [one for one in self.given if not one.get("end")]


class CountingDriver(TableDriver):
    """Its step of ch1 drops what the gate has."""

    def __init__(self, daemon: Daemon, gate: Gate) -> None:
        super().__init__(daemon)
        self._gate = gate

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        left = self._gate.left
        return tuple(
            dataclasses.replace(step, disruption=f"drops {left}" if step.id == STEP and left else "")
            for step in super().plan(have, want)
        )

    async def apply(self, step: Step, context: Context) -> None:
        if step.id == STEP:
            self._gate.applied_with.append((self._gate.left, self._gate.shut))
        await super().apply(step, context)


Gates = dict[str, Gate]


@pytest.fixture
async def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[InProcessFleet, Gates]]:
    gates = {name: Gate() for name in DRAINED}
    plain = InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        if appliance not in gates:
            return config
        driver: Driver = CountingDriver(fleet.daemons[appliance], gates[appliance])
        monkeypatch.setattr(driver, "operations", {"drain": gates[appliance]}, raising=False)
        return dataclasses.replace(config, drivers=(driver,))

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    async with in_process_fleet(tmp_path, planner=DrainingPlanner()) as fleet:
        await fleet.operator()
        await fleet.commit({"ch1": 1})
        for gate in gates.values():
            gate.applied_with.clear()
        yield fleet, gates


def told(event: pb.CommitEvent) -> dict[str, tuple[int, int]]:
    return {one.object: (one.before, one.left) for one in event.drained}


async def test_without_being_asked_a_commit_drains_nothing(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, gates = gated
    gates["pop"].left = 7
    assert (await fleet.commit({"ch1": 2})).outcome == pb.OUTCOME_CONFIRMED
    assert gates["pop"].given == []
    assert gates["pop"].applied_with == [(7, False)]


async def test_what_is_restarted_is_empty_by_then_and_new_ones_are_kept_off_meanwhile(
    gated: tuple[InProcessFleet, Gates],
) -> None:
    fleet, gates = gated
    gates["pop"].left = 7
    running = asyncio.create_task(fleet.commit_events({"ch1": 2}, drain_s=300))
    await gates["pop"].waiting.wait()
    assert fleet.rows("pop") == {"ch1": "1"}
    assert (await refused(fleet.commit({"ch1": 3}))).message.endswith("is draining what it restarts")
    gates["pop"].left = 0
    events = await running
    assert events[-1].outcome == pb.OUTCOME_CONFIRMED
    assert gates["pop"].applied_with == [(0, True)]
    assert not gates["pop"].shut
    assert gates["core"].given == []  # its step costs nothing
    assert told(events[-1]) == {"gate-pop": (7, 0)}
    (asked,) = gates["pop"].drains
    assert (asked["keep"], 250 < float(str(asked["wait_s"])) <= 300) == (True, True)
    assert float(str(asked["hold_s"])) >= 60
    said = [(event.appliance, event.text, event.total) for event in events if event.phase == "drain"]
    assert ("pop", "7 left", 1) in said
    assert said[-1] == ("pop", "takes new ones", 1)
    assert fleet.alarms(CAUSE) == []


async def test_the_end_of_the_wait_refuses_and_lets_in_again(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, gates = gated
    gates["pop"].left, gates["core"].left = 7, 3
    running = asyncio.create_task(fleet.commit_events({"ch1": 2}, drain_s=1))
    await gates["core"].waiting.wait()
    gates["core"].left = 0
    last = (await running)[-1]
    assert last.outcome == pb.OUTCOME_REFUSED
    assert "not drained: gate-pop" in last.error.message
    (problem,) = last.error.problems
    assert (problem.key, problem.rule, problem.value) == ("gate-pop", "7 of 7 left", "7")
    assert told(last) == {"gate-core": (3, 0), "gate-pop": (7, 7)}
    assert not any(gate.shut or gate.applied_with for gate in gates.values())
    assert fleet.rows("pop") == {"ch1": "1"}
    assert (await fleet.commit({"ch1": 2})).outcome == pb.OUTCOME_CONFIRMED  # nothing is locked


async def test_what_is_left_then_is_dropped_when_that_was_asked(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, gates = gated
    gates["pop"].left, gates["core"].left, gates["core"].fail = 7, 3, "it does not count"
    last = await fleet.commit({"ch1": 2}, drain_s=1, drain_drops=True)
    assert last.outcome == pb.OUTCOME_CONFIRMED
    assert gates["pop"].applied_with == [(7, True)]
    assert told(last) == {"gate-core": (0, 0), "gate-pop": (7, 7)}
    assert "it does not count" in last.drained[0].text
    assert not gates["pop"].shut


async def test_one_that_cannot_be_drained_ends_the_others_at_once(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, gates = gated
    gates["pop"].left, gates["core"].left, gates["core"].fail = 7, 3, "it does not count"
    last = await fleet.commit({"ch1": 2}, drain_s=3600)
    assert last.outcome == pb.OUTCOME_REFUSED
    assert "it does not count" in {problem.key: problem.rule for problem in last.error.problems}["gate-core"]
    assert not any(gate.shut or gate.applied_with for gate in gates.values())


async def test_a_rollback_meanwhile_stops_it(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, gates = gated
    gates["pop"].left = 7
    running = asyncio.create_task(fleet.commit_events({"ch1": 2}, drain_s=3600))
    await gates["pop"].waiting.wait()
    async with fleet.client() as noc:
        events = await collect(noc.RollbackLineUp(pb.RollbackLineUpRequest()))
    assert (events[-1].outcome, events[-1].HasField("error")) == (pb.OUTCOME_UNDONE, False)
    last = (await running)[-1]
    assert (last.outcome, gates["pop"].shut, gates["pop"].applied_with) == (pb.OUTCOME_REFUSED, False, [])
    assert "stopped by spiffe://lab.example/operator/eve" in last.error.message


async def test_a_commit_that_is_undone_after_its_drain_lets_in_again(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, gates = gated
    gates["pop"].left, fleet.daemons["recv"].fail_apply = 7, "no"
    running = asyncio.create_task(fleet.commit_events({"ch1": 2}, drain_s=300))
    await gates["pop"].waiting.wait()
    gates["pop"].left = 0
    assert (await running)[-1].outcome == pb.OUTCOME_UNDONE
    assert not gates["pop"].shut
    assert fleet.rows("pop") == {"ch1": "1"}


async def test_a_held_commit_lets_in_again_while_it_is_held(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, gates = gated
    gates["pop"].left = 7
    running = asyncio.create_task(fleet.commit_events({"ch1": 2}, drain_s=300, confirm_within_s=600))
    await gates["pop"].waiting.wait()
    gates["pop"].left = 0
    last = (await running)[-1]
    assert (last.outcome, last.held_until > 0, gates["pop"].shut) == (pb.OUTCOME_HELD, True, False)
    async with fleet.client() as noc:
        assert (await collect(noc.ConfirmLineUp(pb.ConfirmLineUpRequest())))[-1].outcome == pb.OUTCOME_CONFIRMED


async def test_a_noc_that_is_restarted_meanwhile_lets_in_again(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, gates = gated
    gates["pop"].left = 7
    text = lineup_text({"ch1": 2}, "head").encode()
    async with fleet.client() as noc:
        call = noc.CommitLineUp(pb.CommitLineUpRequest(lineup=pb.DocumentText(file="l", text=text), drain_s=3600))
        await call.read()
        await gates["pop"].waiting.wait()
        await fleet.stop_noc()
    assert gates["pop"].shut
    await fleet.start_noc()
    await fleet.until(lambda: not gates["pop"].shut)
    await fleet.until(lambda: fleet.alarms(CAUSE) == [])
    assert gates["pop"].applied_with == []
    gates["pop"].left = 0
    await fleet.current()
    assert (await fleet.commit({"ch1": 2}, drain_s=60)).outcome == pb.OUTCOME_CONFIRMED


async def test_an_appliance_that_goes_away_meanwhile_is_owed_its_end(
    gated: tuple[InProcessFleet, Gates], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, gates = gated
    gates["pop"].left = 7
    running = asyncio.create_task(fleet.commit_events({"ch1": 2}, drain_s=3600))
    await gates["pop"].waiting.wait()
    monkeypatch.setattr("nf.noc.fleet_operations.RETURN_S", 0.5)
    await fleet.kill_agent("pop")
    last = (await running)[-1]
    assert last.outcome == pb.OUTCOME_REFUSED
    gates["pop"].left = 0
    await fleet.start_agent("pop")
    await fleet.until(lambda: bool(gates["pop"].given[-1].get("end")) and not gates["pop"].shut)
    await fleet.until(lambda: fleet.alarms(CAUSE) == [])


async def test_nonsense_is_refused(gated: tuple[InProcessFleet, Gates]) -> None:
    fleet, _ = gated
    for wrong in ({"drain_drops": True}, {"drain_s": 86_401}):
        arguments: dict[str, Any] = wrong
        error = await refused(fleet.commit({"ch1": 2}, **arguments))
        assert error.remedy
