"""UEs that stay attached: a gNB that is there before its SMF, an SMF that has lost its sessions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.mobile.keeping import Keeper
from lab.mobile.smf_client import SmfError
from tests.core5g.conformance.network import Network
from tests.lab.mobile.models import URL, ask, awaited, ping, running

FIRST, SECOND = "imsi-999700000000001", "imsi-999700000000002"


class FakeSmf:
    """With `there`; it refuses everything while `away`."""

    def __init__(self, there: list[dict[str, Any]]) -> None:
        self.there = there
        self.away = False
        self.deleted: list[str] = []

    def sessions(self) -> list[dict[str, Any]]:
        if self.away:
            raise SmfError("away")
        return self.there

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        made = {"id": f"new-{asked['supi']}", **asked}
        self.there.append(made)
        return made

    def delete(self, key: str) -> None:
        self.deleted.append(key)
        self.there = [one for one in self.there if one["id"] != key]


@pytest.fixture
def keeper() -> Keeper:
    return Keeper("http://127.0.0.1:1", (FIRST, SECOND), lambda supi: {"supi": supi})


def with_smf(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, *there: dict[str, Any]) -> FakeSmf:
    smf = FakeSmf(list(there))
    monkeypatch.setattr(keeper, "_smf", smf)
    return smf


def test_only_who_has_no_session_gets_one(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    smf = with_smf(keeper, monkeypatch, {"id": "a", "supi": FIRST})
    keeper.look(known=True)
    assert [made["supi"] for made in keeper.found()] == [SECOND]
    keeper.look(known=True)
    assert keeper.found() == []
    assert smf.deleted == []


def test_sessions_of_a_gnb_that_was_here_before_are_made_anew(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    smf = with_smf(keeper, monkeypatch, {"id": "old", "supi": FIRST}, {"id": "other", "supi": "imsi-1"})
    keeper.look(known=False)
    assert smf.deleted == ["old"]
    assert [made["supi"] for made in keeper.found()] == [FIRST, SECOND]


def test_a_ue_that_is_at_another_upf_than_its_own_asks_until_it_is_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper("http://127.0.0.1:1", (FIRST,), lambda supi: {"supi": supi}, home="10.5.1.1")
    smf = with_smf(keeper, monkeypatch, {"id": "a", "supi": FIRST, "upf": {"address": "10.5.2.1", "teid": 1}})
    keeper.look(known=True)
    assert (smf.deleted, [made["supi"] for made in keeper.found()]) == (["a"], [FIRST])
    smf.there = [{"id": "b", "supi": FIRST, "upf": {"address": "10.5.1.1", "teid": 2}}]
    keeper.look(known=True)
    assert (smf.deleted, keeper.found()) == (["a"], [])


def test_an_smf_that_is_away_changes_nothing(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    smf = with_smf(keeper, monkeypatch)
    smf.away = True
    with pytest.raises(SmfError):
        keeper.look(known=False)
    assert keeper.found() == []


@pytest.mark.root
def test_a_ue_whose_session_is_gone_gets_a_new_one_and_goes_on(core: Network, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.mobile.ran", "--smf", URL, "--address", "10.50.0.2", "--keep"]
    with running([*command, "--tun", "kept0", "--route", "10.45.0.1/32"], tmp_path, "ran"):
        (first,) = awaited(lambda: ask("/model/sessions"))
        awaited(lambda: ping("10.45.0.1"))
        ask(f"/model/sessions/{first['id']}", method="DELETE")
        awaited(lambda: [told for told in ask("/model/sessions") if told["gnb"] not in (None, first["gnb"])])
        awaited(lambda: ping("10.45.0.1"))
    left = subprocess.run(["ip", "link", "show", "kept0"], capture_output=True, check=False)
    assert left.returncode != 0
