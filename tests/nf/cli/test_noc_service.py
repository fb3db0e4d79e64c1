"""`nf noc service` on the NOC's machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nf.cli.main import main
from nf.contracts.service import ServiceContext
from nf.documents.model import DocumentModel
from tests.support.fleet import Place, fleet_text


class EchoSettings(DocumentModel):
    address: str
    words: tuple[str, ...] = ()
    times: int = 1


class Echo:
    name = "echo"
    settings: type[DocumentModel] = EchoSettings

    async def run(self, context: ServiceContext) -> None:
        raise AssertionError("commands start nothing")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("nf.noc.services.load_services", lambda: (Echo(),))
    fleet = tmp_path / "fleet.json"
    fleet.write_text(fleet_text((Place("head", "hub", "headend"), Place("recv", "edge", "probe")), ()))
    directory = str(tmp_path / "noc")
    assert main(("noc", "init", "--fleet", str(fleet), "--state-dir", directory, "--address", "noc:7443")) == 0
    return directory


def nf(state: str, *arguments: str) -> int:
    return main(("noc", "service", *arguments, "--state-dir", state))


def test_set_list_show_unset(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert nf(state, "list") == 0
    assert "off" in capsys.readouterr().out
    assert nf(state, "set", "echo", "address=10.0.0.1:80", 'words=["a", "b"]', "times=3") == 0
    assert "echo is set" in capsys.readouterr().out
    assert nf(state, "show", "echo", "--json") == 0
    settings = {"address": "10.0.0.1:80", "words": ["a", "b"], "times": 3}
    assert json.loads(capsys.readouterr().out) == {"name": "echo", "settings": settings}
    assert nf(state, "list") == 0
    assert "address=10.0.0.1:80" in capsys.readouterr().out
    assert nf(state, "unset", "echo") == 0
    assert nf(state, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2]) == [{"name": "echo", "settings": None}]


def test_what_is_wrong_is_said_and_nothing_is_set(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert nf(state, "set", "echo", "times=3") == 2
    assert "address: Field required" in capsys.readouterr().err
    assert nf(state, "set", "echo", "address") == 2
    assert "not KEY=VALUE" in capsys.readouterr().err
    assert nf(state, "set", "ecko", "address=x") == 7
    assert "one of: echo" in capsys.readouterr().err
    assert nf(state, "show", "echo") == 0
    assert "echo is off" in capsys.readouterr().out
