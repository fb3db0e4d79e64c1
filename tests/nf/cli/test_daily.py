"""The commands of a day's work: what they ask, what they print, how they end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from nf.cli.commands.schedule import when_given
from nf.control.v1 import common_pb2, noc_pb2
from nf.errors import CommitRefused, InputError, NotFoundError, RefusedError, UnavailableError
from tests.nf.cli import samples
from tests.nf.cli.conftest import FakeNoc, Nf

SCHEDULED = noc_pb2.ScheduledCommit(
    id="ab12", at=samples.AT, author=samples.ANNA, comment="tonight", base_revision=4, lineup_name="main", channels=2,
    state="waiting",
)  # fmt: skip
WINDOW = noc_pb2.MaintenanceWindow(
    site="pop2", author=samples.ANNA, reason="new fan", opened_at=samples.AT, until=samples.AT + 7200,
    appliances=["pop2", "r2"], untold=["r2"],
)  # fmt: skip
DRAIN = noc_pb2.Drain(
    site="pop2", author=samples.ANNA, reason="new line card", at=samples.AT, until=samples.AT + 7200,
    appliances=["pop2"],
)  # fmt: skip
ACKNOWLEDGED = common_pb2.Alarm()
ACKNOWLEDGED.CopyFrom(samples.ALARM)
ACKNOWLEDGED.handling.CopyFrom(
    common_pb2.AlarmHandling(state="acknowledged", author=samples.ANNA, reason="on it", at=samples.AT)
)


@pytest.fixture
def lineup(tmp_path: Path) -> Path:
    file = tmp_path / "lineup.yaml"
    file.write_text("kind: LineUp")
    return file


# ---- scheduled commits ----


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2027-01-15T08:00:00Z", (samples.AT, 0)),
        ("2027-01-15T09:00:00+01:00", (samples.AT, 0)),
        ("+30m", (0.0, 1800)),
        ("+2h", (0.0, 7200)),
    ],
)
def test_times_as_people_give_them(given: str, expected: tuple[float, int]) -> None:
    assert when_given(given) == expected


@pytest.mark.parametrize("given", ["2027-01-15T08:00:00", "2027-01-15", "08:00", "30m", "+30", "+", "soon", ""])
def test_a_time_that_could_mean_several_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="--at"):
        when_given(given)


@pytest.mark.parametrize(("given", "where"), [("+5x", "--at +5x"), ("+0s", "--at +0s"), ("soon", "--at soon")])
def test_a_time_that_is_none_is_quoted_as_it_was_typed(
    nf: Nf, noc: FakeNoc, lineup: Path, given: str, where: str
) -> None:
    error = nf("lineup", "commit", str(lineup), "--at", given, "--json").error()
    assert (error["where"], error["exit_code"]) == (where, 2)
    assert error["remedy"]
    assert noc.calls == []


def test_commit_at_asks_for_a_schedule_and_commits_nothing(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    noc.answers["ScheduleLineUp"] = SCHEDULED
    answer = nf("lineup", "commit", str(lineup), "--at", "+30m", "--without", "pop2", "--confirm", "5m", "-m", "why")
    assert answer.out == "scheduled as ab12 for 2027-01-15 08:00:00+00:00, on revision 4\n"
    (request,) = noc.requests("ScheduleLineUp")
    assert (request.after_s, request.at) == (1800, 0)
    assert (request.commit.without_sites, request.commit.confirm_within_s, request.commit.comment) == (
        ["pop2"],
        300,
        "why",
    )
    assert nf("lineup", "commit", str(lineup), "--at", "2027-01-15T08:00:00Z", "--json").json()["id"] == "ab12"
    assert noc.requests("ScheduleLineUp")[1].at == datetime.fromisoformat("2027-01-15T08:00:00Z").timestamp()
    assert not noc.requests("CommitLineUp")


def test_a_time_in_the_past_has_the_exit_code_of_input(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    noc.answers["ScheduleLineUp"] = InputError("this time is in the past", where="at")
    assert nf("lineup", "commit", str(lineup), "--at", "2020-01-01T00:00:00Z").code == 2


def test_scheduled_and_unschedule(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListScheduled"] = noc_pb2.ListScheduledResponse()
    assert nf("lineup", "scheduled").out == "no scheduled commits\n"
    refused = noc_pb2.ScheduledCommit(
        id="cd34",
        state="refused",
        reason="the fleet has changed",
        without_sites=["pop9"],
        confirm_within_s=300,
        accept_irreversible=True,
    )
    noc.answers["ListScheduled"] = noc_pb2.ListScheduledResponse(commits=[SCHEDULED, refused])
    shown = nf("lineup", "scheduled").out
    assert "ab12" in shown
    assert "refused" in shown
    assert "the fleet has changed" in shown
    assert "--without pop9 --confirm 5m --accept" in shown
    assert [one["state"] for one in nf("lineup", "scheduled", "--json").json()] == ["waiting", "refused"]
    noc.answers["UnscheduleLineUp"] = noc_pb2.UnscheduleLineUpResponse()
    assert nf("lineup", "unschedule", "ab12").out == "ab12 is no longer scheduled\n"
    noc.answers["UnscheduleLineUp"] = NotFoundError("no such scheduled commit", where="x")
    assert nf("lineup", "unschedule", "x").code == 7


# ---- maintenance ----


def test_maintenance(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["OpenMaintenance"] = WINDOW
    answer = nf("maintenance", "open", "pop2", "--reason", "new fan")
    assert answer.out == "pop2 is under maintenance until 2027-01-15 10:00:00+00:00: pop2, r2\n"
    assert answer.err == "offline, hear of it when they are back: r2\n"
    request = noc.requests("OpenMaintenance")[0]
    assert (request.site, request.for_s, request.reason) == ("pop2", 7200, "new fan")
    noc.answers["ListMaintenance"] = noc_pb2.ListMaintenanceResponse(windows=[WINDOW])
    shown = nf("maintenance", "list")
    assert "pop2, r2 (offline)" in shown.out
    assert nf("maintenance", "list", "--json").json()[0]["until"] == samples.AT + 7200
    noc.answers["CloseMaintenance"] = noc_pb2.CloseMaintenanceResponse()
    assert nf("maintenance", "close", "pop2").code == 0
    noc.answers["ListMaintenance"] = noc_pb2.ListMaintenanceResponse()
    assert nf("maintenance", "list").out == "no maintenance windows\n"


def test_a_window_needs_a_reason(nf: Nf, noc: FakeNoc) -> None:
    assert nf("maintenance", "open", "pop2").code == 2
    assert noc.calls == []


def test_the_refusal_of_a_commit_says_what_to_type(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    noc.answers["CommitLineUp"] = CommitRefused(
        "under maintenance: pop2", remedy="leave it out by name: --without pop2"
    )
    answer = nf("lineup", "commit", str(lineup))
    assert answer.code == 3
    assert "do: leave it out by name: --without pop2" in answer.err


# ---- replace, drain ----


def test_replace(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ReplaceAppliance"] = noc_pb2.ReplaceApplianceResponse(
        appliance="pop2", serial="SV-9", replaced_serial="SV-2", was_enrolled=True, session_closed=True
    )
    answer = nf("appliance", "replace", "pop2", "--serial", "SV-9", "--reason", "burnt")
    assert answer.out == "pop2 is serial SV-9 from now on; the identity of SV-2 is dead, its session closed\n"
    assert "nf appliance enroll pop2" in answer.err
    noc.answers["ReplaceAppliance"] = RefusedError("it is serial SV-9 already", where="pop2")
    assert nf("appliance", "replace", "pop2", "--serial", "SV-9", "--reason", "burnt").code == 3
    assert nf("appliance", "replace", "pop2", "--reason", "burnt").code == 2


def test_wipe_in_two_steps(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["WipeAppliance"] = noc_pb2.WipeApplianceResponse(appliance="pop2", code="K7QX", code_expires_s=600)
    answer = nf("appliance", "wipe", "pop2", "--reason", "sold")
    assert answer.out == "K7QX\n"
    assert "nothing was changed" in answer.err
    assert "--code K7QX within 10 minutes" in answer.err
    noc.answers["WipeAppliance"] = noc_pb2.WipeApplianceResponse(appliance="pop2", wiped=True, reboots_in_s=10)
    answer = nf("appliance", "wipe", "pop2", "--reason", "sold", "--code", "K7QX")
    assert answer.out.startswith("pop2 is wiped: its keys are destroyed; it reboots in 10 s")
    assert [one.code for one in noc.requests("WipeAppliance")] == ["", "K7QX"]
    noc.answers["WipeAppliance"] = RefusedError("runs from no image", where="pop2")
    assert nf("appliance", "wipe", "pop2", "--reason", "sold").code == 3
    assert nf("appliance", "wipe", "pop2").code == 2


def test_drain_and_return_show_their_progress(nf: Nf, noc: FakeNoc, monkeypatch: pytest.MonkeyPatch) -> None:
    step = noc_pb2.DrainEvent(appliance="pop2", state="drained", done=1, total=1, text="cost 65535")
    end = noc_pb2.DrainEvent(state="drained", done=1, total=1, text="receivers stay", drain=DRAIN)
    noc.answers["DrainSite"] = [step, end]
    answer = nf("appliance", "drain", "pop2", "--for", "1h", "--reason", "new line card")
    assert answer.err == "1/1  pop2 drained: cost 65535\n"
    assert answer.out == "pop2 is drained until 2027-01-15 10:00:00+00:00: receivers stay\n"
    assert noc.requests("DrainSite")[0].for_s == 3600
    noc.answers["ReturnSite"] = [noc_pb2.DrainEvent(state="returned", text="own cost again", drain=DRAIN)]
    assert nf("appliance", "return", "pop2").out == "pop2 is returned: own cost again\n"
    noc.answers["ReturnSite"] = [step, UnavailableError("offline: pop2", where="pop2")]
    assert nf("appliance", "return", "pop2").code == 5
    noc.answers["DrainSite"] = [step]
    assert nf("appliance", "drain", "pop2", "--reason", "x").code == 5
    noc.answers["ListDrains"] = noc_pb2.ListDrainsResponse(drains=[DRAIN])
    assert "new line card" in nf("appliance", "drained").out
    assert nf("appliance", "drained", "--json").json()[0]["appliances"] == ["pop2"]


# ---- alarms ----


def test_alarms_with_what_was_decided(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListAlarms"] = noc_pb2.ListAlarmsResponse(alarms=[ACKNOWLEDGED])
    assert "acknowledged by operator/anna: on it" in nf("alarms").out
    assert nf("alarms", "--json").json()[0]["handling"]["state"] == "acknowledged"


def test_ack_shelve_unshelve(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["AcknowledgeAlarm"] = ACKNOWLEDGED
    name = "pop2:path-down:ch1/iptv/r2"
    answer = nf("alarms", "ack", name, "--reason", "on it")
    assert answer.out == f"{name} is acknowledged by operator/anna: on it\n"
    noc.answers["ShelveAlarm"] = ACKNOWLEDGED
    assert nf("alarms", "shelve", name, "--for", "1h", "--reason", "chatters", "--json").json()["id"] == name
    assert noc.requests("ShelveAlarm")[0].for_s == 3600
    noc.answers["UnshelveAlarm"] = noc_pb2.UnshelveAlarmResponse()
    assert nf("alarms", "unshelve", name).out == f"{name} is no longer shelved\n"
    assert nf("alarms", "ack", name).code == 2
    assert nf("alarms", "shelve", name, "--reason", "x").code == 2
    noc.answers["AcknowledgeAlarm"] = NotFoundError("no such alarm stands", where="x")
    assert nf("alarms", "ack", "x", "--reason", "y", "--json").error()["exit_code"] == 7
    assert not noc.requests("ListAlarms")
