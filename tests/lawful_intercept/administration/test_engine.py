"""The ADMF's own part, with a clock that tests own and elements of memory: to the second, and after every failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.administration import site_desk, warrant_desk, warrants
from lawful_intercept.administration.agencies import AGENCY_SETTINGS
from lawful_intercept.administration.alarms import Code
from lawful_intercept.administration.elements import ELEMENT_SETTINGS, ElementSettings
from lawful_intercept.administration.engine import Engine
from lawful_intercept.administration.hi1 import Party
from lawful_intercept.administration.links import Link, Links, Pace
from lawful_intercept.administration.office import Caller, Office
from lawful_intercept.administration.officers import OFFICER, Officer, Role
from lawful_intercept.administration.reports import Reports
from lawful_intercept.administration.store import Store
from lawful_intercept.administration.warrants import CONTENT, Act, State
from lawful_intercept.x1.exchange import ReportDestinationIssue, ReportNEIssue, ReportTaskIssue
from lawful_intercept.x1.extensions import OWNER
from lawful_intercept.x1.faults import X1Fault, X1NoAnswer
from lawful_intercept.x1.lost import Lost, lost_extension
from lawful_intercept.x1.messages import Extension, IssueType, ReportType
from nf.clock import VirtualClock
from nf.contracts.json import JsonObject
from nf.errors import NfError, RefusedError, StorageError
from nf.trust.spiffe import SpiffeId
from tests.support.administration import (
    CUSTOMS,
    IMSI,
    MDF1,
    NOON,
    POLICE,
    POP1,
    POP2,
    SIP,
    Memory,
    content,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MINUTE = timedelta(minutes=1)
START = (NOON - timedelta(seconds=10)).timestamp()


@dataclass
class Steering:
    """A clock that is synchronised, or not."""

    good: bool = True

    async def require(self) -> object:
        if not self.good:
            raise RefusedError("this machine's clock is not known to be right", where="not synchronised")
        return "synchronised by chrony 10.0.0.1 stratum 2, offset +0.010 ms"


@dataclass
class Bench:
    office: Office
    clock: VirtualClock
    steering: Steering
    elements: Mapping[str, Memory]
    links: Links
    running: list[asyncio.Task[None]] = field(default_factory=list)

    def caller(self, name: str) -> Caller:
        return Caller(SpiffeId("li.example", "officer", name), "ab" * 32)

    async def settle(self) -> None:
        """What is under way is done, without the clock moving: the store writes on threads of its own."""
        quiet = 0
        for _ in range(60 if self._stuck() else 2000):
            await asyncio.sleep(0.001)
            await self.clock.advance(0)
            busy = self.office.changed.is_set() or self.office.lock.locked() or self.links._beginning is not None
            busy = busy or self._due() or not all(link.settled.is_set() for link in self.all_links())
            quiet = 0 if busy else quiet + 1
            if quiet == 10:
                return

    async def eventually(self, holds: Callable[[], object]) -> None:
        """Without the clock moving."""
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.002)
                await self.clock.advance(0)

    def _due(self) -> bool:
        """What the clock asks for, and can be done."""
        acts = [warrants.due(one, self.office.now) for one in self.office.warrants.values()]
        return any(act is Act.EXPIRE or (act is Act.ACTIVATE and self.steering.good) for act in acts)

    def _stuck(self) -> bool:
        return any(one.failure is not None or one.refused for one in self.elements.values())

    def all_links(self) -> list[Link]:
        return [link for link, _, _ in self.links._links.values()]

    async def until(self, at: float) -> None:
        """The clock moves in steps of a second, and everybody has time to act in each of them."""
        while self.clock.now() < at:
            await self.clock.advance(min(1.0, at - self.clock.now()))
            await asyncio.sleep(0.003)
        await self.settle()

    async def warrant(self, **other: object) -> UUID:
        """Approved by two officers."""
        made = await warrant_desk.create(
            self.office,
            self.caller("anna"),
            {"content": CONTENT.json(content(**{"stop": NOON + MINUTE, **other})), "submit": True},
        )
        assert isinstance(made, dict)
        await warrant_desk.approve(self.office, self.caller("bob"), {"number": made["number"]})
        return UUID(str(made["number"]))

    def alarms(self) -> set[tuple[Code, str]]:
        return set(self.office.alarms)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = VirtualClock(START)
    store = await Store.open(tmp_path / "administration.db", AESGCM(bytes(32)), KEY.sign, clock)
    office = await Office.open(store, clock, SpiffeId("li.example", "element", "admf1"), Party("NZ", "svnf"))
    boss = Caller(SpiffeId("li.example", "officer", "chris"))
    await site_desk.first_officer(office, boss, "chris")
    for name, role in (("anna", "clerk"), ("bob", "approver"), ("dora", "auditor")):
        await site_desk.officer_add(office, boss, {"name": name, "roles": [role]})
    for settings in (POP1, POP2, MDF1):
        await site_desk.element_add(office, boss, {"settings": ELEMENT_SETTINGS.json(settings)})
    for agency in (POLICE, CUSTOMS):
        await site_desk.agency_add(office, boss, {"settings": AGENCY_SETTINGS.json(agency)})
    elements: dict[str, Memory] = {name: Memory() for name in ("pop1", "pop2", "mdf1", "pop3")}

    def connect(settings: ElementSettings) -> Memory:
        return elements[settings.name]

    links = Links(office, connect, Pace(reconcile_s=60.0, keepalive_s=10.0))
    steering = Steering()
    engine = Engine(office, links, steering, timedelta(seconds=30))
    running = asyncio.create_task(engine.run())
    made = Bench(office, clock, steering, elements, links, [running])
    await made.settle()
    yield made
    for task in made.running:
        task.cancel()
    await asyncio.gather(*made.running, return_exceptions=True)
    await links.close()
    await store.close()


async def test_a_warrant_begins_and_ends_to_the_second(bench: Bench) -> None:
    number = await bench.warrant()
    await bench.until(NOON.timestamp() - 1)
    assert bench.office.warrants[number].state is State.APPROVED
    assert not bench.elements["pop1"].xids
    await bench.until(NOON.timestamp())
    assert bench.office.warrants[number].state is State.ACTIVE
    xid = bench.office.warrants[number].xid
    assert [bench.elements[name].xids for name in ("pop1", "pop2", "mdf1")] == [{xid}] * 3
    await bench.until((NOON + MINUTE).timestamp() - 1)
    assert bench.elements["pop1"].xids == {xid}
    await bench.until((NOON + MINUTE).timestamp())
    assert bench.office.warrants[number].state is State.EXPIRED
    assert [bench.elements[name].xids for name in ("pop1", "pop2", "mdf1")] == [set(), set(), {xid}]
    await bench.until((NOON + MINUTE).timestamp() + 31)
    assert not bench.elements["mdf1"].xids
    assert not bench.alarms()


async def test_destinations_are_there_before_any_warrant(bench: Bench) -> None:
    assert len(bench.elements["pop1"].dids) == 2
    assert len(bench.elements["mdf1"].dids) == 2


async def test_nothing_begins_without_a_clock_that_is_right(bench: Bench) -> None:
    number = await bench.warrant()
    bench.steering.good = False
    await bench.until(NOON.timestamp() + 30)
    assert bench.office.warrants[number].state is State.APPROVED
    assert (Code.CLOCK, "clock") in bench.alarms()
    assert not bench.elements["pop1"].xids
    bench.steering.good = True
    await bench.until(NOON.timestamp() + 40)
    assert bench.office.warrants[number].state is State.ACTIVE
    assert not bench.alarms()


async def test_what_is_over_ends_without_a_clock_and_without_a_store(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await bench.warrant()
    await bench.until(NOON.timestamp() + 5)
    assert bench.elements["pop1"].xids
    bench.steering.good = False

    async def full(*_: object, **__: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(bench.office.store, "write", full)
    await bench.until((NOON + MINUTE).timestamp())
    assert not bench.elements["pop1"].xids
    assert bench.office.warrants[number].state is State.ACTIVE
    assert (Code.STORE, "store") in bench.alarms()
    monkeypatch.undo()
    await bench.until((NOON + MINUTE).timestamp() + 3)
    assert bench.office.warrants[number].state is State.EXPIRED
    assert not bench.alarms()
    late = [one for one in await bench.office.store.records(100) if "done_at" in one.detail_json]
    assert "x1.DeactivateTask" in {one.action for one in late}


async def test_a_revocation_ends_it_now(bench: Bench) -> None:
    number = await bench.warrant()
    await bench.until(NOON.timestamp() + 5)
    await warrant_desk.revoke(bench.office, bench.caller("anna"), {"number": str(number)[:8]})
    await bench.settle()
    assert not bench.elements["pop1"].xids
    (record,) = bench.elements["mdf1"].held.tasks
    assert record.details.mediation[0].end == NOON + timedelta(seconds=5)


async def test_mediation_has_its_task_first(bench: Bench) -> None:
    order: list[str] = []
    for name, element in bench.elements.items():
        do = element.do

        async def told(request: object, name: str = name, do: object = do) -> None:
            if type(request).__name__ == "ActivateTask":
                order.append(name)
            await do(request)  # type: ignore[operator]

        element.do = told  # type: ignore[method-assign, assignment]
    await bench.warrant()
    await bench.until(NOON.timestamp() + 1)
    assert order[0] == "mdf1"
    assert set(order) == {"mdf1", "pop1", "pop2"}


async def test_an_element_that_is_silent_gets_its_task_when_it_is_back(bench: Bench) -> None:
    bench.elements["pop2"].failure = X1NoAnswer("did not answer in time", sent=True)
    await bench.warrant()
    await bench.until(NOON.timestamp() + 5)
    await bench.eventually(lambda: bench.elements["pop1"].xids)
    await bench.eventually(lambda: (Code.SILENT, "element/pop2") in bench.alarms())
    bench.elements["pop2"].failure = None
    await bench.until(NOON.timestamp() + 25)
    assert bench.elements["pop2"].xids
    assert not bench.alarms()


async def test_a_refusal_is_an_alarm_and_does_not_stop_the_others(bench: Bench) -> None:
    bench.elements["pop1"].refused["ActivateTask"] = X1Fault(3010)
    await bench.warrant()
    await bench.until(NOON.timestamp() + 3)
    await bench.eventually(lambda: bench.elements["pop2"].xids)
    await bench.eventually(lambda: (Code.REFUSES, "element/pop1") in bench.alarms())
    alarm = bench.office.alarms[Code.REFUSES, "element/pop1"]
    assert "3010" in alarm.text
    bench.elements["pop1"].refused.clear()
    await bench.until(NOON.timestamp() + 25)
    assert bench.elements["pop1"].xids
    assert not bench.alarms()


async def test_a_task_that_nobody_here_gave_is_removed_and_told(bench: Bench) -> None:
    await bench.warrant()
    await bench.until(NOON.timestamp() + 1)
    (record,) = bench.elements["pop1"].held.tasks
    stranger = replace(record, details=replace(record.details, xid=UUID(int=77)))
    bench.elements["pop1"].held = replace(bench.elements["pop1"].held, tasks=(record, stranger))
    bench.links.doubt("pop1")
    await bench.settle()
    await bench.until(NOON.timestamp() + 3)
    assert UUID(int=77) not in bench.elements["pop1"].xids
    assert bench.elements["pop1"].xids == {record.details.xid}
    assert bench.alarms() == {(Code.UNKNOWN_TASK, "element/pop1")}


async def test_an_element_that_lost_its_memory_is_given_everything_again(bench: Bench) -> None:
    await bench.warrant()
    await bench.until(NOON.timestamp() + 1)
    xids = bench.elements["pop1"].xids
    bench.elements["pop1"].held = Memory().held
    reports = Reports(bench.office, bench.links)
    await reports.element_issue("pop1", ReportNEIssue(IssueType.ALERT, "database is cleared", 10000))
    await bench.settle()
    await bench.until(bench.clock.now() + 1)
    assert bench.elements["pop1"].xids == xids
    assert len(bench.elements["pop1"].dids) == 2
    assert (Code.LOST_TASK, "element/pop1") in bench.alarms()


async def test_reports_become_alarms_without_their_words(bench: Bench) -> None:
    number = await bench.warrant()
    reports = Reports(bench.office, bench.links)
    xid = bench.office.warrants[number].xid
    await reports.task_issue("pop1", ReportTaskIssue(xid, ReportType.WARNING, 9010, "sip:alice@voice.example is there"))
    (alarm,) = bench.office.alarms.values()
    assert (alarm.object, alarm.text) == (f"warrant/{number}/pop1", "Warning, 9010 warning")
    await reports.task_issue("pop1", ReportTaskIssue(xid, ReportType.ALL_CLEAR))
    assert not bench.alarms()
    await reports.element_issue("pop1", ReportNEIssue(IssueType.WARNING, "alice", 9010))
    await reports.element_issue("pop1", ReportNEIssue(IssueType.FAULT_CLEARED, "alice", 9000))
    assert not bench.alarms()
    for record in await bench.office.store.records(100):
        assert "alice" not in record.detail_json


async def test_what_is_lost_reaches_officers_as_numbers_until_one_clears_it(bench: Bench) -> None:
    number = await bench.warrant()
    await bench.until(NOON.timestamp() + 1)
    reports, xid = Reports(bench.office, bench.links), bench.office.warrants[number].xid
    chief = bench.caller("chris")
    for lost in (Lost(cc=5), Lost(iri=1, cc=2), Lost(uncounted=True)):
        told = ReportTaskIssue(xid, ReportType.NON_TERMINATING_FAULT, 9020, "sip:alice", (lost_extension(lost),))
        await reports.task_issue("pop1", told)
    await reports.task_issue("pop1", ReportTaskIssue(xid, ReportType.ALL_CLEAR, 9000))
    await warrant_desk.revoke(bench.office, bench.caller("bob"), {"number": str(number)})
    await bench.settle()
    (shown,) = (one for one in await site_desk.alarms(bench.office, chief, {}) if one["code"] == "product-lost")
    assert (shown["code"], shown["object"]) == ("product-lost", f"warrant/{number}/pop1")
    assert (shown["iri_lost"], shown["cc_lost"], shown["uncounted_lost"], shown["count"]) == (1, 7, True, 3)
    assert shown["text"] == "not delivered: 1 IRI, 7 CC, others"
    await site_desk.alarms(bench.office, chief, {"clear": shown["number"]})
    assert (Code.LOST, f"warrant/{number}/pop1") not in bench.alarms()
    with pytest.raises(X1Fault):
        await reports.task_issue("pop1", ReportTaskIssue(xid, ReportType.WARNING, extensions=(Extension(OWNER),)))


async def test_what_was_told_of_a_warrant_is_over_with_it(bench: Bench) -> None:
    number = await bench.warrant()
    await bench.until(NOON.timestamp() + 1)
    report = ReportTaskIssue(bench.office.warrants[number].xid, ReportType.WARNING, 9010)
    for element in ("pop1", "mdf1"):
        await Reports(bench.office, bench.links).task_issue(element, report)
    assert len(bench.alarms()) == 2
    await warrant_desk.revoke(bench.office, bench.caller("bob"), {"number": str(number)})
    await bench.settle()
    await bench.eventually(lambda: not bench.alarms())


async def test_each_agency_has_its_own_alarm(bench: Bench) -> None:
    reports = Reports(bench.office, bench.links)
    away = {name: ReportDestinationIssue(one.did, ReportType.WARNING) for name, one in bench.office.agencies.items()}
    for report in away.values():
        await reports.destination_issue("mdf1", report)
    await reports.destination_issue("mdf1", replace(away["police"], report=ReportType.ALL_CLEAR))
    assert bench.alarms() == {(Code.DELIVERY, f"agency/{bench.office.agencies['customs'].number}/mdf1")}


async def test_a_link_that_failed_begins_anew(bench: Bench) -> None:
    told: list[Exception] = []
    bench.links._failed = told.append
    bench.elements["pop1"].failure = ZeroDivisionError("sip:alice@voice.example")
    await bench.warrant()
    await bench.until(NOON.timestamp() + 2)
    await bench.eventually(lambda: bench.elements["pop2"].xids)
    bench.elements["pop1"].failure = None
    await bench.until(NOON.timestamp() + 20)
    await bench.eventually(lambda: bench.elements["pop1"].xids)
    assert {type(error) for error in told} == {ZeroDivisionError}


async def test_keepalives_go_on(bench: Bench) -> None:
    await bench.until(START + 65)
    asked = bench.elements["pop1"].asked
    assert 5 <= asked.count("Keepalive") <= 7
    assert asked.count("GetAllDetails") >= 2


async def test_an_element_that_is_added_takes_part_at_once(bench: Bench) -> None:
    await bench.warrant()
    await bench.until(NOON.timestamp() + 1)
    pop3 = ElementSettings("pop3", POP2.kind, "https://127.0.0.1:1/X1/NE", POP2.services)
    await site_desk.element_add(bench.office, bench.caller("chris"), {"settings": ELEMENT_SETTINGS.json(pop3)})
    await bench.settle()
    await bench.until(bench.clock.now() + 1)
    assert bench.elements["pop3"].xids == bench.elements["pop1"].xids


async def test_an_element_that_moved_is_spoken_with_where_it_is(bench: Bench) -> None:
    await bench.warrant()
    await bench.until(NOON.timestamp() + 1)
    bench.elements["pop2"].held = Memory().held
    moved = replace(POP2, url="https://127.0.0.1:9/X1/NE")
    arguments: JsonObject = {"settings": ELEMENT_SETTINGS.json(moved), "replace": True}
    await site_desk.element_add(bench.office, bench.caller("chris"), arguments)
    await bench.settle()
    await bench.until(bench.clock.now() + 1)
    assert "close" in bench.elements["pop2"].asked
    assert bench.elements["pop2"].xids == bench.elements["pop1"].xids


async def test_what_would_break_a_standing_warrant_is_refused(bench: Bench) -> None:
    await bench.warrant(targets=(SIP,))
    chris = bench.caller("chris")
    deaf = ElementSettings("pop3", POP2.kind, "https://127.0.0.1:1/X1/NE", POP2.services, content=False)
    refused: list[tuple[object, JsonObject]] = [
        (site_desk.element_add, {"settings": ELEMENT_SETTINGS.json(deaf)}),
        (site_desk.element_remove, {"name": "mdf1"}),
        (site_desk.agency_remove, {"name": "police"}),
        (site_desk.officer_remove, {"name": "chris"}),
        (site_desk.officer_add, {"name": "anna", "roles": ["approver"]}),
        (site_desk.agency_add, {"settings": AGENCY_SETTINGS.json(POLICE)}),
        (warrant_desk.create, {"content": CONTENT.json(content())}),  # the LIID was given before
    ]
    for act, arguments in refused:
        with pytest.raises(RefusedError):
            await act(bench.office, chris, arguments)  # type: ignore[operator]
    await bench.until(NOON.timestamp())
    with pytest.raises(RefusedError, match="have tasks"):
        await site_desk.element_remove(bench.office, chris, {"name": "pop1"})


async def test_nothing_is_submitted_that_cannot_be_done(bench: Bench) -> None:
    arguments: JsonObject = {"content": CONTENT.json(content(targets=(IMSI,))), "submit": True}
    with pytest.raises(RefusedError, match="for voice"):
        await warrant_desk.create(bench.office, bench.caller("anna"), arguments)
    assert not bench.office.warrants


async def test_calls_are_checked_and_refusals_audited(bench: Bench) -> None:
    async def act() -> str:
        return "done"

    office = bench.office
    assert await office.perform(bench.caller("anna"), "warrant.create", "warrant", act) == "done"
    strangers = [
        bench.caller("dora"),
        bench.caller("nobody"),
        Caller(SpiffeId("li.example", "element", "anna")),
        Caller(SpiffeId("other.example", "officer", "anna")),
    ]
    for caller in strangers:
        with pytest.raises(NfError):
            await office.perform(caller, "warrant.create", "warrant", act)
    records = (await office.store.records(4))[::-1]
    assert [record.actor for record in records] == [str(caller.identity) for caller in strangers]
    assert {record.outcome for record in records} == {"refused"}
    assert json.loads(records[0].detail_json)["certificate"] == "ab" * 32


async def test_everything_is_there_again_after_a_restart(bench: Bench) -> None:
    number = await bench.warrant()
    await bench.until(NOON.timestamp() + 1)
    again = await Office.open(bench.office.store, bench.clock, bench.office.own, bench.office.party)
    assert again.warrants == bench.office.warrants
    assert again.warrants[number].state is State.ACTIVE
    assert again.agencies == bench.office.agencies
    assert again.elements == bench.office.elements
    assert again.officers["chris"] == Officer("chris", frozenset({Role.ADMIN}), bench.office.officers["chris"].added_at)
    assert OFFICER.json(again.officers["chris"])["roles"] == ["li-admin"]
