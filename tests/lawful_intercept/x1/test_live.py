"""X1 over TLS on loopback: an ADMF, an element, and who is neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import ip_address
from uuid import uuid4

import pytest

from lawful_intercept.https_client import HttpsClient
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.x1 import codec
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.element import Element, Report
from lawful_intercept.x1.faults import Code, X1Fault, X1NoAnswer
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationDetails,
    Header,
    IssueType,
    Outcome,
    ReportType,
    SocketAddress,
    TaskDetails,
)
from lawful_intercept.x1.reporter import Reporter
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import AdministrationService, ElementService
from nf.clock import RealClock
from nf.errors import IdentityError
from tests.lawful_intercept.x1.conftest import Certificates, Owner, pki

MDF = DestinationDetails(uuid4(), DeliveryType.X2_AND_X3, SocketAddress(ip_address("192.0.2.7"), 4000), "mediation")


def task(**changes: object) -> TaskDetails:
    known: dict[str, object] = {
        "xid": uuid4(),
        "targets": (TargetIdentifier("sipUri", "sip:alice@tv.example"), TargetIdentifier("e164Number", "49401")),
        "delivery": DeliveryType.X2_AND_X3,
        "destinations": (MDF.did,),
    }
    return TaskDetails(**(known | changes))  # type: ignore[arg-type]


class Live:
    """An element `poi1` behind TLS, and clients of it."""

    def __init__(self, certificates: Certificates, owner: Owner) -> None:
        self.owner = owner
        self.reports: list[Report] = []
        self.element = Element(owner, RealClock(), mediation=False, report=self.reports.append)
        self.certificates = certificates
        self.server = X1Server(
            "poi1",
            ElementService(self.element),
            certificates.server("poi1"),
            address="127.0.0.1",
            port=0,
            peers={"admf"},
        )
        self._clients: list[X1Client] = []

    def client(self, own: str = "admf", peer: str = "poi1", certificate: str = "", **options: object) -> X1Client:
        who = pki.Who.OFFICER if certificate == "clerk" else pki.Who.ELEMENT
        made = X1Client(
            f"https://127.0.0.1:{self.server.port}/X1/NE",
            self.certificates.client(certificate or own, who),
            own,
            peer,
            **options,  # type: ignore[arg-type]
        )
        self._clients.append(made)
        return made

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self.server.close()


@pytest.fixture
async def live(certificates: Certificates, owner: Owner) -> AsyncIterator[Live]:
    made = Live(certificates, owner)
    await made.element.start()
    await made.server.start()
    yield made
    await made.close()


async def test_a_task_from_its_destination_to_its_end(live: Live) -> None:
    admf = live.client()
    await admf.ping()
    assert await admf.create_destination(MDF) is Outcome.COMPLETED
    first = task()
    assert await admf.activate_task(first) is Outcome.COMPLETED
    assert live.owner.active == {first.xid: first}
    found = await admf.get_task_details(first.xid)
    assert found.details == first
    assert (found.status.x2_octets, found.status.modifications) == (7, 0)
    changed = task(xid=first.xid, delivery=DeliveryType.X2_ONLY)
    await admf.modify_task(changed)
    assert (await admf.get_task_details(first.xid)).status.modifications == 1
    everything = await admf.get_all_details()
    assert [record.details for record in everything.tasks] == [changed]
    assert [record.details for record in everything.destinations] == [MDF]
    assert await admf.list_all_details() == e.AllIdentifiers((first.xid,), (MDF.did,))
    assert [record.details for record in await admf.get_all_task_details()] == [changed]
    assert [record.details for record in await admf.get_all_destination_details()] == [MDF]
    assert (await admf.get_destination_details(MDF.did)).details == MDF
    assert (await admf.get_ne_status()).faults == ()
    await admf.deactivate_task(first.xid)
    await admf.remove_destination(MDF.did)
    assert (live.owner.active, live.owner.destinations) == ({}, {})


@pytest.mark.parametrize(
    ("own", "peer", "certificate", "code"),
    [
        ("admf", "poi1", "poi2", Code.ADMF_CERTIFICATE),
        ("admf", "poi1", "clerk", Code.ADMF_CERTIFICATE),
        ("admf2", "poi1", "admf2", Code.UNEXPECTED_ADMF),
    ],
)
async def test_who_is_not_the_admf_is_told_which_identifier_is_wrong(
    live: Live, own: str, peer: str, certificate: str, code: Code
) -> None:
    with pytest.raises(X1Fault) as caught:
        await live.client(own, peer, certificate).keepalive()
    assert caught.value.code == code


async def test_a_request_for_another_element_is_refused(live: Live) -> None:
    header = Header("admf", "poi9", datetime.now(UTC), uuid4())
    octets = codec.encode_requests([e.Request(header, e.Command.PING)])
    http = HttpsClient(
        f"https://127.0.0.1:{live.server.port}/X1/NE", live.certificates.client("admf"), check=lambda _: None
    )
    answer = await http.request("POST", octets, headers=[("content-type", "application/xml")])
    await http.close()
    (response,) = codec.decode_responses(answer.body)  # type: ignore[misc]
    assert isinstance(response.body, e.Refusal)
    assert response.body.code == Code.UNEXPECTED_ELEMENT


async def test_an_element_that_is_another_is_not_spoken_with(live: Live) -> None:
    with pytest.raises(IdentityError):
        await live.client(peer="poi2").ping()
    assert live.owner.told == []


async def test_strangers_do_not_get_through_tls(live: Live, strangers: Certificates) -> None:
    url = f"https://127.0.0.1:{live.server.port}/X1/NE"
    good = live.certificates.client("admf")
    theirs = strangers.client("admf")
    theirs.load_verify_locations(live.certificates.files("admf").authority)
    for context in (theirs, strangers.client("admf")):
        client = X1Client(url, context, "admf", "poi1")
        with pytest.raises(X1NoAnswer):
            await client.ping()
        await client.close()
    client = X1Client(url, good, "admf", "poi1")
    await client.ping()
    await client.close()


async def test_several_messages_are_answered_one_for_one_and_in_order(live: Live) -> None:
    good, twice = task(), e.CreateDestination(MDF)
    answers = await live.client().send_all(
        [
            twice,
            twice,
            e.ActivateTask(good),
            e.GetTaskDetails(uuid4()),
            e.ObjectRequest(e.ObjectCommand.GET),
            e.Command.PING,
        ]
    )
    codes = [answer.code if isinstance(answer, e.Refusal) else 0 for answer in answers]
    assert codes == [0, Code.DID_EXISTS, 0, Code.XID_UNKNOWN, Code.UNSUPPORTED, 0]
    assert set(live.owner.active) == {good.xid}


async def test_fifty_tasks_by_ten_clients_at_once(live: Live) -> None:
    admf = live.client()
    await admf.create_destination(MDF)
    tasks = [task() for _ in range(50)]
    clients = [live.client() for _ in range(10)]
    await asyncio.gather(*(clients[number % 10].activate_task(each) for number, each in enumerate(tasks)))
    assert live.owner.active == {each.xid: each for each in tasks}
    await asyncio.gather(*(clients[number % 10].deactivate_task(each.xid) for number, each in enumerate(tasks)))
    assert live.owner.active == {}


async def test_five_hundred_tasks_are_listed_whole(live: Live) -> None:
    admf = live.client()
    await admf.create_destination(MDF)
    tasks = [task() for _ in range(500)]
    answers = await admf.send_all([e.ActivateTask(each) for each in tasks])
    assert all(isinstance(answer, e.Done) for answer in answers)
    assert [record.details for record in (await admf.get_all_details()).tasks] == tasks


async def test_reports_reach_the_admf_in_order_and_with_their_element_s_name(certificates: Certificates) -> None:
    heard: list[tuple[str, object]] = []
    all_there = asyncio.Event()

    class Desk:
        async def task_issue(self, element: str, report: e.ReportTaskIssue) -> None:
            heard.append((element, report))

        async def destination_issue(self, element: str, report: e.ReportDestinationIssue) -> None:
            heard.append((element, report))
            raise X1Fault(Code.DID_UNKNOWN)

        async def element_issue(self, element: str, report: e.ReportNEIssue) -> None:
            heard.append((element, report))
            all_there.set()

    server = X1Server(
        "admf", AdministrationService(Desk()), certificates.server("admf"), address="127.0.0.1", port=0, peers={"poi1"}
    )
    async with server:
        url = f"https://127.0.0.1:{server.port}/X1/ADMF"
        client = X1Client(url, certificates.client("poi1"), "poi1", "admf", of_element=True)
        reporter = Reporter(client, RealClock())
        issues = [
            e.ReportTaskIssue(uuid4(), ReportType.WARNING, Code.WARNING, "late"),
            e.ReportDestinationIssue(uuid4(), ReportType.NON_TERMINATING_FAULT, Code.NON_TERMINATING_FAULT),
            e.ReportNEIssue(IssueType.ALERT, "empty", Code.DATABASE_CLEARED),
        ]
        for issue in issues:
            reporter.put(issue)
        running = asyncio.create_task(reporter.run())
        await all_there.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.close()
        wrong = X1Client(url, certificates.client("poi2"), "poi1", "admf", of_element=True)
        with pytest.raises(X1Fault) as caught:
            await wrong.report(issues[0])
        assert caught.value.code == Code.ELEMENT_CERTIFICATE
        await wrong.close()
    assert heard == [("poi1", issue) for issue in issues]
