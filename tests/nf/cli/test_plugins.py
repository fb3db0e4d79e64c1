"""Domains add commands; a broken one takes nothing with it. And what the shell is told about names."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
import typer

from nf.cli import plugins
from nf.control.v1 import noc_pb2
from tests.nf.cli import samples
from tests.nf.cli.conftest import FakeNoc, Nf

good = typer.Typer()


@good.callback()
def _group() -> None:
    """Good things."""


@good.command("hello")
def _hello(name: str) -> None:
    """Say it."""
    if name == "nobody":
        raise typer.Exit(42)
    typer.echo(f"hello {name}")


@pytest.fixture(autouse=True)
def _domains(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        [
            EntryPoint("good", f"{__name__}:good", plugins.GROUP),
            EntryPoint("broken", "no_such_module:app", plugins.GROUP),
            EntryPoint("lineup", "no_such_module:app", plugins.GROUP),
        ]
    )

    class Point(EntryPoint):
        def load(self) -> Any:
            return good if self.name == "good" else super().load()

    own = EntryPoints(Point(point.name, point.value, point.group) for point in points)
    monkeypatch.setattr(plugins, "entry_points", own.select)


def test_a_domains_commands_are_listed_and_run(nf: Nf) -> None:
    assert "Good things." in nf("--help").out
    assert nf("good", "hello", "anna").out == "hello anna\n"


def test_a_domains_exit_code_is_passed_on(nf: Nf) -> None:
    assert nf("good", "hello", "nobody").code == 42


def test_a_broken_domain_is_listed_with_the_reason_and_refuses_alone(nf: Nf) -> None:
    assert "not available" in nf("--help").out
    for arguments in (("broken",), ("broken", "--help"), ("broken", "up", "--fast")):
        answer = nf(*arguments)
        assert answer.code == 5
        assert answer.err.startswith("error: nf broken: the commands of this domain cannot be loaded: ModuleNotFound")
    assert nf("version").code == 0


def test_a_domain_cannot_take_the_name_of_a_command(nf: Nf) -> None:
    assert "rollback" in nf("lineup", "--help").out


@pytest.mark.parametrize("command", list(plugins.BUILT_IN))
def test_every_command_has_help(nf: Nf, command: str) -> None:
    answer = nf(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"nf {command}" in answer.out


def complete(nf: Nf, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What bash offers behind `line`."""
    monkeypatch.setenv("_NF_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    return nf().out.split()


def test_names_come_from_the_noc(nf: Nf, noc: FakeNoc, monkeypatch: pytest.MonkeyPatch) -> None:
    noc.answers["ListAppliances"] = samples.APPLIANCES
    noc.answers["ListChannels"] = noc_pb2.ListChannelsResponse(channels=[samples.CHANNEL_UP, samples.CHANNEL_DOWN])
    noc.answers["ListRevisions"] = samples.REVISIONS
    assert complete(nf, monkeypatch, "nf channel show ") == ["ch1", "ch2"]
    assert complete(nf, monkeypatch, "nf appliance show he") == ["headend"]
    assert complete(nf, monkeypatch, "nf lineup commit x.yaml --without ") == ["hub", "pop2"]
    assert complete(nf, monkeypatch, "nf lineup rollback --to ") == ["4", "3", "2"]
    assert complete(nf, monkeypatch, "nf override add headend ") == ["frr", "interfaces"]
    assert complete(nf, monkeypatch, "nf schema Li") == ["LineUp"]


def test_completion_is_silent_when_nobody_answers(nf: Nf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NF_PROFILE", "/nonexistent")
    assert complete(nf, monkeypatch, "nf channel show ") == []


def test_commands_complete_too(nf: Nf, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(nf, monkeypatch, "nf line") == ["lineup"]
    assert "hello" in complete(nf, monkeypatch, "nf good ")
