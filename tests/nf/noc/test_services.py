"""Hosted services: off until set, supervised, never the NOC's end; who may call them, and what they may use."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.contracts.service import Note, Service, ServiceContext
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.errors import DeniedError, DriverError, IdentityError, InputError, NotFoundError
from nf.noc.services import (
    DOWN,
    Services,
    find_service,
    load_services,
    parse_settings,
    pause_s,
    read_settings,
    write_settings,
)
from nf.telemetry.alarms import Severity
from nf.trust.identity import Identity, new_identity
from nf.trust.roles import OperatorRole
from nf.trust.spiffe import SpiffeId
from tests.support.fleet import DOMAIN, SECTION, InProcessFleet, TablePlanner, in_process_fleet

ACTOR = f"spiffe://{DOMAIN}/operator/eve"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is looked for more often, and a failed service waits less."""
    monkeypatch.setattr("nf.noc.services._LOOK_S", 0.05)
    monkeypatch.setattr("nf.noc.services._SHORTEST_S", 0.2)


class EchoSettings(DocumentModel):
    word: str
    times: int = 1


class Echo:
    """A service of the test: `lives` counts its starts, `fault` is what its next life does."""

    name = "echo"
    settings: type[DocumentModel] = EchoSettings

    def __init__(self) -> None:
        self.lives = 0
        self.contexts: list[ServiceContext] = []
        self.fault: Callable[[], object] = lambda: None
        self.cancelled = 0

    @property
    def context(self) -> ServiceContext:
        return self.contexts[-1]

    async def run(self, context: ServiceContext) -> None:
        self.lives += 1
        fault, self.fault = self.fault, lambda: None
        if fault() == "return":
            return
        self.contexts.append(context)
        context.ready(word=getattr(context.settings, "word", ""))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class RowsPlanner(TablePlanner):
    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        rows = FleetOperation("rows", "all", (tuple((name, SECTION) for name in ("head", "core")),))
        return dataclasses.replace(super().plan(lineup, fleet), operations=(rows,))


@asynccontextmanager
async def hosting(directory: Path, service: Service, **values: Any) -> AsyncIterator[tuple[InProcessFleet, Services]]:
    async with in_process_fleet(directory, planner=RowsPlanner(), **values) as fleet:
        services = Services(fleet.node, [service], directory / "services", lambda: _identity(fleet))
        services.start()
        try:
            yield fleet, services
        finally:
            await services.close()


def _identity(fleet: InProcessFleet) -> Identity:
    return new_identity(fleet.node.authority, SpiffeId(DOMAIN, "noc", "noc"), 60.0)


async def configure(fleet: InProcessFleet, service: Service, data: JsonObject | None) -> None:
    await write_settings(fleet.node.book.store, service, data, ACTOR)


async def test_off_until_it_is_set_and_off_again_when_unset(tmp_path: Path) -> None:
    echo = Echo()
    async with hosting(tmp_path, echo, start=False) as (fleet, services):
        await asyncio.sleep(0)
        assert echo.lives == 0
        await configure(fleet, echo, {"word": "hello"})
        await fleet.until(lambda: "echo" in services.facts)
        assert services.facts["echo"] == {"word": "hello"}
        assert isinstance(echo.context.settings, EchoSettings)
        assert echo.context.state_dir.stat().st_mode & 0o777 == 0o700
        await configure(fleet, echo, {"word": "again"})
        await fleet.until(lambda: services.facts.get("echo") == {"word": "again"})
        await configure(fleet, echo, None)
        await fleet.until(lambda: echo.cancelled == 2)
        assert await read_settings(fleet.node.book.store, "echo") is None
        records = await fleet.node.book.store.audit_records(10)
        assert [r.action for r in records if r.object == "echo"][::-1] == [
            "service.set",
            "service.set",
            "service.unset",
        ]
        assert fleet.alarms(DOWN) == []


def _raise(error: BaseException) -> Callable[[], object]:
    def fault() -> object:
        raise error

    return fault


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_raise(ValueError("a bug")), "ValueError: a bug"),
        (_raise(DriverError("the port is taken")), "the port is taken"),
        (lambda: sys.exit(3), "SystemExit: 3"),
        (lambda: "return", "it ended by itself"),
    ],
)
async def test_a_crash_is_an_alarm_and_a_new_start_and_the_noc_goes_on(
    tmp_path: Path, fault: Callable[[], object], told: str
) -> None:
    echo = Echo()
    echo.fault = fault
    async with hosting(tmp_path, echo, start=False) as (fleet, services):
        await configure(fleet, echo, {"word": "hello"})
        await fleet.until(lambda: fleet.alarms(DOWN) == [(DOWN, "echo")])
        (text,) = [alarm.text for _, alarm in fleet.node.telemetry.alarms() if alarm.cause == DOWN]
        assert told in text
        await fleet.until(lambda: "echo" in services.facts)
        assert echo.lives == 2
        assert fleet.alarms(DOWN) == []
        async with fleet.client() as noc:  # it answers still
            from nf.control.v1 import noc_pb2 as pb

            assert (await noc.GetInfo(pb.GetInfoRequest())).software_version


def test_the_pause_grows_and_has_an_end() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 7, 1000)] == [0.2, 0.4, 0.8, 12.8, 60.0]


async def test_settings_that_do_not_fit_are_refused_and_named(tmp_path: Path) -> None:
    echo = Echo()
    with pytest.raises(InputError, match="word: Field required") as caught:
        parse_settings(echo, {"times": 2})
    assert "it takes: word, times" in caught.value.remedy
    with pytest.raises(InputError, match="volume"):
        parse_settings(echo, {"word": "x", "volume": 11})
    with pytest.raises(NotFoundError, match="no such service"):
        find_service([echo], "ech")
    assert find_service([echo], "echo") is echo


def test_every_installed_service_loads() -> None:
    services = load_services()
    assert [service.name for service in services] == sorted({service.name for service in services})
    assert all(issubclass(service.settings, DocumentModel) for service in services)


def der(identity: Identity) -> bytes:
    return ssl.PEM_cert_to_DER_cert(identity.certificate_pem.decode())


async def test_who_may_do_what(tmp_path: Path) -> None:
    echo = Echo()
    async with hosting(tmp_path, echo, start=False) as (fleet, services):
        await configure(fleet, echo, {"word": "hello"})
        await fleet.until(lambda: "echo" in services.facts)
        context, operators = echo.context, fleet.node.operators
        engineer = await operators.add("ada", OperatorRole.ENGINEER)
        caller = await context.authorize(der(engineer), OperatorRole.ENGINEER, "write")
        assert (caller.spiffe_id.name, caller.role) == ("ada", OperatorRole.ENGINEER)

        viewer = await operators.add("vic", OperatorRole.VIEWER)
        await context.authorize(der(viewer), OperatorRole.VIEWER, "read")
        with pytest.raises(DeniedError, match="needs the role engineer"):
            await context.authorize(der(viewer), OperatorRole.ENGINEER, "write")

        local = await operators.add("loc", OperatorRole.ENGINEER, ["edge"])
        await context.authorize(der(local), OperatorRole.VIEWER, "read")
        with pytest.raises(DeniedError, match="bound to the sites edge"):
            await context.authorize(der(local), OperatorRole.ENGINEER, "write")

        await operators.remove("ada")
        with pytest.raises(IdentityError, match="revoked"):
            await context.authorize(der(engineer), OperatorRole.VIEWER, "read")
        stranger = new_identity(fleet.node.authority, SpiffeId(DOMAIN, "operator", "nobody"), 60.0)
        with pytest.raises(IdentityError):
            await context.authorize(der(stranger), OperatorRole.VIEWER, "read")
        with pytest.raises(IdentityError):
            await context.authorize(der(_identity(fleet)), OperatorRole.VIEWER, "read")
        denied = [r for r in await fleet.node.book.store.audit_records(20) if r.outcome == "denied"]
        assert {record.actor for record in denied} >= {str(viewer.spiffe_id), str(local.spiffe_id)}


async def test_records_are_the_services_own_and_audited(tmp_path: Path) -> None:
    echo = Echo()
    async with hosting(tmp_path, echo, start=False) as (fleet, services):
        await configure(fleet, echo, {"word": "hello"})
        await fleet.until(lambda: "echo" in services.facts)
        records = echo.context.records
        await records.put("one", {"n": 1}, Note(ACTOR, "echo.add", "one", "done", {"n": 1}))
        await records.put("two", {"n": 2})
        assert await records.all() == {"one": {"n": 1}, "two": {"n": 2}}
        await records.remove("one")
        await records.remove("never")
        assert await records.all() == {"two": {"n": 2}}
        assert any(r.action == "echo.add" for r in await fleet.node.book.store.audit_records(10))
        assert echo.context.committed().revision == 1
        assert echo.context.identity().spiffe_id.kind == "noc"
        echo.context.alarm("loud", "one", Severity.MINOR, "too loud")
        assert fleet.alarms("loud") == [("loud", "echo/one")]
        await configure(fleet, echo, None)
        await fleet.until(lambda: fleet.alarms("loud") == [])


async def test_a_fleet_operation_is_run_with_progress_under_the_callers_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rows:
        async def run(self, arguments: JsonObject, checkpoint: Any, context: Any) -> JsonObject:
            return {"text": "counted", "asked": arguments["what"], "author": arguments["author"]}

    plain = InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> Any:
        config = plain(fleet, appliance)
        for driver in config.drivers or ():
            monkeypatch.setattr(driver, "operations", {"rows": Rows()}, raising=False)
        return config

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    echo, told = Echo(), list[tuple[str, str]]()
    async with hosting(tmp_path, echo) as (fleet, services):
        await configure(fleet, echo, {"word": "hello"})
        await fleet.until(lambda: "echo" in services.facts)
        outcome = await echo.context.run_operation(
            "rows", "all", {"what": "rows"}, author=ACTOR, progress=lambda *one: told.append(one[:2])
        )
        assert outcome.complete
        assert {node.appliance: node.result["asked"] for node in outcome.nodes} == {"head": "rows", "core": "rows"}
        assert {node.result["author"] for node in outcome.nodes} == {ACTOR}
        assert ("head", "done") in told
        with pytest.raises(NotFoundError):
            await echo.context.run_operation("rows", "nothing", {}, author=ACTOR)
