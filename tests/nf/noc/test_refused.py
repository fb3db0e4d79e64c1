"""One refusal aborts all, one failure undoes all; both say who and why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nf.control.errors import from_info
from nf.control.v1 import noc_pb2 as pb
from nf.errors import CommitRefused, DocumentError, InputError
from tests.support.fleet import SECTION, InProcessFleet, collect, in_process_fleet


def nobody_changed(fleet: InProcessFleet) -> bool:
    return all(fleet.rows(name) == {} for name in fleet.daemons)


async def test_one_refusal_in_check_refuses_the_whole(fleet: InProcessFleet) -> None:
    fleet.daemons["pop"].refuse = "the table is full"
    event = await fleet.commit({"ch1": 101})
    assert event.outcome == pb.OUTCOME_REFUSED
    error = from_info(event.error)
    assert isinstance(error, CommitRefused)
    assert any("pop" in p.key and "the table is full" in p.rule and p.remedy == "ask it nicely" for p in error.problems)
    assert nobody_changed(fleet)
    assert fleet.node.lineups.current.record.revision == 1

    fleet.daemons["pop"].refuse = ""  # nobody kept a lock
    assert (await fleet.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED


async def test_one_failure_in_apply_undoes_the_whole(fleet: InProcessFleet) -> None:
    fleet.daemons["pop"].fail_apply = "out of memory"
    events = await fleet.commit_events({"ch1": 101})
    assert events[-1].outcome == pb.OUTCOME_UNDONE
    error = from_info(events[-1].error)
    (problem,) = error.problems
    assert problem.key == f"pop: {SECTION}"
    assert "out of memory" in problem.rule
    assert "undo" in {event.phase for event in events}
    assert nobody_changed(fleet)
    async with fleet.client() as noc:
        history = await noc.ListRevisions(pb.ListRevisionsRequest())
    assert [(r.revision, r.outcome) for r in history.revisions] == [(2, "undone"), (1, "current")]
    assert not await fleet.node.book.transactions()

    fleet.daemons["pop"].fail_apply = ""
    assert (await fleet.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED


async def test_what_is_not_effective_is_undone(fleet: InProcessFleet) -> None:
    fleet.daemons["core"].lie = True
    event = await fleet.commit({"ch1": 101})
    assert event.outcome == pb.OUTCOME_UNDONE
    assert any("the daemon says otherwise" in problem.rule for problem in event.error.problems)
    assert nobody_changed(fleet)


async def test_more_than_the_deadline_allows_is_refused_at_validate(fleet: InProcessFleet) -> None:
    event = await fleet.commit({"ch1": 101}, deadline="3s")
    assert event.outcome == pb.OUTCOME_REFUSED
    assert event.error.where == "spec.policy.deadline"
    assert nobody_changed(fleet)


async def test_the_same_line_up_again_is_unchanged(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101})
    event = await fleet.commit({"ch1": 101})
    assert (event.outcome, event.revision) == (pb.OUTCOME_UNCHANGED, 2)
    assert (await fleet.commit({"ch1": 7})).revision == 3


async def test_all_problems_of_a_document_cross_the_wire_with_their_place(fleet: InProcessFleet) -> None:
    text = b"apiVersion: streamverse.nf/v1\nkind: LineUp\nmetadata: {name: x}\n"
    text += b"spec:\n  chanels: []\n  policy: {deadline: 5}\n"
    request = pb.CommitLineUpRequest(lineup=pb.DocumentText(file="wrong.yaml", text=text))
    async with fleet.client() as noc:
        with pytest.raises(DocumentError) as caught:
            await collect(noc.CommitLineUp(request))
        check = await noc.CheckLineUp(pb.CheckLineUpRequest(lineup=request.lineup))
    places = {(problem.file, problem.line, problem.key) for problem in caught.value.problems}
    assert {("wrong.yaml", 5, "spec.chanels"), ("wrong.yaml", 6, "spec.policy.deadline")} <= places
    assert all(problem.rule and problem.remedy for problem in caught.value.problems)
    assert len(check.problems) == len(caught.value.problems)


async def test_an_offline_appliance_refuses_and_says_what_to_do(fleet: InProcessFleet) -> None:
    await fleet.kill_agent("pop")
    await fleet.until(lambda: "pop" not in fleet.node.sessions.online())
    with pytest.raises(CommitRefused) as caught:
        await fleet.commit({"ch1": 101})
    assert "pop" in caught.value.message
    assert "--without edge" in caught.value.remedy
    assert nobody_changed(fleet)
    await fleet.until(lambda: ("appliance-offline", "pop") in fleet.alarms())
    await fleet.kill_agent("core")
    await fleet.until(lambda: "core" not in fleet.node.sessions.online())
    with pytest.raises(CommitRefused, match="required site core"):
        await fleet.commit({"ch1": 101})


async def test_who_only_changes_its_connection_is_not_offline(fleet: InProcessFleet) -> None:
    await fleet.kill_agent("pop")
    await fleet.until(lambda: "pop" not in fleet.node.sessions.online())
    await fleet.start_agent("pop")
    assert (await fleet.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED


async def test_a_required_site_is_never_left_out(fleet: InProcessFleet) -> None:
    with pytest.raises(CommitRefused, match="required"):
        await fleet.commit({"ch1": 101}, without_sites=["core"])
    with pytest.raises(InputError, match="no such site"):
        await fleet.commit({"ch1": 101}, without_sites=["nowhere"])


async def test_a_site_left_out_catches_up_when_it_returns(fleet: InProcessFleet) -> None:
    for name in ("pop", "recv"):
        await fleet.kill_agent(name)
    await fleet.until(lambda: fleet.node.sessions.online() == {"head", "core"})
    event = await fleet.commit({"ch1": 101}, without_sites=["edge"])
    assert event.outcome == pb.OUTCOME_CONFIRMED
    assert fleet.rows("core") == {"ch1": "101"}
    assert fleet.rows("pop") == {}
    async with fleet.client() as noc:
        history = await noc.ListRevisions(pb.ListRevisionsRequest())
        assert list(history.revisions[0].without_sites) == ["edge"]
        for name in ("pop", "recv"):
            await fleet.start_agent(name)
        await fleet.current()
        assert fleet.rows("pop") == fleet.rows("recv") == {"ch1": "101"}
        listed = await noc.ListAppliances(pb.ListAppliancesRequest())
        assert {(a.id, a.current, a.confirmed_revision) for a in listed.appliances} == {
            (name, True, 2) for name in fleet.daemons
        }
    assert fleet.alarms() == []


async def test_a_catch_up_that_fails_is_an_alarm_and_is_tried_again(fleet: InProcessFleet) -> None:
    for name in ("pop", "recv"):
        await fleet.kill_agent(name)
    await fleet.until(lambda: fleet.node.sessions.online() == {"head", "core"})
    fleet.daemons["pop"].refuse = "not today"
    await fleet.commit({"ch1": 101}, without_sites=["edge"])
    for name in ("pop", "recv"):
        await fleet.start_agent(name)
    await fleet.until(lambda: ("catch-up-failed", "pop") in fleet.alarms())
    await fleet.current("recv")
    fleet.daemons["pop"].refuse = ""
    await fleet.current()
    await fleet.until(lambda: fleet.alarms() == [])


@pytest.fixture
async def ordered(tmp_path: Path) -> AsyncIterator[InProcessFleet]:
    """On the PoP a row needs that the same row stands at the head end; on the core the other way round."""
    async with in_process_fleet(tmp_path, start=False) as fleet:
        fleet.requires["pop"] = {"ch1": "row.feed"}
        for place in fleet.places:
            await fleet.enrol(place.id)
            await fleet.start_agent(place.id)
        await fleet.current()
        yield fleet


async def test_a_fact_that_nobody_provides_is_refused(ordered: InProcessFleet) -> None:
    event = await ordered.commit({"ch1": 101})
    assert event.outcome == pb.OUTCOME_REFUSED
    assert any("row.feed" in problem.rule for problem in event.error.problems)
    assert nobody_changed(ordered)


async def test_stages_follow_facts_across_appliances(ordered: InProcessFleet) -> None:
    request = pb.PlanLineUpRequest(lineup=pb.DocumentText(file="l.yaml", text=_both(ordered)))
    async with ordered.client() as noc:
        plan = await noc.PlanLineUp(request)
    assert "pop/row-ch1" in plan.stages[1].steps
    assert "head/row-feed" in plan.stages[0].steps
    assert (await ordered.commit({"ch1": 101, "feed": 9})).outcome == pb.OUTCOME_CONFIRMED
    assert ordered.daemons["pop"].applied[-1] == "row-ch1"


def _both(fleet: InProcessFleet) -> bytes:
    from tests.support.fleet import lineup_text

    return lineup_text({"ch1": 101, "feed": 9}, fleet.places[0].id).encode()
