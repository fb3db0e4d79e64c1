"""Telemetry, channels, alarms and overrides over the wire; a stuck reader costs nobody else anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nf.control.channel import noc_channel
from nf.control.server import ServerLimits
from nf.control.v1 import common_pb2, fleet_pb2, fleet_pb2_grpc
from nf.control.v1 import noc_pb2 as pb
from nf.errors import InputError, NotFoundError, UnavailableError
from nf.noc.coordinator import Order
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.support.fleet import InProcessFleet, TablePlanner, fleet_text, in_process_fleet, lineup_text, refused


@pytest.fixture
async def proved(tmp_path: Path) -> AsyncIterator[InProcessFleet]:
    """With a probe at the receiver for every channel."""
    async with in_process_fleet(tmp_path, planner=TablePlanner(probes=True, budget_ms=3_000)) as running:
        yield running


async def channel(fleet: InProcessFleet, name: str) -> pb.ChannelState:
    async with fleet.client() as noc:
        answer: pb.GetChannelResponse = await noc.GetChannel(pb.GetChannelRequest(id=name))
        return answer.channel


async def wait_for(fleet: InProcessFleet, name: str, *, up: bool) -> pb.ChannelState:
    async with asyncio.timeout(90):
        while (state := await channel(fleet, name)).up is not up:  # noqa: ASYNC110 - asked over the wire
            await asyncio.sleep(0.05)
    return state


async def test_a_commit_is_proved_at_the_receiver(proved: InProcessFleet) -> None:
    assert (await proved.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED
    state = await wait_for(proved, "ch1", up=True)
    assert [(hop.appliance, hop.point, hop.verdict) for hop in state.hops] == [
        ("head", "source", "unknown"),
        ("recv", "receiver", "up"),
    ]
    receiver = state.hops[1]
    assert receiver.has_continuity
    assert (receiver.join_ms, receiver.bitrate_bps) == (20.0, 1e6)


async def test_a_path_that_is_not_up_undoes_the_commit(proved: InProcessFleet) -> None:
    proved.daemons["recv"].rows = _Forgetful(proved.daemons["recv"].rows)
    event = await proved.commit({"ch1": 101})
    assert event.outcome == pb.OUTCOME_UNDONE
    assert all(proved.rows(name) == {} for name in proved.daemons)


class _Forgetful(dict[str, str]):
    """Says that it holds a row, and delivers nothing."""

    def __contains__(self, key: object) -> bool:
        return False


async def test_a_path_that_breaks_later_turns_red_and_raises_an_alarm(proved: InProcessFleet) -> None:
    await proved.commit({"ch1": 101})
    await wait_for(proved, "ch1", up=True)
    proved.daemons["recv"].lie = True
    state = await wait_for(proved, "ch1", up=False)
    assert state.hops[1].verdict == "down"
    await proved.until(lambda: ("path-down", "ch1/path/recv") in proved.alarms())
    proved.daemons["recv"].lie = False
    await wait_for(proved, "ch1", up=True)
    await proved.until(lambda: not proved.alarms("path-down"))
    async with proved.client() as noc:
        cleared = await noc.ListAlarms(pb.ListAlarmsRequest(include_cleared=True))
    assert [(a.cause, a.severity) for a in cleared.alarms] == [("path-down", common_pb2.SEVERITY_CLEARED)]


async def test_alarms_that_ended_while_the_noc_was_away_are_cleared(fleet: InProcessFleet) -> None:
    hub = fleet.agents["pop"].hub
    for cause in ("unit-restarting", "configuration-drift"):
        hub.alarm(AlarmEvent(cause, "x", Severity.MINOR, 1.0))
    await fleet.until(lambda: len(fleet.alarms()) == 2)
    old = fleet.node.telemetry
    fleet.node.sessions.get("pop").close()
    hub.alarm(AlarmEvent("configuration-drift", "x", Severity.CLEARED, 2.0))
    await fleet.until(lambda: [cause for cause, _ in fleet.alarms()] == ["unit-restarting"])
    await fleet.stop_noc()
    await fleet.start_noc()
    assert fleet.node.telemetry is not old
    await fleet.until(lambda: [cause for cause, _ in fleet.alarms()] == ["unit-restarting"])


async def test_overrides_over_the_wire(fleet: InProcessFleet) -> None:
    request = pb.AddOverrideRequest(
        appliance="pop", section="table", patch_json=b'{"rows": {"extra": "7"}}', reason="a test", ttl_s=60
    )
    async with fleet.client() as noc:
        added = await noc.AddOverride(request)
        await fleet.until(lambda: fleet.rows("pop") == {"extra": "7"})
        listed = await noc.ListOverrides(pb.ListOverridesRequest())
        assert [(o.id, o.appliance, o.author) for o in listed.overrides] == [
            (added.id, "pop", "spiffe://lab.example/operator/eve")
        ]
        shown = await noc.GetAppliance(pb.GetApplianceRequest(id="pop"))
        assert [override.reason for override in shown.overrides] == ["a test"]
        await noc.EndOverride(pb.EndOverrideRequest(appliance="pop", id=added.id))
        await fleet.until(lambda: fleet.rows("pop") == {})
        assert isinstance(
            await refused(noc.EndOverride(pb.EndOverrideRequest(appliance="pop", id="nothing"))), NotFoundError
        )
        request.ttl_s = 10_000_000
        assert isinstance(await refused(noc.AddOverride(request)), InputError)
        request.ttl_s, request.section = 60, "nothing"
        assert await refused(noc.AddOverride(request))
        await fleet.kill_agent("pop")
        await fleet.until(lambda: "pop" not in fleet.node.sessions.online())
        assert isinstance(await refused(noc.AddOverride(request)), UnavailableError)
        audit = await noc.ShowAudit(pb.ShowAuditRequest(limit=4))
    assert [(r.action, r.outcome) for r in audit.records] == [
        ("override.add", "failed"),
        ("override.end", "failed"),
        ("override.end", "done"),
        ("override.add", "done"),
    ]


async def test_a_reader_that_is_stuck_does_not_slow_another(fleet: InProcessFleet) -> None:
    """It says hello and never reads; its queue overflows, its session ends, and the others do not notice."""
    identity = fleet.agents["pop"].uplink._identity()
    await fleet.kill_agent("pop")
    stop = asyncio.Event()

    async def hello() -> AsyncIterator[fleet_pb2.AgentMessage]:
        yield fleet_pb2.AgentMessage(hello=fleet_pb2.Hello(appliance="pop"))
        await stop.wait()

    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", identity) as stuck:
        stub: Any = fleet_pb2_grpc.FleetStub(stuck)
        call = stub.Session(hello())
        await call.initial_metadata()
        await fleet.online("pop")
        session = fleet.node.sessions.get("pop")
        flood = fleet_pb2.NocMessage(abort=fleet_pb2.Abort(transaction="x", reason="y" * 50_000))
        for _ in range(20):
            for _ in range(50):
                message = fleet_pb2.NocMessage()
                message.CopyFrom(flood)
                session.send(message)
            status = await fleet.node.sessions.get("head").request("status", {}, 5.0)
            assert status["confirmed_revision"] == 1
        assert session.closed.is_set()
        stop.set()
        call.cancel()
    await fleet.start_agent("pop")
    await fleet.online("pop")


async def test_samples_are_bounded_and_the_newest_counts(fleet: InProcessFleet) -> None:
    hub, telemetry = fleet.agents["head"].hub, fleet.node.telemetry
    labels = {"channel": "ch1", "path": "path", "point": "source"}
    for number in range(50):
        hub.sample(Sample("path.hop", fleet.node.clock.now(), labels, {"bitrate_bps": float(number)}))
    await fleet.until(lambda: telemetry.hop("head", "ch1", "path", "source") is not None)
    sample = telemetry.hop("head", "ch1", "path", "source")
    assert sample is not None
    assert sample.values["bitrate_bps"] == 49.0


async def test_a_newer_session_wins(fleet: InProcessFleet) -> None:
    first = fleet.node.sessions.get("pop")
    agent = fleet.agents["pop"]
    agent.uplink._renewed.set()
    await fleet.until(lambda: fleet.node.sessions.get("pop") not in {first, None})
    assert first.closed.is_set()
    assert (await fleet.node.sessions.get("pop").request("status", {}, 5.0))["confirmed_revision"] == 1


async def test_connections_end_with_age_and_nothing_is_lost(tmp_path: Path) -> None:
    """A revoked identity must show itself again; everybody else comes back, also in the middle of a commit."""
    limits = ServerLimits(max_connection_age_s=0.5, max_connection_grace_s=0.2)
    async with in_process_fleet(tmp_path, start=False) as fleet:
        await fleet.stop_noc()
        fleet.config = replace(fleet.config, limits=limits)
        await fleet.start_noc()
        for place in fleet.places:
            await fleet.enrol(place.id)
            await fleet.start_agent(place.id)
        await fleet.current()
        daemon = fleet.daemons["pop"]
        daemon.gate = asyncio.Event()
        first = fleet.node.sessions.get("pop")
        identity = await fleet.operator()
        events = await fleet.node.coordinator.commit(
            Order("commit", str(identity.spiffe_id)),
            lambda: fleet.node.lineups.draft(
                pb.DocumentText(file="l.yaml", text=lineup_text({"ch1": 101}, "head").encode()), None
            ),
        )
        await fleet.until(lambda: fleet.node.sessions.get("pop") not in {first, None})
        daemon.gate.set()
        assert [event async for event in events][-1].outcome == pb.OUTCOME_CONFIRMED
        await fleet.node.enrolment.revoke("recv", fleet.node.spiffe_id)
        await fleet.until(lambda: "recv" not in fleet.node.sessions.online())
        assert fleet.rows("recv") == {"ch1": "101"}


async def test_an_appliance_that_left_the_fleet_is_no_alarm(fleet: InProcessFleet) -> None:
    await fleet.kill_agent("recv")
    await fleet.until(lambda: fleet.alarms("appliance-offline") == [("appliance-offline", "recv")])
    text = fleet_text([place for place in fleet.places if place.id != "recv"], fleet.optional)
    document = pb.DocumentText(file="fleet.yaml", text=text.encode())
    assert (await fleet.commit({"ch1": 101}, fleet=document)).outcome == pb.OUTCOME_CONFIRMED
    await fleet.until(lambda: not fleet.alarms())
