"""What is no answer to what was asked is none, and what is sent once more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from lawful_intercept.https import HttpsServer, Message
from lawful_intercept.x1 import codec
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.client import X1Client, supervise
from lawful_intercept.x1.faults import Code, X1Fault, X1NoAnswer
from lawful_intercept.x1.messages import IssueType
from lawful_intercept.x1.reporter import Reporter
from nf.clock import RealClock, VirtualClock
from tests.lawful_intercept.x1.conftest import Certificates


class Peer:
    """A server that answers what `answers` makes of a request; None = the connection breaks off."""

    def __init__(self, certificates: Certificates) -> None:
        self.answers: Callable[[e.Request], bytes | None] = good
        self.status = 200
        self.seen: list[e.Request] = []
        self.arrived = asyncio.Queue[e.Request]()
        self.certificates = certificates
        self.server = HttpsServer(self.answer, certificates.server("poi1"), address="127.0.0.1", port=0)

    async def answer(self, scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        octets, more = b"", True
        while more:
            message = await receive()
            octets, more = octets + message["body"], message["more_body"]
        (request,) = codec.decode_requests(octets)
        assert isinstance(request, e.Request)
        self.seen.append(request)
        self.arrived.put_nowait(request)
        body = self.answers(request)
        if body is None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            raise OSError
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def client(self, **options: Any) -> X1Client:
        url = f"https://127.0.0.1:{self.server.port}/X1/NE"
        return X1Client(url, self.certificates.client("admf"), "admf", "poi1", **options)


def good(request: e.Request) -> bytes:
    return codec.encode_responses([e.Response(request.header, e.Done(e.name_of(request.body)))])


@pytest.fixture
async def peer(certificates: Certificates) -> AsyncIterator[Peer]:
    made = Peer(certificates)
    async with made.server:
        yield made


def changed(**fields: Any) -> Callable[[e.Request], bytes]:
    return lambda request: codec.encode_responses([e.Response(replace(request.header, **fields), e.Done("Ping"))])


NONE: dict[str, Callable[[e.Request], bytes]] = {
    "another transaction": changed(transaction=uuid4()),
    "another element": changed(element="poi2"),
    "another ADMF": changed(admf="other"),
    "another message": lambda request: codec.encode_responses([e.Response(request.header, e.Done("Keepalive"))]),
    "an error of another message": lambda request: codec.encode_responses(
        [e.Response(request.header, e.Refusal("Keepalive", 1000, ""))]
    ),
    "two answers": lambda request: codec.encode_responses([e.Response(request.header, e.Done("Ping"))] * 2),
    "a top-level error": lambda request: codec.encode_top_level_error(request.header),
    "a request": lambda request: codec.encode_requests([request]),
    "nothing": lambda request: b"",
    "no XML": lambda request: b"OK",
    "a DTD": lambda request: b"<!DOCTYPE a>" + good(request),
}


@pytest.mark.parametrize("name", NONE)
async def test_what_does_not_answer_the_request_is_no_answer(peer: Peer, name: str) -> None:
    peer.answers = NONE[name]
    client = peer.client()
    with pytest.raises(X1NoAnswer) as caught:
        await client.ping()
    assert caught.value.sent
    assert len(peer.seen) == 1
    await client.close()


async def test_http_errors_are_no_answers(peer: Peer) -> None:
    peer.status = 500
    client = peer.client()
    with pytest.raises(X1NoAnswer, match="500"):
        await client.ping()
    await client.close()


async def test_a_refusal_keeps_its_number_also_one_that_nobody_knows(peer: Peer) -> None:
    client = peer.client()
    for name, code in (("Ping", Code.GENERIC), ("Ping", 4711), (e.EXTENDED, Code.UNSUPPORTED)):
        peer.answers = lambda request, name=name, code=code: codec.encode_responses(  # type: ignore[misc]
            [e.Response(request.header, e.Refusal(name, code, "so it is"))]
        )
        with pytest.raises(X1Fault, match="so it is") as caught:
            await client.ping()
        assert caught.value.code == code
    await client.close()


@pytest.mark.parametrize(
    ("body", "repeats_changes", "times"),
    [
        (e.Command.PING, False, 2),
        (e.Command.GET_ALL_DETAILS, False, 2),
        (e.DeactivateTask(uuid4()), True, 2),
        (e.DeactivateTask(uuid4()), False, 1),
    ],
)
async def test_after_a_broken_connection_it_is_sent_once_more_as_it_was(
    peer: Peer, body: e.RequestBody, repeats_changes: bool, times: int
) -> None:
    peer.answers = lambda request: None
    client = peer.client(repeats_changes=repeats_changes)
    with pytest.raises(X1NoAnswer) as caught:
        await client.send(body)
    assert caught.value.sent
    assert len(peer.seen) == times
    assert len(set(peer.seen)) == 1
    await client.close()


async def test_supervision_tells_each_change_once(peer: Peer) -> None:
    told: list[bool] = []
    clock = VirtualClock()
    heard = asyncio.Queue[bool]()
    client = peer.client(timeout_s=5.0)
    running = asyncio.create_task(supervise(client, clock, every_s=20.0, told=heard.put_nowait))
    told.append(await heard.get())
    peer.answers = lambda request: b""
    while heard.empty():
        await clock.advance(20.0)
    told.append(await heard.get())
    assert told == [True, False]
    running.cancel()
    await client.close()


async def test_a_report_waits_until_the_admf_answers(peer: Peer) -> None:
    refuses = iter([b"", b"", None])
    peer.answers = lambda request: next(refuses, good(request))
    clock = VirtualClock()
    client = peer.client(repeats_changes=False)
    reporter = Reporter(client, clock)
    issue, after = (e.ReportNEIssue(IssueType.ALERT, text, Code.DATABASE_CLEARED) for text in ("first", "second"))
    reporter.put(issue)
    reporter.put(after)
    running = asyncio.create_task(reporter.run())
    while len(peer.seen) < 5:
        await clock.advance(1.0)
    assert [request.body for request in peer.seen] == [issue] * 4 + [after]
    running.cancel()
    await client.close()


async def test_reports_that_do_not_fit_are_told_as_a_number(peer: Peer) -> None:
    client = peer.client()
    reporter = Reporter(client, RealClock())
    last = e.ReportNEIssue(IssueType.ALERT, "last")
    for number in range(10_002):
        reporter.put(e.ReportNEIssue(IssueType.WARNING, str(number)))
    reporter._waiting.clear()
    reporter._waiting.append(last)
    running = asyncio.create_task(reporter.run())
    for _ in range(2):
        await peer.arrived.get()
    first, second = (request.body for request in peer.seen)
    assert isinstance(first, e.ReportNEIssue)
    assert (first.text, second) == ("2 reports were dropped", last)
    running.cancel()
    await client.close()
