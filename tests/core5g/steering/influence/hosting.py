"""A host for the service without a NOC: its UPFs are dictionaries, its certificates are real ones."""

from __future__ import annotations

import asyncio
import copy
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from core5g.steering.influence.catalogue import Application, Catalogue
from core5g.steering.influence.service import TrafficInfluence
from core5g.steering.influence.settings import TrafficInfluenceSettings
from nf.clock import Clock, RealClock
from nf.contracts.json import JsonObject
from nf.contracts.noc_client import NodeOutcome, OperationOutcome
from nf.contracts.service import Caller, Committed, Note, Progress, silent
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.errors import DeniedError, IdentityError, NotFoundError
from nf.telemetry.alarms import Severity
from nf.trust.authority import Authority
from nf.trust.certificates import check_peer
from nf.trust.identity import Identity, new_identity
from nf.trust.roles import OperatorRole
from nf.trust.spiffe import SpiffeId
from tests.core5g.steering.samples import breakout, built, fleet_data, lineup_data

DOMAIN = "lab.example"
ROOT = "/traffic-influence/v0.10"


@dataclass
class FakeUpf:
    """`held`: influences by their id. `gate`: an operation waits there."""

    held: dict[str, JsonObject] = field(default_factory=dict)
    away: bool = False
    fault: str = ""
    owed: list[JsonObject] = field(default_factory=list)
    gate: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, order: JsonObject) -> None:
        if order["action"] == "add":
            self.held[str(order["id"])] = order
        else:
            self.held.pop(str(order["id"]), None)

    def back(self, *, newest_first: bool = False) -> None:
        """As the NOC makes good what was owed, in one order or the other."""
        self.away = False
        for order in reversed(self.owed) if newest_first else self.owed:
            self.take(order)
        self.owed.clear()


class MemoryRecords:
    def __init__(self) -> None:
        self.kept: dict[str, JsonObject] = {}
        self.notes: list[Note] = []

    async def all(self) -> Mapping[str, JsonObject]:
        return copy.deepcopy(self.kept)

    async def put(self, key: str, value: JsonObject, note: Note | None = None) -> None:
        self.kept[key] = copy.deepcopy(value)
        self.notes += [note] if note is not None else []

    async def remove(self, key: str, note: Note | None = None) -> None:
        self.kept.pop(key, None)


class FakeHost:
    """Implements `nf.contracts.service.ServiceContext`."""

    def __init__(self, directory: Path, settings: TrafficInfluenceSettings, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or RealClock()
        self.settings = settings
        self.state_dir = directory
        self.records = MemoryRecords()
        self.authority = Authority.create(directory / "ca", DOMAIN, RealClock())
        self.noc = new_identity(self.authority, SpiffeId(DOMAIN, "noc", "noc"), 3600, ["localhost"], ["127.0.0.1"])
        self.roles: dict[str, OperatorRole] = {}
        self.upfs = {name: FakeUpf() for name in ("edge1", "edge2")}
        self.revision = 1
        self.lineup = built(LineUp, lineup_data(breakout(prefixes=["203.0.113.0/24"])))
        self.fleet = built(Fleet, fleet_data())
        self.alarms: dict[tuple[str, str], str] = {}
        self.port = 0
        self.denied: list[str] = []

    def identity(self) -> Identity:
        return self.noc

    def operator(self, name: str, role: OperatorRole) -> Identity:
        self.roles[name] = role
        return new_identity(self.authority, SpiffeId(DOMAIN, "operator", name), 3600)

    async def authorize(self, certificate_der: bytes, role: OperatorRole, act: str) -> Caller:
        pem = ssl.DER_cert_to_PEM_cert(certificate_der).encode()
        peer = check_peer(pem, self.authority.ca_pem, RealClock().now())
        has = self.roles.get(peer.spiffe_id.name)
        if has is None:
            raise IdentityError("no operator of this NOC")
        if has < role:
            self.denied.append(act)
            raise DeniedError(f"needs the role {role.value}")
        return Caller(peer.spiffe_id, has)

    def committed(self) -> Committed:
        return Committed(self.revision, self.lineup, self.fleet)

    def commit(self, lineup: dict[str, Any]) -> None:
        self.lineup = built(LineUp, lineup)
        self.revision += 1

    async def run_operation(
        self,
        name: str,
        target: str,
        arguments: JsonObject,
        *,
        author: str,
        past_failures: bool = False,
        progress: Progress = silent,
    ) -> OperationOutcome:
        assert author.startswith("spiffe://")
        if target not in self.upfs:
            raise NotFoundError("the current line-up has nothing of this name")
        upf = self.upfs[target]
        upf.reached.set()
        if upf.gate is not None:
            await upf.gate.wait()
        state, text, result = "done", "", JsonObject()
        if upf.away:
            state = "offline"
            upf.owed += [arguments] if name == "influence" else []
        elif upf.fault:
            state, text = "failed", upf.fault
        elif name == "influence":
            upf.take(arguments)
            result = {"state": "active"}
        else:
            held = [*({"id": identity} for identity in upf.held)]
            result = {"mechanism": "n6", "upf": target, "open": True, "influences": [*held]}
        node = NodeOutcome(target, "n6-steering", 0, state, text, result)
        return OperationOutcome(state == "done", (node,), 0.0, {})

    def alarm(self, cause: str, subject: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        if severity is Severity.CLEARED:
            self.alarms.pop((cause, subject), None)
        else:
            self.alarms[cause, subject] = text

    def ready(self, **facts: Any) -> None:
        self.port = facts["port"]

    def application(self) -> Application:
        return Catalogue(self.lineup, self.fleet).applications[0]


@dataclass
class Consumer:
    """An independent HTTP client (requests) with a certificate of the NOC's, or without."""

    host: FakeHost
    directory: Path
    identity: Identity | None

    def __post_init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False  # neither proxies nor another CA
        ca = self.directory / "ca.pem"
        ca.write_bytes(self.host.authority.ca_pem)
        self.session.verify = str(ca)
        if self.identity is not None:
            file = self.directory / f"{self.identity.serial:x}.pem"
            file.write_bytes(self.identity.key_pem + self.identity.certificate_pem)
            self.session.cert = str(file)

    async def ask(self, method: str, path: str = "/traffic-influences", **values: Any) -> requests.Response:
        url = f"https://127.0.0.1:{self.host.port}{ROOT}{path}"
        return await asyncio.to_thread(self.session.request, method, url, timeout=60, **values)

    async def state(self, identity: str) -> str:
        answer = await self.ask("GET", f"/traffic-influences/{identity}")
        return str(answer.json().get("state", answer.status_code))

    async def until(self, identity: str, wanted: str) -> None:
        async with asyncio.timeout(90):
            while await self.state(identity) != wanted:  # noqa: ASYNC110 - the API is asked, as consumers do
                await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not condition():  # noqa: ASYNC110 - of many parts
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(host: FakeHost) -> AsyncIterator[asyncio.Task[None]]:
    host.port = 0
    task = asyncio.create_task(TrafficInfluence().run(host))
    try:
        await until(lambda: host.port > 0 or task.done())
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
