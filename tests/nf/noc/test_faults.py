"""Agents and the NOC die at the worst moments; everybody ends with the same revision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.driver import Event
from nf.control.v1 import noc_pb2 as pb
from nf.errors import NfError
from nf.noc.records import TransactionRecord
from nf.noc.rollout import Rollout
from nf.noc.sessions import Sessions
from nf.transaction.model import Timings
from tests.support.fleet import InProcessFleet, TableDriver, in_process_fleet

ALL = {"ch1": "101"}


def everywhere(fleet: InProcessFleet, rows: dict[str, str]) -> bool:
    return all(fleet.rows(name) == rows for name in fleet.daemons)


async def held_in_apply(fleet: InProcessFleet, appliance: str, **arguments: Any) -> asyncio.Task[pb.CommitEvent]:
    """A commit that waits inside the apply of `appliance`."""
    daemon = fleet.daemons[appliance]
    daemon.gate = asyncio.Event()
    commit = asyncio.create_task(fleet.commit({"ch1": 101}, **arguments))
    async with asyncio.timeout(90):
        await daemon.reached.wait()
    return commit


async def test_an_agent_dies_in_the_middle_of_apply_and_comes_back(fleet: InProcessFleet) -> None:
    commit = await held_in_apply(fleet, "pop")
    await fleet.kill_agent("pop")
    fleet.daemons["pop"].gate = None
    await fleet.start_agent("pop")
    assert (await commit).outcome == pb.OUTCOME_CONFIRMED
    assert everywhere(fleet, ALL)
    await fleet.current()


async def test_an_agent_dies_after_prepare_and_comes_back(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone when APPLY is sent: it is waited for, and begins where it stood."""
    before = Rollout._of_stage
    dead = asyncio.Event()

    def first_kill(self: Rollout, number: int, *, undo: bool) -> Any:
        if not dead.is_set() and not undo:
            dead.set()
            session = fleet.node.sessions.get("pop")
            fleet._tasks["pop"].cancel()
            fleet.node.sessions.detach(session)
        return before(self, number, undo=undo)

    monkeypatch.setattr(Rollout, "_of_stage", first_kill)
    commit = asyncio.create_task(fleet.commit({"ch1": 101}))
    await dead.wait()
    await fleet.kill_agent("pop")
    assert fleet.rows("pop") == {}
    await fleet.start_agent("pop")
    assert (await commit).outcome == pb.OUTCOME_CONFIRMED
    assert everywhere(fleet, ALL)


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[InProcessFleet]:
    """Verify takes no time, so that deadlines of a few seconds are enough."""
    timings = Timings(observe_s=2, check_s=2, prepare_s=2, verify_s=0.2, reconcile_s=60, retry_s=0.2)
    async with in_process_fleet(tmp_path, timings=timings) as running:
        yield running


async def test_an_agent_that_does_not_come_back_in_time_undoes_the_whole(hasty: InProcessFleet) -> None:
    commit = await held_in_apply(hasty, "pop", deadline="9s")
    await hasty.kill_agent("pop")
    event = await commit
    assert event.outcome == pb.OUTCOME_UNDONE
    assert any(problem.key.startswith("pop") for problem in event.error.problems)
    assert all(hasty.rows(name) == {} for name in ("head", "core", "recv"))
    hasty.daemons["pop"].gate = None
    await hasty.start_agent("pop")
    await hasty.current()
    assert everywhere(hasty, {})
    await hasty.settled()


async def test_a_noc_that_stops_before_the_decision_undoes_after_its_restart(fleet: InProcessFleet) -> None:
    commit = await held_in_apply(fleet, "recv")
    await fleet.stop_noc()
    with pytest.raises(NfError):
        await commit
    gate = fleet.daemons["recv"].gate
    assert gate is not None
    gate.set()
    await fleet.until(lambda: fleet.rows("recv") == ALL)
    await fleet.start_noc()
    await fleet.until(lambda: everywhere(fleet, {}))
    await fleet.until(lambda: fleet.node.coordinator.active is None)
    await fleet.current()
    await fleet.settled()
    fleet.daemons["recv"].gate = None
    assert (await fleet.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED


async def decided(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch, told: tuple[str, ...], **arguments: Any
) -> asyncio.Task[pb.CommitEvent]:
    """A commit whose decision is on disk, of which only `told` have heard when the NOC hangs."""
    reached = asyncio.Event()
    before = Rollout.confirm

    async def half(self: Rollout, record: TransactionRecord) -> frozenset[str]:
        some = TransactionRecord(**{**{n: getattr(record, n) for n in record.__slots__}, "participants": told})
        await before(self, some)
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Rollout, "confirm", half)
    commit = asyncio.create_task(fleet.commit({"ch1": 101}, **arguments))
    async with asyncio.timeout(90):
        await reached.wait()
    monkeypatch.undo()
    return commit


async def test_a_logged_confirm_wins_over_the_death_of_the_noc(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = await decided(fleet, monkeypatch, ("head",))
    await fleet.kill_agent("pop")
    await fleet.stop_noc()
    with pytest.raises(NfError):
        await commit
    await fleet.start_noc()
    await fleet.current("head", "core", "recv")
    assert ("revision-split", "pop") in fleet.alarms()
    await fleet.start_agent("pop")
    await fleet.current()
    await fleet.until(lambda: not fleet.alarms("revision-split"))
    assert everywhere(fleet, ALL)
    await fleet.settled()


async def test_who_undid_at_its_deadline_catches_up_with_the_logged_confirm(
    hasty: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = await decided(hasty, monkeypatch, ("head", "core"), deadline="8s")
    await hasty.stop_noc()
    with pytest.raises(NfError):
        await commit
    await hasty.until(lambda: hasty.rows("pop") == hasty.rows("recv") == {})
    assert hasty.rows("core") == ALL
    splits: list[str] = []
    before = Sessions.attach

    def attach(self: Sessions, session: Any) -> None:
        splits.extend(name for _, name in hasty.alarms("revision-split"))
        before(self, session)

    monkeypatch.setattr(Sessions, "attach", attach)
    await hasty.start_noc()
    await hasty.current()
    assert {"pop", "recv"} <= set(splits)
    assert everywhere(hasty, ALL)
    await hasty.until(lambda: not hasty.alarms("revision-split"))


async def test_two_commits_at_once(fleet: InProcessFleet) -> None:
    first = await held_in_apply(fleet, "core")
    with pytest.raises(NfError) as caught:
        await fleet.commit({"ch2": 102}, name="adam")
    assert type(caught.value).__name__ == "BusyError"
    assert "operator/eve" in caught.value.message
    assert fleet.node.coordinator.active.transaction in caught.value.message
    gate = fleet.daemons["core"].gate
    assert gate is not None
    gate.set()
    assert (await first).outcome == pb.OUTCOME_CONFIRMED
    assert everywhere(fleet, ALL)


async def test_the_client_that_asked_may_go_away(fleet: InProcessFleet) -> None:
    commit = await held_in_apply(fleet, "core")
    commit.cancel()
    await asyncio.gather(commit, return_exceptions=True)
    gate = fleet.daemons["core"].gate
    assert gate is not None
    gate.set()
    await fleet.current()
    await fleet.until(lambda: everywhere(fleet, ALL))


async def test_a_mistake_in_one_round_of_catching_up_is_not_the_last_round(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, stumbled = fleet.node.catchup._bring, asyncio.Event()

    async def bring(appliance: str) -> None:
        if not stumbled.is_set():
            stumbled.set()
            raise KeyError("steps")
        await before(appliance)

    monkeypatch.setattr(fleet.node.catchup, "_bring", bring)
    await fleet.kill_agent("pop")
    (fleet.home("pop") / "state" / "journal.db").unlink()
    await fleet.start_agent("pop")
    async with asyncio.timeout(90):
        await stumbled.wait()
    await fleet.current()


async def test_a_driver_whose_events_fail_still_takes_commits(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def events(_: TableDriver) -> AsyncIterator[Event]:
        failed.set()
        raise KeyError("routes")
        yield

    monkeypatch.setattr(TableDriver, "events", events)
    await fleet.kill_agent("pop")
    await fleet.start_agent("pop")
    await fleet.online("pop")
    async with asyncio.timeout(90):
        await failed.wait()
    assert (await fleet.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED
