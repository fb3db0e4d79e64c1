"""A commit reaches every appliance, or none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nf.control.v1 import noc_pb2 as pb
from nf.noc.events import Events
from nf.noc.records import REVISIONS
from nf.noc.rollout import Progress
from tests.support.fleet import InProcessFleet, collect, lineup_text


async def test_a_commit_reaches_everybody(fleet: InProcessFleet) -> None:
    events = await fleet.commit_events({"ch1": 101, "ch2": 102}, comment="two channels")
    assert events[-1].outcome == pb.OUTCOME_CONFIRMED
    assert {name: fleet.rows(name) for name in fleet.daemons} == {
        name: {"ch1": "101", "ch2": "102"} for name in fleet.daemons
    }
    phases = [event.phase for event in events if event.phase]
    assert list(dict.fromkeys(phases)) == ["validate", "prepare", "apply", "verify", "confirm"]
    await fleet.current()
    assert {session.standing.confirmed_revision for session in fleet.node.sessions.all()} == {2}
    async with fleet.client() as noc:
        history = await noc.ListRevisions(pb.ListRevisionsRequest())
        assert [(r.revision, r.outcome, r.comment) for r in history.revisions] == [
            (2, "current", "two channels"),
            (1, "confirmed", "the underlay"),
        ]
        assert (await noc.VerifyAudit(pb.VerifyAuditRequest())).intact


async def test_a_watcher_sees_what_each_step_is_at_while_it_runs(fleet: InProcessFleet) -> None:
    gate = fleet.daemons["pop"].gate = asyncio.Event()
    document = pb.DocumentText(file="l.yaml", text=lineup_text({"ch1": 101}, "head").encode())
    seen: list[tuple[str, str, str]] = []
    async with fleet.client() as noc:
        async for event in noc.CommitLineUp(pb.CommitLineUpRequest(lineup=document)):
            seen.append((event.phase, event.appliance, event.text))
            if event.text == "row-ch1 50%: at the gate":
                assert event.total == len(fleet.daemons)
                gate.set()
    assert event.outcome == pb.OUTCOME_CONFIRMED
    steps = [("apply", "pop", "row-ch1 50%: at the gate"), ("apply", "pop", "ch1=101"), ("apply", "pop", "")]
    assert [entry for entry in seen if entry in steps] == steps
    assert {("apply", name, "ch1=101") for name in fleet.daemons} <= set(seen)


async def test_of_an_appliances_steps_only_the_newest_waits_for_a_slow_watcher() -> None:
    events = Events("t-1", 5)
    for number in range(100):
        events.progress(Progress("apply", "pop", 0, 1, 0, 2, f"step {number}"))
        events.progress(Progress("apply", "core", 0, 1, 0, 2, f"step {number}"))
    events.progress(Progress("apply", "pop", 0, 1, 1, 2))
    events.end(pb.OUTCOME_CONFIRMED)
    assert [(event.appliance, event.text) async for event in events] == [
        ("pop", "step 99"), ("core", "step 99"), ("pop", ""), ("", ""),
    ]  # fmt: skip


async def test_two_who_plan_at_once_each_get_their_own_plan(fleet: InProcessFleet) -> None:
    async def plan(number: int) -> pb.PlanLineUpResponse:
        text = lineup_text({f"ch{number}": 100 + number}, "head").encode()
        request = pb.PlanLineUpRequest(lineup=pb.DocumentText(file="l.yaml", text=text))
        answer: pb.PlanLineUpResponse = await noc.PlanLineUp(request, timeout=60)
        return answer

    async with fleet.client() as noc:
        plans = await asyncio.gather(*(plan(number) for number in range(1, 5)))
    for number, answer in enumerate(plans, 1):
        assert len(answer.appliances) == len(fleet.daemons)
        steps = {step.id for appliance in answer.appliances for step in appliance.steps}
        assert all(f"ch{number}" in step for step in steps), steps


async def test_no_commit_reads_every_document_ever_committed(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fleet.node.book.store
    listed: list[str] = []
    before = store.list

    async def watched(bucket: str, prefix: str = "") -> Any:
        listed.append(bucket)
        return await before(bucket, prefix)

    monkeypatch.setattr(store, "list", watched)
    await fleet.commit({"ch1": 101})
    fleet.daemons["pop"].fail_apply = "no room"
    await fleet.commit({"ch1": 101, "ch2": 102})
    fleet.daemons["pop"].fail_apply = ""
    await fleet.commit({"ch1": 101, "ch3": 103})
    async with fleet.client() as noc:
        history = await noc.ListRevisions(pb.ListRevisionsRequest(limit=3))
        assert [(r.revision, r.outcome) for r in history.revisions] == [(4, "current"), (3, "undone"), (2, "confirmed")]
        assert (await collect(noc.RollbackLineUp(pb.RollbackLineUpRequest())))[-1].outcome == pb.OUTCOME_CONFIRMED
    assert fleet.rows("pop") == {"ch1": "101"}
    assert REVISIONS not in listed
