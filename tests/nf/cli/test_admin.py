"""Backup, support bundle, adoption and the NOC's own status, as a person types them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from nf.control.v1 import admin_pb2 as pb
from nf.control.v1 import noc_pb2
from tests.nf.cli.conftest import Nf
from tests.nf.cli.test_local import FLEET

PASSPHRASE = "four words that nobody guesses"


@pytest.fixture
def state(nf: Nf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    directory = tmp_path / "noc"
    made = nf("noc", "init", "--fleet", str(tmp_path / "fleet.yaml"), "--state-dir", str(directory))
    assert made.code == 0, made.err
    monkeypatch.setenv("NF_BACKUP_PASSPHRASE", PASSPHRASE)
    return directory


def test_a_backup_is_made_verified_and_restored(nf: Nf, state: Path, tmp_path: Path) -> None:
    file, new = str(tmp_path / "noc.backup"), str(tmp_path / "new")
    made = nf("backup", "create", file, "--state-dir", str(state), "--json")
    assert (made.code, made.json()["revision"], made.json()["audit_records"]) == (0, 1, 2)
    assert nf("backup", "verify", file).code == 0
    assert "need the passphrase" in nf("backup", "verify", file, "--digests-only").out
    restored = nf("backup", "restore", file, "--state-dir", new)
    assert (restored.code, restored.err) == (0, "")
    assert restored.out.splitlines()[-1] == "next: nf noc run"
    assert "revision" in restored.out.splitlines()[0]
    again = nf("backup", "restore", file, "--state-dir", new, "--json")
    assert again.error()["message"] == "is not empty"
    assert nf("operator", "add", "anna", "--role", "viewer", "--state-dir", new, "--output", f"{new}-anna").code == 0


def test_what_is_wrong_with_a_backup_is_said(
    nf: Nf, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "noc.backup"
    assert nf("backup", "create", str(file), "--state-dir", str(state)).code == 0
    assert nf("backup", "create", str(file), "--state-dir", str(state)).code != 0
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    cut = nf("backup", "restore", str(file), "--state-dir", str(tmp_path / "new"), "--json")
    assert "the part noc.db" in cut.error()["message"]
    assert not (tmp_path / "new").exists()
    file.write_bytes(whole)
    (tmp_path / "words").write_text("other words than these\nsecond line\n")
    wrong = nf("backup", "verify", str(file), "--passphrase-file", str(tmp_path / "words"), "--json")
    assert "passphrase" in wrong.error()["message"]
    (tmp_path / "tail").write_bytes(whole + b"x")
    longer = nf("backup", "verify", str(tmp_path / "tail"), "--json").error()
    assert "behind its parts" in longer["message"]
    monkeypatch.delenv("NF_BACKUP_PASSPHRASE")
    assert "no passphrase is given" in nf("backup", "verify", str(file), "--json").error()["message"]


@pytest.mark.parametrize("command", ["verify", "restore"])
def test_nobody_is_asked_for_the_passphrase_of_a_backup_that_is_not_there(
    nf: Nf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delenv("NF_BACKUP_PASSPHRASE", raising=False)
    answer = nf("backup", command, str(tmp_path / "absent"), "--json")
    assert (answer.code, answer.error()["where"]) == (7, str(tmp_path / "absent"))


def test_no_directory_is_made_where_a_disk_should_be(nf: Nf, noc: Any, state: Path, tmp_path: Path) -> None:
    file = tmp_path / "mnt" / "noc.backup"
    for answer in (
        nf("backup", "create", str(file), "--state-dir", str(state), "--json"),
        nf("support-bundle", str(file), "--json"),
    ):
        assert (answer.code, answer.error()["where"]) == (7, str(file.parent))
    assert not file.parent.exists()
    assert noc.calls == []


def test_the_status_tells_how_old_the_copy_is(nf: Nf, noc: Any) -> None:
    status = pb.GetStatusResponse(software_version="1.2", current_revision=7, appliances=8, online=7, alarms=1)
    noc.answers["GetStatus"] = status
    assert "none: run the NOC with --replica DIR" in nf("noc", "status").out
    status.replica.CopyFrom(pb.Replica(directory="/mnt/second", age_s=90, stale=True, error="no space left"))
    shown = nf("noc", "status").out
    assert "/mnt/second, 90 s old, STALE" in shown
    assert "no space left" in shown
    assert nf("noc", "status", "--json").json()["replica"]["stale"] is True


def test_a_bundle_comes_whole_or_not_at_all(nf: Nf, noc: Any, tmp_path: Path) -> None:
    file = tmp_path / "support.tar.gz"
    pieces = [
        pb.SupportPiece(text="pop1: 12 files", done=1, total=2),
        pb.SupportPiece(text="pop2: is offline", done=2, total=2),
        pb.SupportPiece(data=b"first "),
        pb.SupportPiece(data=b"second"),
    ]
    noc.answers["CollectSupport"] = [*pieces, pb.SupportPiece(sha256="00")]
    assert nf("support-bundle", str(file)).code != 0
    assert not file.exists()
    noc.answers["CollectSupport"] = [*pieces, pb.SupportPiece(sha256=hashlib.sha256(b"first second").hexdigest())]
    made = nf("support-bundle", str(file), "--appliance", "pop1", "--appliance", "pop2")
    assert made.code == 0
    assert "2/2  pop2: is offline" in made.err
    assert file.read_bytes() == b"first second"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(noc.requests("CollectSupport")[-1].appliances) == ["pop1", "pop2"]


def test_adopted_documents_are_written_once(nf: Nf, noc: Any, tmp_path: Path) -> None:
    noc.answers["AdoptLineUp"] = pb.AdoptLineUpResponse(
        fleet=noc_pb2.DocumentText(file="fleet.yaml", text=b"kind: Fleet\n"),
        lineup=noc_pb2.DocumentText(file="lineup.yaml", text=b"kind: LineUp\n"),
        doubts=["lineup.spec.channels[0].lcn"],
        appliances=8,
        channels=2,
    )
    output = tmp_path / "adopted"
    made = nf("lineup", "adopt", "--site", "pop1", "--output", str(output))
    assert (made.code, made.err) == (0, "please check  lineup.spec.channels[0].lcn\n")
    assert (output / "lineup.yaml").read_text() == "kind: LineUp\n"
    assert noc.requests("AdoptLineUp")[-1].site == "pop1"
    assert "exists already" in nf("lineup", "adopt", "--output", str(output), "--json").error()["message"]
