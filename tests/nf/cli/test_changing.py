"""The commands that change: requests, progress, verdicts and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nf.control.errors import to_info
from nf.control.v1 import noc_pb2
from nf.errors import BusyError, CommitRefused, DriverError, Problem
from tests.nf.cli import samples
from tests.nf.cli.conftest import FakeNoc, Nf

Event = noc_pb2.CommitEvent


@pytest.fixture
def lineup(tmp_path: Path) -> Path:
    file = tmp_path / "lineup.yaml"
    file.write_text("kind: LineUp")
    return file


PROGRESS = [
    Event(phase="validate", done=0, total=8, revision=5),
    Event(phase="validate", done=0, total=8, revision=5),
    Event(phase="validate", done=8, total=8, revision=5),
    Event(phase="apply", stage=0, stages=2, done=1, total=8, appliance="pop1", text="opening [the] gate"),
    Event(phase="verify", stages=2, done=8, total=8),
]


def end(outcome: noc_pb2.Outcome.ValueType, **values: object) -> Event:
    return Event(transaction="t-1", revision=5, outcome=outcome, **values)


def test_a_confirmed_commit_with_plain_progress(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    noc.answers["CommitLineUp"] = [*PROGRESS, end(noc_pb2.OUTCOME_CONFIRMED)]
    answer = nf("lineup", "commit", str(lineup), "--comment", "why")
    assert answer.code == 0
    assert answer.out == "confirmed: revision 5 on 8 appliances\n"
    assert [line.split() for line in answer.err.splitlines()] == [
        ["validate", "0/8"],
        ["validate", "8/8"],
        ["apply", "stage", "1/2", "1/8", "pop1:", "opening", "[the]", "gate"],
        ["verify", "8/8"],
    ]


def test_what_a_commit_asks_for(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    noc.answers["CommitLineUp"] = [end(noc_pb2.OUTCOME_HELD, held_until=samples.AT)]
    options = ("--confirm", "5m", "--without", "pop1", "--without", "pop2", "--accept", "-m", "why")
    answer = nf("lineup", "commit", str(lineup), "--fleet", str(lineup), *options)
    (request,) = noc.requests("CommitLineUp")
    assert answer.code == 0
    assert answer.out.startswith("held: revision 5 runs; `nf lineup confirm` before 2027-01-15 08:00:00+00:00 keeps it")
    assert (request.lineup.file, request.lineup.text) == (str(lineup), b"kind: LineUp")
    assert request.HasField("fleet")
    assert (request.confirm_within_s, request.without_sites) == (300, ["pop1", "pop2"])
    assert (request.accept_irreversible, request.comment) == (True, "why")


def test_a_commit_that_drains_first_asks_for_it_and_tells_what_was_dropped(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    drained = [noc_pb2.DrainedFirst(operation="drain", object="edge1", before=1204, left=12, text="12 left")]
    drains = Event(phase="drain", done=0, total=1, appliance="pop1", text="12 sessions left on edge1")
    noc.answers["CommitLineUp"] = [drains, end(noc_pb2.OUTCOME_CONFIRMED, drained=drained)]
    answer = nf("lineup", "commit", str(lineup), "--drain", "10m", "--drain-then", "drop")
    assert answer.out.startswith("confirmed: revision 5")
    assert answer.out.endswith("; edge1 still had 12 of 1,204\n")
    assert answer.err.split() == ["drain", "0/1", "pop1:", "12", "sessions", "left", "on", "edge1"]
    shown = nf("lineup", "commit", str(lineup), "--json").json()
    assert (shown["drained"][0]["object"], shown["drained"][0]["left"]) == ("edge1", 12)
    asked = [(request.drain_s, request.drain_drops) for request in noc.requests("CommitLineUp")]
    assert asked == [(600, True), (0, False)]


def test_a_rollback_of_what_drains_tells_that_it_is_stopped(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["RollbackLineUp"] = [Event(outcome=noc_pb2.OUTCOME_UNDONE, text="nothing is kept off any more")]
    answer = nf("lineup", "rollback", "--drain", "1m")
    assert (answer.code, answer.out) == (0, "stopped as asked: nothing is kept off any more\n")
    assert noc.requests("RollbackLineUp")[0].drain_s == 60


@pytest.mark.parametrize("time", ["5", "soon", "10ms"])
def test_a_time_without_its_unit_or_below_a_second_is_refused_here(
    nf: Nf, noc: FakeNoc, lineup: Path, time: str
) -> None:
    answer = nf("lineup", "commit", str(lineup), "--confirm", time)
    assert (answer.code, noc.calls) == (2, [])
    assert answer.err.startswith(f"error: --confirm {time}: ")


def test_refused_says_who_and_why_and_that_nothing_changed(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    why = CommitRefused("pop2 cannot", remedy="bring it back", problems=[Problem("is offline", "power", key="pop2")])
    noc.answers["CommitLineUp"] = [*PROGRESS, end(noc_pb2.OUTCOME_REFUSED, error=to_info(why))]
    answer = nf("lineup", "commit", str(lineup))
    assert answer.code == 3
    assert "error: revision 5: refused; nothing was changed: pop2 cannot\n  pop2: is offline" in answer.err


def test_undone_has_its_own_code_and_the_cause(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    why = DriverError("nft did not take the table", where="pop2/multicast-tree")
    noc.answers["CommitLineUp"] = [*PROGRESS, end(noc_pb2.OUTCOME_UNDONE, error=to_info(why))]
    answer = nf("lineup", "commit", str(lineup), "--json")
    assert answer.code == 4
    assert (answer.json()["outcome"], answer.json()["error"]["kind"]) == ("undone", "DriverError")
    shown = json.loads(answer.err.splitlines()[-1])["error"]
    assert (shown["kind"], shown["exit_code"]) == ("DriverError", 4)
    assert shown["where"] == "revision 5 pop2/multicast-tree"


def test_an_error_status_instead_of_an_outcome(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    noc.answers["CommitLineUp"] = BusyError("a commit of bob runs", where="fleet")
    assert nf("lineup", "commit", str(lineup)).code == 8
    noc.answers["CommitLineUp"] = [*PROGRESS, CommitRefused("changed its mind")]
    assert nf("lineup", "commit", str(lineup)).code == 3


def test_an_answer_that_ends_without_an_outcome_is_no_success(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    noc.answers["CommitLineUp"] = PROGRESS
    answer = nf("lineup", "commit", str(lineup))
    assert answer.code == 5
    assert "nf lineup history" in answer.err


def test_unchanged(nf: Nf, noc: FakeNoc, lineup: Path) -> None:
    noc.answers["CommitLineUp"] = [end(noc_pb2.OUTCOME_UNCHANGED)]
    answer = nf("lineup", "commit", str(lineup))
    assert (answer.code, answer.out[:10]) == (0, "unchanged:")


def test_confirm_and_rollback(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ConfirmLineUp"] = [end(noc_pb2.OUTCOME_CONFIRMED)]
    noc.answers["RollbackLineUp"] = [end(noc_pb2.OUTCOME_CONFIRMED, text="back to revision 2")]
    assert nf("lineup", "confirm").out == "confirmed: revision 5\n"
    assert nf("lineup", "rollback", "--to", "2").out == "confirmed: revision 5; back to revision 2\n"
    assert noc.requests("RollbackLineUp")[0].to_revision == 2
    shown = nf("lineup", "rollback", "--json").json()
    assert set(shown) == {"outcome", "revision", "transaction", "held_until", "text", "error", "drained"}
    assert (shown["outcome"], shown["error"]) == ("confirmed", None)


def test_a_rollback_of_what_is_held_did_what_was_asked(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["RollbackLineUp"] = [end(noc_pb2.OUTCOME_UNDONE, text="taken back by alice")]
    answer = nf("lineup", "rollback")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "undone as asked: revision 5, which was held, is taken back by alice\n"
    shown = nf("lineup", "rollback", "--json")
    assert (shown.code, shown.json()["outcome"], shown.json()["error"]) == (0, "undone", None)


def test_an_enrolment_file_is_its_owners_alone(nf: Nf, noc: FakeNoc, tmp_path: Path) -> None:
    noc.answers["IssueEnrolmentToken"] = noc_pb2.IssueEnrolmentTokenResponse(
        enrolment_json=b'{"token": "t"}', expires_at=samples.AT
    )
    file = tmp_path / "enrolment.json"
    file.write_text("old")
    answer = nf("appliance", "enroll", "pop1", "--ttl", "90s", "--output", str(file))
    assert (answer.code, answer.out) == (0, "")
    assert "2027-01-15 08:00:00+00:00" in answer.err
    assert json.loads(file.read_text()) == {"token": "t"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert noc.requests("IssueEnrolmentToken")[0].ttl_s == 90
    assert nf("appliance", "enroll", "pop1", "--output", "-").json() == {"token": "t"}


def test_overrides(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["AddOverride"] = samples.OVERRIDE
    noc.answers["EndOverride"] = noc_pb2.EndOverrideResponse()
    answer = nf("override", "add", "pop2", "frr", '{"router_id": null}', "--ttl", "1h", "--reason", "spare")
    (request,) = noc.requests("AddOverride")
    assert answer.out == "override o-1 on pop2/frr until 2027-01-15 09:00:00+00:00\n"
    assert (json.loads(request.patch_json), request.ttl_s, request.reason) == ({"router_id": None}, 3600, "spare")
    assert nf("override", "end", "pop2", "o-1").code == 0
    assert noc.requests("EndOverride")[0].id == "o-1"


@pytest.mark.parametrize("patch", ["{", "[]", "7"])
def test_a_patch_that_is_no_object_is_refused_here(nf: Nf, noc: FakeNoc, patch: str) -> None:
    answer = nf("override", "add", "pop2", "frr", patch, "--ttl", "1h", "--reason", "x")
    assert (answer.code, noc.calls) == (2, [])
    assert answer.err.startswith("error: PATCH-JSON: ")
