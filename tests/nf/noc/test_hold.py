"""`--confirm`: a commit that waits for a person, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from nf.control.v1 import noc_pb2 as pb
from nf.errors import BusyError, NotFoundError, RefusedError
from nf.noc.records import TransactionRecord
from tests.support.fleet import InProcessFleet, collect, lineup_text

ALL = {"ch1": "101"}


async def test_held_then_confirmed(fleet: InProcessFleet) -> None:
    event = await fleet.commit({"ch1": 101}, confirm_within_s=60)
    assert event.outcome == pb.OUTCOME_HELD
    assert event.held_until > fleet.node.clock.now() + 50
    assert fleet.rows("pop") == ALL
    assert fleet.node.lineups.current.record.revision == 1
    with pytest.raises(BusyError, match="nf lineup confirm"):
        await fleet.commit({"ch2": 102})
    async with fleet.client() as noc:
        history = await noc.ListRevisions(pb.ListRevisionsRequest())
        assert [r.outcome for r in history.revisions] == ["held", "current"]
        assert (await collect(noc.ConfirmLineUp(pb.ConfirmLineUpRequest())))[-1].outcome == pb.OUTCOME_CONFIRMED
        with pytest.raises(RefusedError, match="no commit waits"):
            await collect(noc.ConfirmLineUp(pb.ConfirmLineUpRequest()))
    await fleet.current()
    assert fleet.node.lineups.current.record.revision == 2


async def test_channels_are_those_of_the_held_line_up_while_it_is_looked_at(fleet: InProcessFleet) -> None:
    async def listed(noc: Any) -> list[str]:
        return [channel.id for channel in (await noc.ListChannels(pb.ListChannelsRequest())).channels]

    await fleet.commit({"ch1": 101})
    async with fleet.client() as noc:
        for taken, held in (({"ch1": 101, "ch2": 102}, ["ch1", "ch2"]), ({"ch2": 102}, ["ch2"])):
            assert (await fleet.commit(taken, confirm_within_s=60)).outcome == pb.OUTCOME_HELD
            assert await listed(noc) == held
            assert (await noc.GetChannel(pb.GetChannelRequest(id="ch2"))).channel.hops
            await collect(noc.RollbackLineUp(pb.RollbackLineUpRequest()))
            assert await listed(noc) == ["ch1"]
            with pytest.raises(grpc.aio.AioRpcError, match="no such channel"):
                await noc.GetChannel(pb.GetChannelRequest(id="ch2"))


async def test_held_and_not_confirmed_in_time(fleet: InProcessFleet) -> None:
    event = await fleet.commit({"ch1": 101}, confirm_within_s=2)
    assert event.outcome == pb.OUTCOME_HELD
    await fleet.until(lambda: all(fleet.rows(name) == {} for name in fleet.daemons))
    await fleet.until(lambda: fleet.node.coordinator.active is None)
    assert fleet.node.lineups.current.record.revision == 1
    await fleet.current()
    assert (await fleet.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED


async def test_a_held_commit_stays_held_over_a_restart_of_the_noc(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101}, confirm_within_s=60)
    await fleet.stop_noc()
    await fleet.start_noc()
    await fleet.online()
    assert all(fleet.rows(name) == ALL for name in fleet.daemons)
    async with fleet.client() as noc:
        assert (await collect(noc.ConfirmLineUp(pb.ConfirmLineUpRequest())))[-1].outcome == pb.OUTCOME_CONFIRMED
    await fleet.current()


async def test_a_held_commit_stays_held_over_a_restart_of_an_agent(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101}, confirm_within_s=60)
    await fleet.kill_agent("pop")
    await fleet.start_agent("pop")
    await fleet.online()
    async with fleet.client() as noc:
        assert (await collect(noc.ConfirmLineUp(pb.ConfirmLineUpRequest())))[-1].outcome == pb.OUTCOME_CONFIRMED
    await fleet.current()
    assert all(fleet.rows(name) == ALL for name in fleet.daemons)


async def test_rollback_of_a_held_commit_takes_it_back(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101}, confirm_within_s=60)
    async with fleet.client() as noc:
        events = await collect(noc.RollbackLineUp(pb.RollbackLineUpRequest()))
    assert events[-1].outcome == pb.OUTCOME_UNDONE
    assert not events[-1].HasField("error")
    assert "operator/eve" in events[-1].text
    assert all(fleet.rows(name) == {} for name in fleet.daemons)
    assert fleet.node.coordinator.active is None


async def test_rollback_is_a_new_revision_of_older_documents(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101})
    await fleet.commit({"ch1": 101, "ch2": 102})
    async with fleet.client() as noc:
        events = await collect(noc.RollbackLineUp(pb.RollbackLineUpRequest()))
        assert events[-1].outcome == pb.OUTCOME_CONFIRMED
        assert all(fleet.rows(name) == ALL for name in fleet.daemons)
        assert (await collect(noc.RollbackLineUp(pb.RollbackLineUpRequest(to_revision=1))))[-1].outcome == (
            pb.OUTCOME_CONFIRMED
        )
        assert all(fleet.rows(name) == {} for name in fleet.daemons)
        history = await noc.ListRevisions(pb.ListRevisionsRequest())
        assert [(r.revision, r.restores, r.outcome) for r in history.revisions][:2] == [
            (5, 1, "current"),
            (4, 2, "confirmed"),
        ]
        with pytest.raises(NotFoundError):
            await collect(noc.RollbackLineUp(pb.RollbackLineUpRequest(to_revision=77)))


async def test_differences_are_told_by_id(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101})
    await fleet.commit({"ch2": 102, "ch1": 111})
    draft = pb.DocumentText(file="l.yaml", text=lineup_text({"ch1": 5}, "head").encode())
    async with fleet.client() as noc:
        found = await noc.DiffRevisions(pb.DiffRevisionsRequest(from_revision=2, to_revision=3))
        planned = await noc.DiffRevisions(pb.DiffRevisionsRequest(from_revision=2, lineup=draft))
    changes = {change.key: (change.before, change.after) for change in found.changes}
    assert changes["lineup.channels[ch1].lcn"] == ("101", "111")
    assert changes["lineup.channels[ch2].lcn"] == ("", "102")
    assert changes["pop.table.rows.ch1"] == ('"101"', '"111"')
    assert ("lineup.channels[ch1].lcn", "101", "5") in {(c.key, c.before, c.after) for c in planned.changes}
    assert ("pop.table.rows.ch1", '"101"', '"5"') in {(c.key, c.before, c.after) for c in planned.changes}


async def test_a_confirm_does_not_wait_for_somebody_else_who_catches_up(fleet: InProcessFleet) -> None:
    """Those who hold it undo it soon after its time; the decision is on disk by then."""
    await fleet.commit({"ch1": 101}, confirm_within_s=60)
    fleet.node.catchup._idle.clear()
    async with fleet.client() as noc, asyncio.timeout(90):
        assert (await collect(noc.ConfirmLineUp(pb.ConfirmLineUpRequest())))[-1].outcome == pb.OUTCOME_CONFIRMED
    fleet.node.catchup._idle.set()
    await fleet.current()


async def test_what_else_a_restart_undoes_does_not_free_a_held_fleet(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101}, confirm_within_s=60)
    held = fleet.node.coordinator.held
    for name in ("0" * 12, "z" * 12):  # before and behind the held one, in the order of the store
        await fleet.node.ledger.log(TransactionRecord(name, "catch-up", 1, held.author, 0.0, 1.0, ("recv",)))
    await fleet.stop_noc()
    await fleet.start_noc()
    async with asyncio.timeout(90):
        while len(await fleet.node.ledger.unfinished()) > 1:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.05)
    await fleet.online()
    with pytest.raises(BusyError, match=held.id):
        await fleet.commit({"ch2": 102})
    assert fleet.node.coordinator.active.transaction == held.id
