"""Unit files as text, and what systemd says as states: nothing runs here."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec, UnitState
from nf.errors import InputError
from nf.supervisor.systemd import names, wait
from nf.supervisor.systemd.records import Kept, from_json, to_json
from nf.supervisor.systemd.render import quoted, render, restart_delay
from nf.supervisor.systemd.states import last_exit, state_of, status_of
from tests.nf.supervisor.test_protocol import names as unit_names
from tests.nf.supervisor.test_protocol import specs


def lines(spec: UnitSpec, **more: object) -> list[str]:
    return render(spec, **more).splitlines()  # type: ignore[arg-type]


@given(unit_names)
def test_a_name_comes_back_from_its_file_and_from_its_object(name: str) -> None:
    file = names.service(name)
    assert names.unit_of(file) == name
    assert names.file_of(names.object_path(file)) == file


@pytest.mark.parametrize(
    "file", ["nf-.service", "nf-A.service", "ssh.service", "nf-x.socket", "nf-a@b.service", "nf-\\xff.service"]
)
def test_a_file_that_is_no_unit_of_ours(file: str) -> None:
    assert names.unit_of(file) is None


@given(specs)
def test_every_definition_is_a_file_or_refused_and_no_text_becomes_a_line_of_its_own(spec: UnitSpec) -> None:
    try:
        text = render(spec)
    except InputError:
        return
    assert all("=" in line or line.startswith("[") or not line for line in text.splitlines())
    assert sum(line.startswith("ExecStart=") for line in text.splitlines()) == 1
    assert not any(ord(letter) < 32 and letter != "\n" for letter in text)


@given(specs, st.booleans(), st.none() | specs)
def test_a_record_survives_the_disk(spec: UnitSpec, wanted: bool, old: UnitSpec | None) -> None:
    kept = Kept(spec, wanted, old, "ab" if old else "")
    assert from_json(__import__("json").dumps(to_json(kept))) == kept


def test_what_is_running_is_told_by_its_invocation() -> None:
    old, new = UnitSpec("x", ("old",)), UnitSpec("x", ("new",))
    kept = Kept(new, True, old, "aa")
    properties = {"ActiveState": "active", "MainPID": 7, "InvocationID": b"\xaa"}
    assert status_of(kept, properties).spec == old
    assert status_of(kept, properties | {"InvocationID": b"\xbb"}).spec == new
    assert status_of(kept, {"ActiveState": "inactive"}).spec == new


def test_words_are_escaped_for_systemd() -> None:
    assert quoted('a"b\\c%d$e\n\t\x01é') == '"a\\"b\\\\c%%d$e\\n\\t\\x01é"'
    assert 'ExecStart=":/bin/x" "%%i" "$HOME" ""' in lines(UnitSpec("x", ("/bin/x", "%i", "$HOME", "")))


@pytest.mark.parametrize("program", ["@x", "-x", "+x", "a b", "a'b", '/a"b', "", "x/y"])
def test_a_program_that_systemd_would_read_otherwise_is_refused(program: str) -> None:
    with pytest.raises(InputError):
        render(UnitSpec("x", (program,)))


@pytest.mark.parametrize(
    "sandbox",
    [
        Sandbox(capabilities=("NET_ADMIN",)),
        Sandbox(families=("INET",)),
        Sandbox(writable=(Path("relative"),)),
        Sandbox(writable=(Path("/a b"),)),
        Sandbox(writable=(Path("/a/../b"),)),
        Sandbox(devices=("/etc/passwd",)),
        Sandbox(user="a\nExecStartPre=+/bin/sh"),
        Sandbox(system_calls=("~@setuid",)),
    ],
)
def test_rights_that_are_none_are_refused(sandbox: Sandbox) -> None:
    with pytest.raises(InputError):
        render(UnitSpec("x", ("true",), sandbox=sandbox))


def test_the_least_rights_are_the_default() -> None:
    text = lines(UnitSpec("x", ("true",)), hidden=(Path("/etc/nf"),))
    expected = {
        *("CapabilityBoundingSet=", "AmbientCapabilities=", "RestrictAddressFamilies=none", "PrivateNetwork=yes"),
        *("ProtectSystem=strict", "PrivateUsers=yes", "MemoryDenyWriteExecute=yes", "InaccessiblePaths=-/etc/nf"),
    }
    assert expected <= set(text)
    assert not any(line.startswith(("ReadWritePaths", "SystemCallFilter=@privileged", "User=")) for line in text)


def test_what_is_hidden_is_opened_where_the_sandbox_names_it() -> None:
    sandbox = Sandbox(writable=(Path("/var/lib/nf/x"), Path("/run/nf/x")), readable=(Path("/etc/nf/secrets"),))
    text = lines(UnitSpec("x", ("true",), sandbox=sandbox), hidden=(Path("/etc/nf"), Path("/var/lib/nf")))
    assert {
        *("TemporaryFileSystem=/etc/nf:ro", "BindReadOnlyPaths=/etc/nf/secrets"),
        *("TemporaryFileSystem=/var/lib/nf:ro", "BindPaths=/var/lib/nf/x", "ReadWritePaths=/run/nf/x"),
    } <= set(text)


def test_a_right_opens_its_system_calls_after_they_were_closed() -> None:
    sandbox = Sandbox(capabilities=("CAP_SETUID",), system_calls=("capset",))
    filters = [line for line in lines(UnitSpec("x", ("true",), sandbox=sandbox)) if line.startswith("SystemCallFilter")]
    assert filters[0] == "SystemCallFilter=@system-service"
    assert filters[1].startswith("SystemCallFilter=~")
    assert filters[2:] == ["SystemCallFilter=@setuid capset"]


def test_a_restart_waits_the_mean_or_doubles_where_systemd_can() -> None:
    spec = UnitSpec("x", ("true",), backoff_first_s=0.1, backoff_last_s=10.0)
    assert restart_delay(spec) == pytest.approx(1.0)
    assert "RestartSec=1" in lines(spec, version=252)
    assert {"RestartSec=0.1", "RestartMaxDelaySec=10", "RestartSteps=7"} <= set(lines(spec, version=257))
    assert "Restart=no" in lines(UnitSpec("x", ("true",), restart=False))


def test_the_family_of_the_readiness_is_added() -> None:
    ready = Readiness(ReadyKind.TCP, "[::1]:80")
    assert "RestrictAddressFamilies=AF_INET6" in lines(UnitSpec("x", ("true",), ready=ready))
    with pytest.raises(InputError):
        render(UnitSpec("x", ("true",), ready=Readiness(ReadyKind.TCP, "nowhere")))


@pytest.mark.parametrize(
    ("properties", "wanted", "state"),
    [
        ({"ActiveState": "active", "SubState": "running"}, True, UnitState.READY),
        ({"ActiveState": "activating", "SubState": "start-post"}, True, UnitState.STARTING),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, True, UnitState.BACKOFF),
        ({"ActiveState": "deactivating", "SubState": "stop-sigterm"}, True, UnitState.STOPPING),
        ({"ActiveState": "inactive", "SubState": "dead"}, False, UnitState.STOPPED),
        ({"ActiveState": "inactive", "Job": (7, "/job/7")}, True, UnitState.WAITING),
        ({"ActiveState": "inactive", "Job": (0, "/")}, True, UnitState.STOPPED),
        ({"ActiveState": "failed"}, True, UnitState.FAILED),
        ({"ActiveState": "failed"}, False, UnitState.STOPPED),
        ({}, True, UnitState.STOPPED),
    ],
)
def test_states(properties: dict[str, object], wanted: bool, state: UnitState) -> None:
    assert state_of(properties, wanted=wanted) is state


@pytest.mark.parametrize(
    ("code", "status", "result", "text"),
    [
        (0, 0, "success", ""),
        (1, 3, "exit-code", "exit 3"),
        (1, 226, "exit-code", "exit 226 (its sandbox cannot be set up: a directory it names is missing)"),
        (2, 9, "signal", "signal SIGKILL"),
        (2, 15, "exit-code", "not ready within 30 s, signal SIGTERM"),
    ],
)
def test_how_it_ended(code: int, status: int, result: str, text: str) -> None:
    properties = {"ExecMainCode": code, "ExecMainStatus": status, "Result": result}
    assert last_exit(properties, UnitSpec("x", ("x",))) == text


def test_waiting_for_readiness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, missing = tmp_path / "there", str(tmp_path / "missing")
    there.touch()
    monkeypatch.setenv("MAINPID", str(os.getpid()))
    assert wait.main(["file", str(there), "1"]) == 0
    assert wait.main(["file", missing, "0.05"]) == wait.NOT_READY
    assert "not ready within 0.05 s" in capsys.readouterr().err
    assert wait.main(["tcp", "nowhere", "1"]) == wait.WRONG
    assert wait.main(["smoke", "signal", "1"]) == wait.WRONG
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert wait.main(["tcp", f"127.0.0.1:{port}", "0.05"]) == wait.NOT_READY
        server.listen()
        assert wait.main(["tcp", f"127.0.0.1:{port}", "1"]) == 0
    monkeypatch.setenv("MAINPID", str(2**22 - 1))
    assert wait.main(["file", missing, "5"]) == wait.PROGRAM_ENDED
