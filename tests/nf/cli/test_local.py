"""What needs no NOC: offline checks, schemas, the NOC's own machine, profiles, hosted processes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nf.cli.commands.supervisor import agent_unit
from nf.cli.daemon import serve, start_logging
from nf.cli.nocside import Settings
from nf.cli.profile import SYSTEM_PROFILE, load_profile, profile_directory
from nf.errors import InputError
from tests.nf.cli.conftest import Nf

FLEET = """\
apiVersion: streamverse.nf/v1
kind: Fleet
metadata: {name: small}
spec:
  sites: [{id: hub, criticality: required}]
  appliances:
    - {id: one, site: hub, role: core, serial: SN-1, management: 192.0.2.1, loopback: 10.255.0.1}
"""
EMPTY = "apiVersion: streamverse.nf/v1\nkind: LineUp\nmetadata: {name: empty}\nspec: {}\n"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    return file


@pytest.fixture
def lineup(tmp_path: Path) -> Path:
    file = tmp_path / "lineup.yaml"
    file.write_text(EMPTY)
    return file


def test_a_check_with_both_documents_needs_nobody(nf: Nf, fleet: Path, lineup: Path) -> None:
    answer = nf("lineup", "check", str(lineup), "--fleet", str(fleet))
    assert (answer.code, answer.out, answer.err) == (0, f"{lineup}: good, 0 channels on 1 appliance\n", "")
    shown = nf("lineup", "check", str(lineup), "--fleet", str(fleet), "--json")
    assert shown.json() == {"channels": 0, "appliances": 1, "links": [], "warnings": []}


def test_problems_of_both_documents_come_together(nf: Nf, fleet: Path, lineup: Path) -> None:
    fleet.write_text(FLEET.replace("serial", "cereal"))
    lineup.write_text(EMPTY.replace("spec: {}", "spec: {chanels: []}"))
    answer = nf("lineup", "check", str(lineup), "--fleet", str(fleet), "--json")
    assert answer.code == 2
    assert {problem["file"] for problem in answer.error()["problems"]} == {str(fleet), str(lineup)}
    assert all(problem["line"] and problem["remedy"] for problem in answer.error()["problems"])


def test_schema(nf: Nf, tmp_path: Path) -> None:
    everything = nf("schema").json()
    assert {"LineUp", "Fleet"} <= set(everything)
    assert nf("schema", "lineup").json() == everything["LineUp"]
    assert nf("schema", "nonsense").code == 7
    written = nf("schema", "--write", str(tmp_path / "schema"))
    files = [Path(line) for line in written.out.splitlines()]
    assert nf("schema", "--json").json() == everything
    assert nf("schema", "--json", "--write", str(tmp_path / "schema")).json() == written.out.splitlines()
    assert len(files) == len(everything)
    assert all(json.loads(file.read_text()) in everything.values() for file in files)
    # The names that the samples' editor hints use.
    published = Path(__file__).parents[3] / "docs" / "schema"
    assert {file.name: file.read_text() for file in files} == {f.name: f.read_text() for f in published.iterdir()}


def test_version(nf: Nf) -> None:
    shown = nf("version", "--json").json()
    assert shown["name"] == "streamverse-nf"
    assert nf("version").out.startswith(f"streamverse-nf {shown['version']} ")


def test_a_noc_is_set_up_once_and_makes_operators(nf: Nf, fleet: Path, tmp_path: Path) -> None:
    state, mine = ("--state-dir", str(tmp_path / "noc")), tmp_path / "anna"
    assert nf("operator", "list", *state).code == 7
    first = nf(
        "noc", "init", "--fleet", str(fleet), "--address", "noc.test:9443", "--address", "192.0.2.9:9443", *state
    )
    assert first.code == 0, first.err
    assert nf("noc", "init", "--fleet", str(fleet), *state).code == 3
    added = nf("operator", "add", "anna", "--role", "engineer", "--site", "hub", "--output", str(mine), *state)
    assert added.code == 0, added.err
    assert added.out.startswith("spiffe://streamverse.test/operator/anna is engineer")
    assert mine.stat().st_mode & 0o777 == 0o700
    profile = load_profile(mine)
    assert (profile.noc, profile.identity.spiffe_id.name) == ("noc.test:9443", "anna")
    assert nf("operator", "add", "anna", "--role", "engineer", "--output", str(tmp_path / "x"), *state).code == 3
    assert nf("operator", "add", "bob", "--role", "viewer", "--output", str(mine), *state).code == 3
    (record,) = nf("operator", "list", "--json", *state).json()
    assert (record["name"], record["role"], record["sites"]) == ("anna", "engineer", ["hub"])
    assert nf("operator", "list", *state).out.splitlines()[-1].split()[:3] == ["anna", "engineer", "hub"]
    assert nf("operator", "remove", "anna", *state).code == 0
    assert nf("operator", "list", "--json", *state).json() == []


def test_a_role_that_does_not_exist(nf: Nf) -> None:
    answer = nf("operator", "add", "anna", "--role", "king")
    assert answer.code == 2
    assert "viewer, operator, engineer, security" in answer.err


def test_a_noc_that_was_never_set_up(nf: Nf, tmp_path: Path) -> None:
    answer = nf("noc", "run", "--state-dir", str(tmp_path))
    assert answer.code == 7
    assert "nf noc init" in answer.err


def test_a_fleet_with_an_error_makes_no_noc(nf: Nf, fleet: Path, tmp_path: Path) -> None:
    fleet.write_text("kind: Fleet")
    assert nf("noc", "init", "--fleet", str(fleet), "--state-dir", str(tmp_path / "noc")).code == 2
    assert not (tmp_path / "noc").exists()


def test_addresses_of_a_noc() -> None:
    found = Settings.of(["noc:7443", "[2001:db8::1]:7443", "noc:7443"])
    assert found == Settings("[::]:7443", "[::]:7444", ("noc", "2001:db8::1"))
    assert found.dialled == "noc:7443"
    assert Settings.of(["[2001:db8::1]:1"]).dialled == "[2001:db8::1]:1"
    assert Settings.of([]).address == "[::]:7443"


@pytest.mark.parametrize("addresses", [["noc"], ["noc:x"], [":1"], ["noc:0"], ["noc:65535"], ["a:1", "b:2"]])
def test_addresses_that_are_none(addresses: list[str]) -> None:
    with pytest.raises(InputError):
        Settings.of(addresses)


class TestProfile:
    def test_none_is_said_with_what_to_do(self, nf: Nf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NF_PROFILE", raising=False)
        answer = nf("alarms")
        assert answer.code == 6
        assert "nf operator add" in answer.err

    def test_where_it_is_looked_for(self, nf: Nf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("NF_PROFILE", raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.setattr("nf.cli.profile.SYSTEM_PROFILE", tmp_path / "system")
        assert profile_directory() == tmp_path / "nf"
        (tmp_path / "system").mkdir()
        (tmp_path / "system" / "profile.json").write_text("{}")
        assert profile_directory() == tmp_path / "system"
        (tmp_path / "nf").mkdir()
        (tmp_path / "nf" / "profile.json").write_text("{}")
        assert profile_directory() == tmp_path / "nf"
        monkeypatch.setenv("NF_PROFILE", str(tmp_path / "env"))
        assert profile_directory() == tmp_path / "env"
        assert profile_directory(tmp_path / "option") == tmp_path / "option"

    def test_the_option_counts_before_and_behind_the_command(self, nf: Nf, tmp_path: Path) -> None:
        for arguments in (("--profile", str(tmp_path), "alarms"), ("alarms", "--profile", str(tmp_path))):
            assert nf(*arguments).err.startswith(f"error: {tmp_path}: no operator profile here")

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"noc": 7}'])
    def test_a_damaged_one(self, nf: Nf, tmp_path: Path, text: str) -> None:
        (tmp_path / "profile.json").write_text(text)
        answer = nf("alarms", "--profile", str(tmp_path))
        assert answer.code == 2
        assert answer.err.startswith(f"error: {tmp_path}/profile.json: ")

    def test_the_machines_own_is_in_etc(self) -> None:
        assert Path("/etc/nf/operator") == SYSTEM_PROFILE


class TestDaemon:
    @pytest.fixture(autouse=True)
    def _logging(self) -> Iterator[None]:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        yield
        root.handlers[:] = handlers
        root.setLevel(level)

    def test_sigterm_ends_it_in_order(self) -> None:
        seen: list[str] = []

        async def work() -> None:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cleaned up")

        serve(work())
        assert seen == ["cleaned up"]

    def test_its_error_comes_out(self) -> None:
        async def work() -> None:
            raise InputError("no")

        with pytest.raises(InputError):
            serve(work())

    def test_log_lines_are_utc_and_levels_are_checked(self, capsys: pytest.CaptureFixture[str]) -> None:
        start_logging("info")
        logging.getLogger("nf.test").info("hello")
        assert capsys.readouterr().err.rstrip().endswith("Z INFO nf.test: hello")
        with pytest.raises(InputError):
            start_logging("loud")

    def test_the_supervisor_starts_the_agent_of_its_own_installation(self) -> None:
        unit = agent_unit(Path("/run/x"), Path("/var/x"), "info")
        assert unit.name == "agent"
        assert unit.argv[1:5] == ("-m", "nf.cli.main", "agent", "run")
        assert unit.restart
