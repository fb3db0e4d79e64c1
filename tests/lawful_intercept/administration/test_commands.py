"""`nf-li` itself: exit codes, errors as text or JSON, and no word of what an error was about."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lawful_intercept.commands import main as root
from lawful_intercept.commands.main import GROUPS, main
from nf.errors import StorageError


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NF_LI_PROFILE", str(tmp_path / "none"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "Lawful intercept"),
        (["status"], 6, "no officer's profile here"),
        (["warrant", "list"], 6, "no officer's profile here"),
        (["nothing"], 2, "No such command"),
        (["warrant", "approve"], 2, "Missing argument"),
        (["warrant", "submit", "absent.yaml"], 2, "cannot be read"),
        (["audit", "verify", "absent.db"], 2, "which key signed it"),
        (["run", "admf", "--config", "absent.yaml"], 7, "no such file"),
        (["officer", "add", "eve", "--role", "clerk", "--config", "absent.yaml"], 2, "first officer"),
    ],
)
def test_how_it_ends(arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert text in printed.out + printed.err


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 6
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["kind"], error["exit_code"]) == ("IdentityError", 6)
    assert error["remedy"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_crash_shows_its_place_and_no_word(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise ValueError("sip:alice@voice.example")

    monkeypatch.setattr(root, "_run", broken)
    assert main(["status", "--json"] if as_json else ["status"]) == 1
    printed = capsys.readouterr()
    assert "alice" not in printed.out + printed.err
    assert "internal error: ValueError at" in printed.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (StorageError("full"), 10),
        (ExceptionGroup("some", [StorageError("full")]), 10),
        (OSError(28, "No space left on device"), 10),
        (PermissionError(13, "denied", "file"), 6),
    ],
)
def test_other_ends(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends(_: object) -> int:
        raise error

    monkeypatch.setattr(root, "_run", ends)
    assert main(["status"]) == code
    assert capsys.readouterr().out == ""


def test_every_group_that_is_listed_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    listed = root.RootGroup(name="nf-li").list_commands(None)
    assert {"warrant", "officer", "agency", "element", "audit", "status", "alarms", "run", "pki"} <= set(listed)
    assert set(listed) <= set(GROUPS)
    for name in listed:
        assert main([name, "--help"]) == 0
        assert "Usage: nf-li" in capsys.readouterr().out


def test_forms_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for group in ("warrant", "agency"):
        assert main([group, "form"]) == 0
        assert capsys.readouterr().out.startswith("# A")


def test_help_is_quick_because_it_loads_little() -> None:
    code = "import sys; from lawful_intercept.commands.main import app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lxml", "cryptography", "starlette", "pydantic", "h11"} & set(loaded)
