"""`nf trafficops` as a person calls it, with a Traffic Ops recorded from its documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nf.cli.main import main
from nf.documents.loader import load_fleet
from tests.nf.media.hosting_players import DOCUMENTS
from tests.nf.media.trafficops.recorded import PASSWORD, USER, Recorded, recorded


@pytest.fixture
def ops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    with recorded() as made:
        for name, value in {"URL": made.url, "USER": USER, "PASSWORD_FILE": str(password)}.items():
            monkeypatch.setenv(f"NF_TRAFFICOPS_{name}", value)
        yield made


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["trafficops", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(said(capsys, *arguments, "--json"))


def test_an_import_is_shown_before_it_is_written(
    ops: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text((DOCUMENTS / "fleet.yaml").read_text())
    before = fleet.read_text()
    shown = said(capsys, "import", "--fleet", str(fleet), "--topology", "my-topology")
    assert "+    - {id: mid-west, description: Cache group Mid West}" in shown
    assert "nothing is written" in shown
    assert fleet.read_text() == before
    made = told(capsys, "import", "--fleet", str(fleet), "--write")
    assert made["written"] is True
    assert made["added"]["sites"] == ["edge-lyon", "mid-west"]
    assert load_fleet(fleet.read_bytes(), file="fleet.yaml").document.appliance("mid").site == "mid-west"
    assert told(capsys, "import", "--fleet", str(fleet), "--write")["written"] is False


def test_states_are_read_and_told(ops: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    states = {one["host"]: one["status"] for one in told(capsys, "status")}
    assert states == {"edge-1": "REPORTED", "edge-2": "ADMIN_DOWN", "mid": "REPORTED", "trafficops": "ONLINE"}
    made = told(capsys, "report", "edge-1", "admin_down", "--reason", "Bad drives")
    assert (made["before"], made["status"]) == ("REPORTED", "ADMIN_DOWN")
    assert ops.asked[-1][1:] == (
        "/api/5.0/servers/13/status",
        {"status": "ADMIN_DOWN", "offlineReason": "Bad drives"},
    )


def test_a_purge_is_a_job_and_jobs_can_be_taken_out(ops: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    made = told(capsys, "purge", "ch1", "--delivery-service", "demo1", "--mode", "refetch", "--ttl", "72")
    assert made["id"] == 1
    assert ops.asked[-1][2]["regex"] == "/ch1/.*"
    assert ops.asked[-1][2]["invalidationType"] == "REFETCH"
    assert told(capsys, "jobs", "demo1")[0]["id"] == 1
    assert told(capsys, "jobs", "demo1", "--remove", "1")[0]["type"] == "REFETCH"
    assert ops.asked[-1][0] == "DELETE"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("report", "edge-1", "DOWN"), "ADMIN_DOWN"),
        (("report", "edge-1", "OFFLINE"), "--reason"),
        (("report", "edge-9", "ONLINE"), "nf trafficops status"),
        (("import", "--fleet", "absent.yaml"), "fleet document"),
        (("import", "--fleet", str(DOCUMENTS / "fleet.yaml"), "--topology", "absent"), "my-topology"),
        (("purge", "ch1", "--delivery-service", "demo1", "--mode", "shred"), "REFETCH"),
        (("purge", "http://[", "--delivery-service", "demo1"), "http://HOST"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(
    ops: Recorded, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert main(["trafficops", *arguments]) != 0
    assert words in capsys.readouterr().err.replace("\n", " ")
