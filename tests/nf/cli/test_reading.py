"""The commands that read: the picture for people, the JSON for programs, the request that went out."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nf.control.v1 import common_pb2, noc_pb2
from nf.errors import UnavailableError
from tests.nf.cli import samples
from tests.nf.cli.conftest import FakeNoc, Nf

Golden = Callable[[str, str], None]

PICTURES: list[tuple[str, tuple[str, ...], str, Any]] = [
    ("appliance-list", ("appliance", "list"), "ListAppliances", samples.APPLIANCES),
    ("appliance-show", ("appliance", "show", "pop2"), "GetAppliance", samples.APPLIANCE),
    (
        "channel-show-up",
        ("channel", "show", "ch1"),
        "GetChannel",
        noc_pb2.GetChannelResponse(channel=samples.CHANNEL_UP),
    ),
    (
        "channel-show-down",
        ("channel", "show", "ch2"),
        "GetChannel",
        noc_pb2.GetChannelResponse(channel=samples.CHANNEL_DOWN),
    ),
    (
        "channel-list",
        ("channel", "list"),
        "ListChannels",
        noc_pb2.ListChannelsResponse(channels=[samples.CHANNEL_UP, samples.CHANNEL_DOWN]),
    ),
    ("alarms", ("alarms",), "ListAlarms", noc_pb2.ListAlarmsResponse(alarms=[samples.ALARM])),
    ("alarms-none", ("alarms",), "ListAlarms", noc_pb2.ListAlarmsResponse()),
    ("lineup-history", ("lineup", "history"), "ListRevisions", samples.REVISIONS),
    ("lineup-show", ("lineup", "show", "4"), "GetRevision", samples.REVISION),
    ("lineup-show-fleet", ("lineup", "show", "--fleet"), "GetRevision", samples.REVISION),
    ("lineup-diff", ("lineup", "diff", "2", "4"), "DiffRevisions", samples.CHANGES),
    ("audit-show", ("audit", "show"), "ShowAudit", samples.AUDIT),
    (
        "audit-verify",
        ("audit", "verify"),
        "VerifyAudit",
        noc_pb2.VerifyAuditResponse(records=7, head="ab" * 32, intact=True),
    ),
    (
        "override-list",
        ("override", "list"),
        "ListOverrides",
        noc_pb2.ListOverridesResponse(overrides=[samples.OVERRIDE]),
    ),
]


@pytest.mark.parametrize("case", PICTURES, ids=[case[0] for case in PICTURES])
def test_the_picture(nf: Nf, noc: FakeNoc, golden: Golden, case: tuple[str, tuple[str, ...], str, Any]) -> None:
    name, arguments, method, answer = case
    noc.answers[method] = answer
    shown = nf(*arguments)
    assert (shown.code, shown.err) == (9 if name == "channel-show-down" else 0, "")
    golden(name, shown.out)


def test_appliances_as_json_keep_every_field_under_its_name(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListAppliances"] = samples.APPLIANCES
    headend, pop2 = nf("appliance", "list", "--json").json()
    assert set(headend) == {field.name for field in noc_pb2.ApplianceSummary.DESCRIPTOR.fields}
    assert (headend["online"], headend["confirmed_revision"], headend["sections"]) == (True, 4, ["frr", "interfaces"])
    assert (pop2["online"], pop2["software_version"], pop2["last_seen"]) == (False, "", 0.0)


def test_one_appliance_as_json_has_its_documents_parsed(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["GetAppliance"] = samples.APPLIANCE
    shown = nf("appliance", "show", "pop2", "--json").json()
    assert noc.requests("GetAppliance")[0].id == "pop2"
    assert shown["id"] == "pop2"
    assert shown["config"]["sections"] == {"frr": {"router_id": "10.255.0.4"}}
    assert shown["status"]["units"][0]["pid"] == 812
    assert shown["alarms"][0]["severity"] == "critical"
    assert shown["overrides"][0]["patch"] == {"router_id": "10.0.0.9"}


def test_an_offline_appliance_has_no_status(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["GetAppliance"] = noc_pb2.GetApplianceResponse(summary=samples.POP2)
    assert nf("appliance", "show", "pop2", "--json").json()["status"] is None
    assert nf("appliance", "show", "pop2").code == 0


def test_a_channel_as_json_says_null_where_nothing_is_measured(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["GetChannel"] = noc_pb2.GetChannelResponse(channel=samples.CHANNEL_DOWN)
    answer = nf("channel", "show", "ch2", "--json")
    source, down, unknown = answer.json()["hops"]
    assert answer.code == 9
    assert (source["continuity_errors"], source["age_ms"], source["join_ms"]) == (0, 12.0, None)
    assert (down["verdict"], down["age_ms"], down["continuity_errors"]) == ("down", None, None)
    assert unknown["sampled_at"] == 0.0


def test_watch_goes_on_until_the_noc_goes_away(nf: Nf, noc: FakeNoc) -> None:
    up = noc_pb2.GetChannelResponse(channel=samples.CHANNEL_UP)
    replies = iter([up, up, UnavailableError("shutting down")])
    noc.answers["GetChannel"] = lambda _: next(replies)
    answer = nf("channel", "show", "ch1", "--watch", "--interval", "0.05", "--json")
    assert answer.code == 5
    assert len(answer.out.splitlines()) == 2
    assert answer.error()["message"] == "shutting down"


@pytest.mark.parametrize(("channel", "code"), [(samples.CHANNEL_UP, 0), (samples.CHANNEL_DOWN, 9)])
def test_ctrl_c_ends_a_watch_with_the_last_verdict(noc: FakeNoc, channel: noc_pb2.ChannelState, code: int) -> None:
    noc.answers["GetChannel"] = noc_pb2.GetChannelResponse(channel=channel)
    command = [sys.executable, "-m", "nf.cli.main", "channel", "show", channel.id, "--watch", "--interval", "0.05"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"id"')
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate()
    assert (process.returncode, complaint) == (code, "")


def test_watching_alarms_in_a_pipe_prints_what_has_changed(nf: Nf, noc: FakeNoc) -> None:
    standing, more = (noc_pb2.ListAlarmsResponse(alarms=[samples.ALARM] * count) for count in (1, 2))
    replies = iter([standing, standing, more, UnavailableError("shutting down")])
    noc.answers["ListAlarms"] = lambda _: next(replies)
    assert nf("alarms", "--watch", "--interval", "0.05", "--cleared").out.count("path-down") == 3
    assert noc.requests("ListAlarms")[0].include_cleared


def test_a_broken_audit_chain_is_red(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["VerifyAudit"] = noc_pb2.VerifyAuditResponse(
        records=7, intact=False, first_broken=3, detail="hash differs"
    )
    answer = nf("audit", "verify", "--json")
    assert (answer.code, answer.json()["first_broken"]) == (9, 3)
    assert nf("audit", "verify").err.startswith("error: audit record 3: hash differs")


def test_diff_without_arguments_starts_at_the_last_revision_that_was_in_force(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["GetInfo"] = noc_pb2.GetInfoResponse(current_revision=4)
    noc.answers["ListRevisions"] = samples.REVISIONS
    noc.answers["DiffRevisions"] = noc_pb2.DiffRevisionsResponse()
    assert nf("lineup", "diff").out == "no difference\n"
    (request,) = noc.requests("DiffRevisions")
    assert (request.from_revision, request.to_revision) == (2, 0)


def test_diff_with_a_file_compares_the_current_revision_with_it(nf: Nf, noc: FakeNoc, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text("kind: LineUp")
    noc.answers["GetInfo"] = noc_pb2.GetInfoResponse(current_revision=4)
    noc.answers["DiffRevisions"] = samples.CHANGES
    assert nf("lineup", "diff", str(file), "--json").json()[0]["before"] == "101"
    (request,) = noc.requests("DiffRevisions")
    assert (request.from_revision, request.lineup.text) == (4, b"kind: LineUp")
    assert nf("lineup", "diff", str(file), "4").code == 2


def test_a_plan_in_words_and_who_was_not_asked(nf: Nf, noc: FakeNoc, golden: Golden, tmp_path: Path) -> None:
    file = tmp_path / "lineup.yaml"
    file.write_text("kind: LineUp")
    noc.answers["PlanLineUp"] = samples.PLAN
    window = noc_pb2.MaintenanceWindow(site="pop1", until=samples.AT)
    noc.answers["ListMaintenance"] = noc_pb2.ListMaintenanceResponse(windows=[window])
    noc.answers["ListAppliances"] = samples.APPLIANCES
    shown = nf("lineup", "plan", str(file))
    golden("lineup-plan", shown.out)
    assert "offline: pop2" in shown.err
    assert "pop1 is under maintenance until 2027-01-15 08:00:00+00:00" in shown.err
    assert nf("lineup", "plan", str(file), "--without", "pop2", "--without", "pop1").err == ""
    assert noc.requests("PlanLineUp")[1].without_sites == ["pop2", "pop1"]
    assert nf("lineup", "plan", str(file), "--json").json()["budget_ms"] == 42_000


def test_an_empty_plan(nf: Nf, noc: FakeNoc, tmp_path: Path) -> None:
    file = tmp_path / "lineup.yaml"
    file.write_text("kind: LineUp")
    noc.answers["PlanLineUp"] = noc_pb2.PlanLineUpResponse(empty=True)
    noc.answers["ListMaintenance"] = noc_pb2.ListMaintenanceResponse()
    noc.answers["ListAppliances"] = noc_pb2.ListAppliancesResponse()
    assert nf("lineup", "plan", str(file)).out.startswith("nothing to do")


def test_a_check_at_the_noc_lists_its_problems_as_one_error(nf: Nf, noc: FakeNoc, tmp_path: Path) -> None:
    file = tmp_path / "lineup.yaml"
    file.write_text("kind: LineUp")
    problem = common_pb2.Problem(
        rule="is full", remedy="widen it", file=str(file), line=3, column=5, key="k", value="v"
    )
    noc.answers["CheckLineUp"] = noc_pb2.CheckLineUpResponse(problems=[problem, problem])
    answer = nf("lineup", "check", str(file))
    assert answer.code == 2
    assert answer.err.count(f"{file}:3:5  k = v") == 2
    use = noc_pb2.LinkUse(link="c1-pop1", sender="c1", used_bps=2_000_000, capacity_bps=10_000_000)
    noc.answers["CheckLineUp"] = noc_pb2.CheckLineUpResponse(channels=2, appliances=8, links=[use])
    assert nf("lineup", "check", str(file)).out.endswith("good, 2 channels on 8 appliances\n")
    assert nf("lineup", "check", str(file), "--json").json()["links"] == [
        {"link": "c1-pop1", "sender": "c1", "used_bps": 2_000_000, "capacity_bps": 10_000_000}
    ]
    warned = noc_pb2.CheckLineUpResponse(channels=2, appliances=8, warnings=[problem])
    noc.answers["CheckLineUp"] = warned
    told = nf("lineup", "check", str(file))
    assert told.code == 0
    assert f"warning: {file}:3:5  k = v\n  is full\n  do: widen it" in told.out
    assert nf("lineup", "check", str(file), "--json").json()["warnings"][0]["rule"] == "is full"


def test_a_file_that_is_not_there_is_found_before_anything_is_asked(nf: Nf, noc: FakeNoc) -> None:
    answer = nf("lineup", "plan", "/nonexistent.yaml")
    assert (answer.code, noc.calls) == (2, [])
    assert answer.err.startswith("error: /nonexistent.yaml: cannot be read")
