"""A commit reaches every appliance, or none."""

from __future__ import annotations

from nf.control.v1 import noc_pb2 as pb
from tests.support.fleet import InProcessFleet


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
