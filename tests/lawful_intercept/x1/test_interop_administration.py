"""The ADMF's links and an element's tables over X1: what is planned is held, read back as it was, and kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.administration import site_desk
from lawful_intercept.administration.agencies import AGENCY_SETTINGS
from lawful_intercept.administration.alarms import Code as Alarm
from lawful_intercept.administration.asker import X1Asker
from lawful_intercept.administration.elements import ELEMENT_SETTINGS, ElementSettings, Kind
from lawful_intercept.administration.hi1 import Party
from lawful_intercept.administration.links import Links, Pace
from lawful_intercept.administration.office import Caller, Office
from lawful_intercept.administration.reconcile import Given, steps
from lawful_intercept.administration.reports import Reports
from lawful_intercept.administration.store import Store
from lawful_intercept.administration.tasking import Site, Wanted, plan
from lawful_intercept.administration.warrants import Service, Warrant
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.element import Element
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import TaskDetails
from lawful_intercept.x1.reporter import Reporter
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import AdministrationService, ElementService
from nf.clock import RealClock
from nf.trust.spiffe import SpiffeId
from tests.lawful_intercept.x1.conftest import Certificates, Owner
from tests.support.administration import CUSTOMS, IMSI, MDF1, POLICE, POP1, SIP, active

CLOCK = RealClock()
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PACE = Pace(reconcile_s=3600.0, keepalive_s=0.05)


class Choosy(Owner):
    """Takes no task of a target in `unwanted`."""

    unwanted = ""

    async def activate(self, task: TaskDetails) -> None:
        if any(target.value == self.unwanted for target in task.targets):
            raise X1Fault(Code.TARGET_TYPE)
        await super().activate(task)


class Running:
    """An element behind TLS, and its reports to the ADMF."""

    def __init__(self, house: House, settings: ElementSettings) -> None:
        self.owner = Choosy()
        name = settings.name
        client = X1Client(house.admf_url, house.certificates.client(name), name, "admf", of_element=True)
        self._client, self._reporter = client, Reporter(client, CLOCK)
        self._heard = asyncio.Event()
        self.element = Element(self.owner, CLOCK, mediation=settings.kind is Kind.MEDIATION, report=self._reporter.put)
        self.server = X1Server(
            name,
            ElementService(self.element),
            house.certificates.server(name),
            address="127.0.0.1",
            port=0,
            peers={"admf"},
        )
        heard = self.element.keepalive

        def keepalive() -> None:
            heard()
            self._heard.set()

        self.element.keepalive = keepalive  # type: ignore[method-assign]

    async def start(self) -> None:
        await self.element.start()
        await self.server.start()
        self._reporting = asyncio.create_task(self._reporter.run())

    async def keepalives(self, count: int) -> None:
        for _ in range(count):
            self._heard.clear()
            await self._heard.wait()

    async def close(self) -> None:
        self._reporting.cancel()
        await asyncio.gather(self._reporting, return_exceptions=True)
        await self._client.close()
        await self.server.close()


class House:
    """An ADMF with one point and one mediation element. `urls`: theirs, which follow them through restarts."""

    def __init__(self, certificates: Certificates, office: Office) -> None:
        self.certificates = certificates
        self.office = office
        self.elements: dict[str, Running] = {}
        self.links = Links(office, self._connect, PACE)
        self.server = X1Server(
            "admf",
            AdministrationService(Reports(office, self.links)),
            certificates.server("admf"),
            address="127.0.0.1",
            port=0,
            peers=office.elements,
        )

    @property
    def admf_url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}/X1/ADMF"

    def _connect(self, settings: ElementSettings) -> X1Asker:
        url = f"https://127.0.0.1:{self.elements[settings.name].server.port}/X1/NE"
        return X1Asker(url, self.certificates.client("admf"), "admf", settings.name, CLOCK)

    async def begin(self, settings: ElementSettings) -> Running:
        made = self.elements[settings.name] = Running(self, settings)
        await made.start()
        return made

    def plan(self, *warrants: Warrant) -> dict[str, Wanted]:
        site = Site(self.office.elements, self.office.agencies)
        return dict(plan(warrants, site, datetime.now(UTC), timedelta(seconds=30)))

    async def until(self, good: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not good():
                self.office.changed.clear()
                await asyncio.sleep(0.01)


@pytest.fixture
async def house(certificates: Certificates, tmp_path: Path) -> AsyncIterator[House]:
    store = await Store.open(tmp_path / "administration.db", AESGCM(bytes(32)), KEY.sign, CLOCK)
    office = await Office.open(store, CLOCK, SpiffeId("li.example", "element", "admf"), Party("NZ", "svnf"))
    boss = Caller(SpiffeId("li.example", "officer", "chris"))
    await site_desk.first_officer(office, boss, "chris")
    for settings in (POP1, MDF1):
        await site_desk.element_add(office, boss, {"settings": ELEMENT_SETTINGS.json(settings)})
    for agency in (POLICE, CUSTOMS):
        await site_desk.agency_add(office, boss, {"settings": AGENCY_SETTINGS.json(agency)})
    made = House(certificates, office)
    await made.server.start()
    for settings in (POP1, MDF1):
        await made.begin(settings)
    yield made
    await made.links.close()
    for element in made.elements.values():
        await element.close()
    await made.server.close()
    await store.close()


def now(warrant: Warrant) -> Warrant:
    """In force for an hour from now."""
    start = datetime.now(UTC) - timedelta(seconds=5)
    return replace(warrant, content=replace(warrant.content, start=start, stop=start + timedelta(hours=1)))


async def test_what_is_planned_is_held_and_read_back_as_it_was(house: House) -> None:
    both = frozenset({Service.VOICE, Service.DATA})
    first = now(active(1, targets=(SIP, IMSI), services=both))
    second = now(active(2, agency="customs", liid="NZ-0002"))
    wanted = house.plan(first, second)
    await house.links.want(wanted)
    await house.links.settled()
    for name in ("pop1", "mdf1"):
        assert house.elements[name].owner.active == wanted[name].tasks
        assert house.elements[name].owner.destinations == wanted[name].destinations
        asker = house._connect(house.office.elements[name].settings)
        assert steps(await asker.all_details(), wanted[name], Given(frozenset(), set())) == ()
        await asker.close()
    assert wanted["pop1"].tasks[second.xid].services  # for voice alone, at a point that knows data too
    await house.links.want(house.plan())
    await house.until(lambda: not any(element.owner.active for element in house.elements.values()))


async def test_an_element_that_lost_its_memory_says_so_and_has_it_back(house: House) -> None:
    warrant = now(active(1))
    await house.links.want(house.plan(warrant))
    await house.links.settled()
    before = house.elements["pop1"]
    port = before.server.port
    await before.close()
    again = Running(house, POP1)
    again.server._http._port = port
    house.elements["pop1"] = again
    await again.start()
    await house.until(lambda: warrant.xid in again.owner.active)


async def test_a_task_that_an_element_refuses_does_not_cost_it_its_keepalives(house: House) -> None:
    point = house.elements["pop1"]
    point.owner.unwanted = SIP.value
    good, bad = now(active(1, targets=(IMSI,), services=frozenset({Service.DATA}))), now(active(2))
    await house.links.want(house.plan(good, bad))
    await house.until(lambda: (Alarm.REFUSES, "element/pop1") in house.office.alarms)
    assert set(point.owner.active) == {good.xid}
    async with asyncio.timeout(10):
        await point.keepalives(3)
