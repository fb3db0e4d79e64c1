"""Databases, one for the whole session of each kind, with a new name in them for each test."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core5g.open5gs.subscribers import SubscriberDatabase
from core5g.subscribers.scope import Scope
from nf.cli.main import main
from tests.core5g.subscribers.support import OURS, Server, fleet_file


@pytest.fixture(scope="session")
def _replica_set() -> Iterator[Server]:
    server = Server().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _standalone() -> Iterator[Server]:
    server = Server(options=("--standalone",)).start()
    yield server
    server.stop()


@pytest.fixture
def server(_replica_set: Server) -> Server:
    """Has transactions."""
    return _replica_set


@pytest.fixture(params=["replica set", "standalone"])
def either(request: pytest.FixtureRequest) -> Server:
    """Both kinds, one after the other."""
    found: Server = request.getfixturevalue("_replica_set" if request.param == "replica set" else "_standalone")
    return found


Open = Callable[..., SubscriberDatabase]


@pytest.fixture
def name() -> str:
    """Of a database that is empty."""
    return f"open5gs-{secrets.token_hex(4)}"


@pytest.fixture
def opened(name: str) -> Iterator[Open]:
    """`opened(server, scope)` -> the subscribers of a PLMN in this test's database."""
    databases: list[SubscriberDatabase] = []

    def connect(server: Server, scope: Scope = OURS) -> SubscriberDatabase:
        databases.append(SubscriberDatabase.connect(server.uri, name, scope))
        return databases[-1]

    yield connect
    for database in databases:
        database.close()


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def error(self) -> Any:
        return json.loads(self.err)["error"]

    @property
    def everything(self) -> str:
        return self.out + self.err


Nf = Callable[..., Answer]


@pytest.fixture
def nf(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, server: Server, name: str, caplog: pytest.LogCaptureFixture
) -> Nf:
    """`nf("list")` -> `nf subscriber list` of this test's fleet and database. Its answer has the log at DEBUG in it."""
    fleet = fleet_file(tmp_path / "fleet.json", f"{server.uri}/{name}")
    offline = {"seal"}

    def run(command: str, *arguments: str) -> Answer:
        where = () if command in offline else ("--fleet", str(fleet))
        capsys.readouterr()
        caplog.clear()
        with caplog.at_level(logging.DEBUG):
            code = main(("subscriber", command, *arguments, *where))
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
