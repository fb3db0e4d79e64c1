"""A day's work on a live fleet: scheduled commits, maintenance windows, alarms acknowledged and shelved."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from nf.control.channel import noc_channel
from nf.control.v1 import common_pb2, noc_pb2_grpc
from nf.control.v1 import noc_pb2 as pb
from nf.errors import (
    BusyError,
    CommitRefused,
    DeniedError,
    DocumentError,
    InputError,
    NotFoundError,
    RefusedError,
)
from nf.noc.records import SCHEDULE
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.trust.roles import OperatorRole
from tests.support.fleet import CLOCK, InProcessFleet, collect, lineup_text, refused


def document(fleet: InProcessFleet, channels: dict[str, int]) -> pb.DocumentText:
    return pb.DocumentText(file="lineup.yaml", text=lineup_text(channels, fleet.places[0].id).encode())


def schedule(fleet: InProcessFleet, channels: dict[str, int], **values: Any) -> pb.ScheduleLineUpRequest:
    commit = pb.CommitLineUpRequest(lineup=document(fleet, channels), **values.pop("commit", {}))
    return pb.ScheduleLineUpRequest(commit=commit, **values)


async def audit(fleet: InProcessFleet, action: str) -> list[tuple[str, str, str]]:
    """(name of the actor, object, outcome), oldest first."""
    records = await fleet.node.book.store.audit_records(200)
    found = [(r.actor.rpartition("/")[2], r.object, r.outcome) for r in records if r.action == action]
    return found[::-1]


async def restart(fleet: InProcessFleet) -> None:
    await fleet.stop_noc()
    await fleet.start_noc()
    await fleet.online()


async def listed(fleet: InProcessFleet, *, cleared: bool = False) -> dict[str, common_pb2.Alarm]:
    async with fleet.client() as noc:
        answer = await noc.ListAlarms(pb.ListAlarmsRequest(include_cleared=cleared))
    return {alarm.id: alarm for alarm in answer.alarms}


@asynccontextmanager
async def bound(fleet: InProcessFleet, name: str, site: str) -> AsyncIterator[Any]:
    """As an operator of one site."""
    identity = await fleet.operator(name, OperatorRole.OPERATOR, [site])
    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", identity) as channel:
        yield noc_pb2_grpc.NocStub(channel)


# ---- scheduled commits ----


async def test_a_scheduled_commit_outlives_a_restart_and_happens_at_its_time(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        made = await noc.ScheduleLineUp(schedule(fleet, {"ch1": 101}, after_s=3, commit={"comment": "tonight"}))
    assert (made.state, made.base_revision, made.channels, made.comment) == ("waiting", 1, 1, "tonight")
    assert fleet.rows("pop") == {}
    await restart(fleet)
    async with fleet.client() as noc:
        waiting = (await noc.ListScheduled(pb.ListScheduledRequest())).commits
    assert [(one.id, one.at) for one in waiting] == [(made.id, made.at)]
    await fleet.until(lambda: not fleet.node.schedule.list())
    await fleet.current()
    record = fleet.node.lineups.current.record
    assert (record.revision, record.comment, record.author) == (2, "tonight", "spiffe://lab.example/operator/eve")
    assert record.at >= made.at
    assert all(fleet.rows(name) == {"ch1": "101"} for name in fleet.daemons)
    thing = f"schedule/{made.id}"
    told = [("eve", thing, "scheduled"), ("noc", thing, "started"), ("noc", thing, "confirmed")]
    assert await audit(fleet, "lineup.schedule") == told


async def test_it_is_refused_when_another_revision_is_current_then(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        made = await noc.ScheduleLineUp(schedule(fleet, {"ch1": 101}, after_s=2))
        await fleet.commit({"ch2": 102})
        (doomed,) = (await noc.ListScheduled(pb.ListScheduledRequest())).commits
        assert (doomed.state, doomed.reason) == ("waiting", "will be refused: revision 2 is current now")
        await fleet.until(lambda: ("scheduled-commit-refused", made.id) in fleet.alarms())
        await restart(fleet)
        assert ("scheduled-commit-refused", made.id) in fleet.alarms()
        (left,) = (await noc.ListScheduled(pb.ListScheduledRequest())).commits
        assert left.state == "refused"
        assert "made for revision 1, 2 is current" in left.reason
        assert fleet.rows("pop") == {"ch2": "102"}
        await noc.UnscheduleLineUp(pb.UnscheduleLineUpRequest(id=made.id))
        assert fleet.alarms("scheduled-commit-refused") == []
    assert [outcome for _, _, outcome in await audit(fleet, "lineup.schedule")] == ["scheduled", "started", "refused"]


async def test_its_author_must_still_be_one_who_may_commit(fleet: InProcessFleet) -> None:
    async with fleet.client("anna", OperatorRole.ENGINEER) as noc:
        made = await noc.ScheduleLineUp(schedule(fleet, {"ch1": 101}, after_s=1))
    await fleet.node.operators.assign("anna", OperatorRole.VIEWER)
    await fleet.until(lambda: ("scheduled-commit-refused", made.id) in fleet.alarms())
    assert "may no longer commit" in fleet.node.schedule.list()[0].reason
    assert fleet.rows("pop") == {}


async def test_a_time_that_the_noc_slept_through_is_over(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        await noc.ScheduleLineUp(schedule(fleet, {"ch1": 101}, after_s=60))
    (waiting,) = fleet.node.schedule.list()
    await fleet.node.schedule._save(replace(waiting, at=waiting.at - 1_000), waiting.author, "scheduled", {})
    await restart(fleet)
    await fleet.until(lambda: ("scheduled-commit-refused", waiting.id) in fleet.alarms())
    assert "the NOC did not run then" in fleet.node.schedule.list()[0].reason


async def test_what_ran_when_the_noc_stopped_is_not_run_again(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        await noc.ScheduleLineUp(schedule(fleet, {"ch1": 101}, after_s=60))
    (waiting,) = fleet.node.schedule.list()
    await fleet.node.schedule._save(replace(waiting, state="running"), waiting.author, "started", {})
    await restart(fleet)
    assert [one.state for one in fleet.node.schedule.list()] == ["refused"]
    await fleet.commit({"ch1": 101})
    await fleet.node.schedule._save(replace(waiting, state="running"), waiting.author, "started", {})
    await restart(fleet)
    assert fleet.node.schedule.list() == ()
    assert await fleet.node.book.store.list(SCHEDULE) == ()


async def test_schedules_that_are_refused_at_once(fleet: InProcessFleet) -> None:
    now = fleet.node.clock.now()
    async with fleet.client() as noc:
        for at, where in (
            (1.0, "at 1970-01-01T00:00:01Z"),
            (4_102_444_800.0, "at 2100-01-01T00:00:00Z"),
            (1e300, "at 1e+300"),
            (math.inf, "at inf"),
            (now - 1, "at 2"),
        ):
            error = await refused(noc.ScheduleLineUp(schedule(fleet, {"ch1": 101}, at=at)))
            assert isinstance(error, InputError)
            assert error.where.startswith(where)
            assert error.remedy
        error = await refused(noc.ScheduleLineUp(schedule(fleet, {"ch1": 101, "ch2": 101}, after_s=60)))
        assert isinstance(error, DocumentError)
        required = schedule(fleet, {"ch1": 101}, after_s=60, commit={"without_sites": ["hub"]})
        assert isinstance(await refused(noc.ScheduleLineUp(required)), CommitRefused)
        long_hold = schedule(fleet, {"ch1": 101}, after_s=60, commit={"confirm_within_s": 90_000})
        assert isinstance(await refused(noc.ScheduleLineUp(long_hold)), InputError)
        assert isinstance(await refused(noc.UnscheduleLineUp(pb.UnscheduleLineUpRequest(id="x"))), NotFoundError)
    async with fleet.client("olaf", OperatorRole.OPERATOR) as noc:
        assert isinstance(await refused(noc.ScheduleLineUp(schedule(fleet, {"ch1": 101}, after_s=60))), DeniedError)
    assert fleet.node.schedule.list() == ()


# ---- maintenance ----


def window(site: str = "edge", **values: Any) -> pb.OpenMaintenanceRequest:
    return pb.OpenMaintenanceRequest(site=site, reason=values.pop("reason", "new fan"), **values)


async def test_a_window_holds_repair_and_alarms_until_it_is_closed(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101})
    agent = fleet.agents["pop"]
    async with fleet.client() as noc:
        opened = await noc.OpenMaintenance(window())
        assert (sorted(opened.appliances), list(opened.untold)) == (["pop", "recv"], [])
        del fleet.daemons["pop"].rows["ch1"]
        agent.engine.set_reconcile_interval(0.05)
        name = "pop:configuration-drift:pop/table"
        async with asyncio.timeout(90):
            while name not in (alarms := await listed(fleet)):  # noqa: ASYNC110 - the NOC tells nobody
                await asyncio.sleep(0.02)
        handling = alarms[name].handling
        assert (handling.state, handling.reason, handling.until) == ("held", "new fan", opened.until)
        assert "held until maintenance is over" in alarms[name].remedy
        assert (await fleet.node.summary("pop")).alarms == 0
        assert fleet.rows("pop") == {}
        await noc.CloseMaintenance(pb.CloseMaintenanceRequest(site="edge"))
        await fleet.until(lambda: fleet.rows("pop") == {"ch1": "101"})
        assert not (await noc.ListMaintenance(pb.ListMaintenanceRequest())).windows
    assert await audit(fleet, "maintenance.open") == [("eve", "site/edge", "done")]
    assert await audit(fleet, "maintenance.close") == [("eve", "site/edge", "done")]


async def test_the_hold_survives_restarts_of_agent_and_noc(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        opened = await noc.OpenMaintenance(window(for_s=600))
    held = opened.until
    await fleet.stop_noc()
    await fleet.kill_agent("pop")
    await fleet.start_agent("pop")
    await fleet.until(lambda: "pop" in fleet.agents and fleet.agents["pop"].engine._core.repair_held_until == held)
    await fleet.start_noc()
    await fleet.online()
    async with fleet.client() as noc:
        (still,) = (await noc.ListMaintenance(pb.ListMaintenanceRequest())).windows
        assert (still.site, still.until) == ("edge", held)
        await fleet.kill_agent("pop")
        await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
        (away,) = (await noc.ListMaintenance(pb.ListMaintenanceRequest())).windows
        assert list(away.untold) == ["pop"]
        await noc.CloseMaintenance(pb.CloseMaintenanceRequest(site="edge"))
    await fleet.start_agent("pop")
    await fleet.online()
    await fleet.until(lambda: fleet.agents["pop"].engine._core.repair_held_until == 0.0)


async def test_commits_leave_the_site_out_by_name_and_it_catches_up_afterwards(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        await noc.OpenMaintenance(window(for_s=600))
        with pytest.raises(CommitRefused, match="--without edge") as caught:
            await fleet.commit({"ch1": 101})
        (problem,) = caught.value.problems
        assert (problem.key, problem.remedy) == ("site edge", ""), "the remedy is said once"
        assert "(operator/eve)" in problem.rule
        done = await fleet.commit({"ch1": 101}, without_sites=["edge"])
        assert done.outcome == pb.OUTCOME_CONFIRMED
        assert isinstance(await refused(noc.RollbackLineUp(pb.RollbackLineUpRequest())), CommitRefused)
        await fleet.current("head", "core")
        fleet.node.catchup.wake()
        assert fleet.node.catchup.behind() == ()
        assert fleet.rows("pop") == {}
        await noc.CloseMaintenance(pb.CloseMaintenanceRequest(site="edge"))
    await fleet.current()
    assert fleet.rows("pop") == {"ch1": "101"}


async def test_a_required_site_stops_commits_until_its_window_is_closed(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        await noc.OpenMaintenance(window("hub"))
        with pytest.raises(CommitRefused, match="nf maintenance close hub"):
            await fleet.commit({"ch1": 101})
        with pytest.raises(CommitRefused, match="required"):
            await fleet.commit({"ch1": 101}, without_sites=["hub"])


async def test_a_window_ends_by_itself(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        await noc.OpenMaintenance(window(for_s=2))
    await restart(fleet)
    assert len(fleet.node.maintenance.windows()) == 1
    await fleet.until(lambda: not fleet.node.maintenance._windows)
    assert await audit(fleet, "maintenance.close") == [("noc", "site/edge", "expired")]
    assert (await fleet.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED


async def test_windows_that_are_refused(fleet: InProcessFleet) -> None:
    async with fleet.client() as noc:
        assert isinstance(await refused(noc.OpenMaintenance(window("nowhere"))), NotFoundError)
        assert isinstance(await refused(noc.OpenMaintenance(window(reason=" "))), InputError)
        error = await refused(noc.OpenMaintenance(window(for_s=8 * 86_400)))
        assert (type(error), error.message, error.where) == (InputError, "longer than 7d", "for 8d")
        close = pb.CloseMaintenanceRequest(site="edge")
        assert isinstance(await refused(noc.CloseMaintenance(close)), NotFoundError)
        await fleet.commit({"ch1": 101}, confirm_within_s=60)
        error = await refused(noc.OpenMaintenance(window()))
        assert isinstance(error, BusyError)
        assert "nf lineup confirm" in error.message
        await collect(noc.ConfirmLineUp(pb.ConfirmLineUpRequest()))
        await noc.OpenMaintenance(window())
        assert isinstance(await refused(noc.OpenMaintenance(window())), RefusedError)
    async with bound(fleet, "paul", "hub") as noc:
        assert isinstance(await refused(noc.CloseMaintenance(close)), DeniedError)
        await noc.OpenMaintenance(window("hub"))


# ---- alarms ----

FAN = "pop:fan-failed:pop/fan1"


def fan(fleet: InProcessFleet, severity: Severity) -> None:
    event = AlarmEvent("fan-failed", "pop/fan1", severity, CLOCK.now(), "stands still", "replace it")
    fleet.agents["pop"].hub.alarm(event)


async def raised(fleet: InProcessFleet) -> None:
    fan(fleet, Severity.MAJOR)
    await fleet.until(lambda: ("fan-failed", "pop/fan1") in fleet.alarms())


async def test_an_acknowledged_alarm_is_known_until_it_is_cleared(fleet: InProcessFleet) -> None:
    await raised(fleet)
    async with fleet.client() as noc:
        done = await noc.AcknowledgeAlarm(pb.AcknowledgeAlarmRequest(id=FAN, reason="part is ordered"))
        assert done.handling.state == "acknowledged"
    await restart(fleet)
    await fleet.until(lambda: ("fan-failed", "pop/fan1") in fleet.alarms())
    handling = (await listed(fleet))[FAN].handling
    eve = "spiffe://lab.example/operator/eve"
    assert (handling.state, handling.author, handling.reason) == ("acknowledged", eve, "part is ordered")
    assert (await fleet.node.summary("pop")).alarms == 1
    fan(fleet, Severity.CLEARED)
    await fleet.until(lambda: not fleet.alarms("fan-failed"))
    assert not (await listed(fleet, cleared=True))[FAN].HasField("handling")
    await raised(fleet)
    assert not (await listed(fleet))[FAN].HasField("handling")
    assert await audit(fleet, "alarm.acknowledge") == [("eve", f"alarm/{FAN}", "done")]


async def test_an_acknowledgement_does_not_outlive_an_alarm_that_cleared_unseen(fleet: InProcessFleet) -> None:
    await raised(fleet)
    async with fleet.client() as noc:
        await noc.AcknowledgeAlarm(pb.AcknowledgeAlarmRequest(id=FAN, reason="seen"))
    await fleet.stop_noc()
    fan(fleet, Severity.CLEARED)
    fan(fleet, Severity.MAJOR)
    await fleet.start_noc()
    await fleet.online()
    await fleet.until(lambda: ("fan-failed", "pop/fan1") in fleet.alarms())
    assert not (await listed(fleet))[FAN].HasField("handling")


async def test_an_acknowledged_alarm_of_the_noc_survives_its_restart(fleet: InProcessFleet) -> None:
    await fleet.kill_agent("pop")
    await fleet.until(lambda: ("appliance-offline", "pop") in fleet.alarms())
    async with fleet.client() as noc:
        await noc.AcknowledgeAlarm(pb.AcknowledgeAlarmRequest(id="appliance-offline:pop", reason="power work"))
    await fleet.stop_noc()
    await fleet.start_noc()
    await fleet.until(lambda: ("appliance-offline", "pop") in fleet.alarms())
    assert (await listed(fleet))["appliance-offline:pop"].handling.reason == "power work"
    await fleet.start_agent("pop")
    await fleet.until(lambda: not fleet.alarms("appliance-offline"))
    await fleet.kill_agent("pop")
    await fleet.until(lambda: ("appliance-offline", "pop") in fleet.alarms())
    assert not (await listed(fleet))["appliance-offline:pop"].HasField("handling")


async def test_a_shelved_alarm_stays_away_over_clears_and_comes_back_by_itself(fleet: InProcessFleet) -> None:
    await raised(fleet)
    async with fleet.client() as noc:
        shelf = (await noc.ShelveAlarm(pb.ShelveAlarmRequest(id=FAN, for_s=4, reason="chatters"))).handling
    assert (shelf.state, shelf.reason) == ("shelved", "chatters")
    assert (await fleet.node.summary("pop")).alarms == 0
    fan(fleet, Severity.CLEARED)
    await fleet.until(lambda: not fleet.alarms("fan-failed"))
    await raised(fleet)
    await restart(fleet)
    await fleet.until(lambda: ("fan-failed", "pop/fan1") in fleet.alarms())
    assert (await listed(fleet))[FAN].handling.until == shelf.until
    await fleet.until(lambda: not fleet.node.alarm_handling._handled)
    assert not (await listed(fleet))[FAN].HasField("handling")
    assert await audit(fleet, "alarm.unshelve") == [("noc", f"alarm/{FAN}", "done")]


async def test_what_is_unshelved_is_raised_again(fleet: InProcessFleet) -> None:
    await raised(fleet)
    async with fleet.client() as noc:
        await noc.ShelveAlarm(pb.ShelveAlarmRequest(id=FAN, for_s=600, reason="chatters"))
        await noc.AcknowledgeAlarm(pb.AcknowledgeAlarmRequest(id=FAN, reason="ordered"))
        await noc.UnshelveAlarm(pb.UnshelveAlarmRequest(id=FAN))
        assert (await listed(fleet))[FAN].handling.state == "acknowledged"
        assert isinstance(await refused(noc.UnshelveAlarm(pb.UnshelveAlarmRequest(id=FAN))), RefusedError)


async def test_alarms_that_cannot_be_handled(fleet: InProcessFleet) -> None:
    await raised(fleet)
    async with fleet.client() as noc:
        for call in (
            noc.AcknowledgeAlarm(pb.AcknowledgeAlarmRequest(id="pop:no:such", reason="x")),
            noc.ShelveAlarm(pb.ShelveAlarmRequest(id="pop:no:such", for_s=60, reason="x")),
            noc.UnshelveAlarm(pb.UnshelveAlarmRequest(id="pop:no:such")),
        ):
            assert isinstance(await refused(call), NotFoundError)
        for call in (
            noc.AcknowledgeAlarm(pb.AcknowledgeAlarmRequest(id=FAN)),
            noc.ShelveAlarm(pb.ShelveAlarmRequest(id=FAN, for_s=60)),
            noc.ShelveAlarm(pb.ShelveAlarmRequest(id=FAN, reason="x")),
            noc.ShelveAlarm(pb.ShelveAlarmRequest(id=FAN, for_s=8 * 86_400, reason="x")),
        ):
            assert isinstance(await refused(call), InputError)
    async with bound(fleet, "paul", "hub") as noc:
        error = await refused(noc.AcknowledgeAlarm(pb.AcknowledgeAlarmRequest(id=FAN, reason="x")))
        assert isinstance(error, DeniedError)
    async with bound(fleet, "erik", "edge") as noc:
        await noc.AcknowledgeAlarm(pb.AcknowledgeAlarmRequest(id=FAN, reason="mine"))
    assert ("paul", "AcknowledgeAlarm", "denied") in await audit(fleet, "call")
