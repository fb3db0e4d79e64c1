"""An authority for X1 with an ADMF and elements, and an element whose owner notes what it is told."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from lawful_intercept import pki, tls
from lawful_intercept.x1.messages import DestinationDetails, DestinationStatus, ElementStatus, TaskDetails, TaskStatus
from nf.clock import RealClock
from nf.trust.authority import Authority

DOMAIN = "li.example"


@dataclass
class Certificates:
    """Files and contexts of whoever is named."""

    authority: Authority
    directory: Path

    def files(self, name: str, who: pki.Who = pki.Who.ELEMENT) -> pki.Issued:
        into = self.directory / who.value
        made = pki.Issued(into / f"{name}.pem", into / f"{name}.key", into / "ca.pem")
        return made if made.key.exists() else pki.issue(self.authority, who, name, into, ip=["127.0.0.1"])

    def server(self, name: str) -> ssl.SSLContext:
        return tls.server_context(self.files(name))

    def client(self, name: str, who: pki.Who = pki.Who.ELEMENT) -> ssl.SSLContext:
        return tls.client_context(self.files(name, who))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("x1-authority")
    return Certificates(pki.create(directory / "ca", DOMAIN, RealClock()), directory)


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of another authority, with the same names."""
    directory = tmp_path_factory.mktemp("x1-strangers")
    return Certificates(pki.create(directory / "ca", DOMAIN, RealClock()), directory)


@dataclass
class Owner:
    """A TaskSink. `fails`: what it raises next."""

    active: dict[UUID, TaskDetails] = field(default_factory=dict)
    destinations: dict[UUID, DestinationDetails] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    fails: Exception | None = None

    def _note(self, what: str) -> None:
        self.told.append(what)
        if self.fails is not None:
            raise self.fails

    async def put_destination(self, details: DestinationDetails) -> None:
        self._note("put")
        self.destinations[details.did] = details

    async def remove_destination(self, details: DestinationDetails) -> None:
        self._note("remove")
        del self.destinations[details.did]

    async def activate(self, task: TaskDetails) -> None:
        self._note("activate")
        assert task.xid not in self.active
        self.active[task.xid] = task

    async def modify(self, before: TaskDetails, after: TaskDetails) -> None:
        self._note("modify")
        assert self.active[before.xid] == before
        self.active[before.xid] = after

    async def deactivate(self, task: TaskDetails) -> None:
        self._note("deactivate")
        del self.active[task.xid]

    def task_status(self, xid: UUID) -> TaskStatus:
        return TaskStatus(x2_octets=7)

    def destination_status(self, did: UUID) -> DestinationStatus:
        return DestinationStatus()

    def status(self) -> ElementStatus:
        return ElementStatus()


@pytest.fixture
def owner() -> Owner:
    return Owner()
