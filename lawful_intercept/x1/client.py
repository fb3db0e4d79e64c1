"""The client of X1: an ADMF towards an element, and an element that reports to its ADMF (ETSI TS 103 221-1).

Each request has a transaction id of its own; what does not answer just that is no answer. Where the connection failed,
reading requests are sent once more, and changes too, with the id they had: a server of ours carries one out once. A
foreign server may not, so that changes are repeated only where `repeats_changes` says that the peer knows ids again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import UUID, uuid4

from cryptography import x509

from lawful_intercept.https_client import Answer, HttpsClient, HttpsUnavailable
from lawful_intercept.x1 import codec
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.faults import X1Fault, X1NoAnswer
from lawful_intercept.x1.messages import (
    DestinationDetails,
    DestinationRecord,
    ElementStatus,
    Header,
    Outcome,
    TaskDetails,
    TaskRecord,
)
from lawful_intercept.x1.server import element_name
from lawful_intercept.x1.services import READING
from nf.clock import Clock, RealClock
from nf.errors import IdentityError

A = TypeVar("A")

_LONG: Final = 1 << 17
"""An answer of more octets is read beside the event loop."""
_HEADERS: Final = (("content-type", "application/xml"), ("accept", "application/xml"))


class X1Client:
    """Speaks with one peer.

    url              https://HOST:PORT/X1/NE, or /X1/ADMF
    own, peer        identifiers in X1; the peer's certificate has to name `peer`
    of_element       this side is the element, the peer an ADMF
    repeats_changes  a change without an answer is sent once more

    All calls raise X1Fault (the peer refused), X1NoAnswer (nothing is known) and IdentityError (it is another).
    """

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext,
        own: str,
        peer: str,
        *,
        of_element: bool = False,
        clock: Clock | None = None,
        timeout_s: float = 10.0,
        repeats_changes: bool = True,
    ) -> None:
        self.peer = peer
        self._own = own
        self._of_element = of_element
        self._clock = clock or RealClock()
        self._repeats_changes = repeats_changes
        self._http = HttpsClient(url, tls, check=self._check, timeout_s=timeout_s)

    def _check(self, certificate: x509.Certificate) -> None:
        if element_name(certificate) != self.peer:
            raise IdentityError("the peer is another than was called", where="X1", remedy="correct its address or name")

    async def close(self) -> None:
        await self._http.close()

    async def send(self, body: e.RequestBody) -> e.ResponseBody:
        """One message, and what answers it; a refusal is raised."""
        (answer,) = await self.send_all([body])
        if isinstance(answer, e.Refusal):
            raise X1Fault(answer.code, answer.description)
        return answer

    async def send_all(self, bodies: Sequence[e.RequestBody]) -> tuple[e.ResponseBody, ...]:
        """Several in one document, carried out in order; refusals stand in their places and are not raised."""
        requests = [e.Request(self._header(), body) for body in bodies]
        octets = codec.encode_requests(requests)
        again = self._repeats_changes or all(e.name_of(body) in READING for body in bodies)
        answer = await self._exchange(octets, again=again)
        if len(answer) > _LONG:
            return await asyncio.to_thread(_judge, requests, answer)
        return _judge(requests, answer)

    async def activate_task(self, details: TaskDetails) -> Outcome:
        return await self._change(e.ActivateTask(details))

    async def modify_task(self, details: TaskDetails) -> Outcome:
        return await self._change(e.ModifyTask(details))

    async def deactivate_task(self, xid: UUID) -> Outcome:
        return await self._change(e.DeactivateTask(xid))

    async def deactivate_all_tasks(self) -> Outcome:
        return await self._change(e.Command.DEACTIVATE_ALL_TASKS)

    async def create_destination(self, details: DestinationDetails) -> Outcome:
        return await self._change(e.CreateDestination(details))

    async def modify_destination(self, details: DestinationDetails) -> Outcome:
        return await self._change(e.ModifyDestination(details))

    async def remove_destination(self, did: UUID) -> Outcome:
        return await self._change(e.RemoveDestination(did))

    async def remove_all_destinations(self) -> Outcome:
        return await self._change(e.Command.REMOVE_ALL_DESTINATIONS)

    async def get_task_details(self, xid: UUID) -> TaskRecord:
        return (await self._ask(e.GetTaskDetails(xid), e.TaskAnswer)).record

    async def get_destination_details(self, did: UUID) -> DestinationRecord:
        return (await self._ask(e.GetDestinationDetails(did), e.DestinationAnswer)).record

    async def get_ne_status(self) -> ElementStatus:
        return (await self._ask(e.Command.GET_NE_STATUS, e.ElementStatusAnswer)).status

    async def get_all_details(self) -> e.AllDetails:
        return await self._ask(e.Command.GET_ALL_DETAILS, e.AllDetails)

    async def get_all_task_details(self) -> tuple[TaskRecord, ...]:
        return (await self._ask(e.Command.GET_ALL_TASK_DETAILS, e.AllTaskDetails)).tasks

    async def get_all_destination_details(self) -> tuple[DestinationRecord, ...]:
        return (await self._ask(e.Command.GET_ALL_DESTINATION_DETAILS, e.AllDestinationDetails)).destinations

    async def list_all_details(self) -> e.AllIdentifiers:
        return await self._ask(e.Command.LIST_ALL_DETAILS, e.AllIdentifiers)

    async def ping(self) -> None:
        await self._change(e.Command.PING)

    async def keepalive(self) -> None:
        await self._change(e.Command.KEEPALIVE)

    async def report(self, issue: e.ReportTaskIssue | e.ReportDestinationIssue | e.ReportNEIssue) -> Outcome:
        """From an element to its ADMF."""
        return await self._change(issue)

    async def _change(self, body: e.RequestBody) -> Outcome:
        return (await self._ask(body, e.Done)).outcome

    async def _ask(self, body: e.RequestBody, kind: type[A]) -> A:
        answer = await self.send(body)
        if not isinstance(answer, kind):
            raise _no_answer("the answer is of another message")
        return answer

    def _header(self) -> Header:
        admf, element = (self.peer, self._own) if self._of_element else (self._own, self.peer)
        return Header(admf, element, datetime.fromtimestamp(self._clock.now(), UTC), uuid4())

    async def _exchange(self, octets: bytes, *, again: bool) -> bytes:
        try:
            answer = await self._http.request("POST", octets, headers=_HEADERS)
        except HttpsUnavailable as error:
            if not error.late and (again or not error.sent):
                return await self._exchange_last(octets)
            raise _unavailable(error) from error
        return _body_of(answer)

    async def _exchange_last(self, octets: bytes) -> bytes:
        try:
            return _body_of(await self._http.request("POST", octets, headers=_HEADERS))
        except HttpsUnavailable as error:
            raise _unavailable(error) from error


def _judge(requests: Sequence[e.Request], octets: bytes) -> tuple[e.ResponseBody, ...]:
    """Answers to just these requests, one for one and in order."""
    try:
        responses = codec.decode_responses(octets)
    except X1Fault as fault:
        raise _no_answer("the answer cannot be read") from fault
    if isinstance(responses, e.TopLevelError):
        raise _no_answer("the peer could not read the request")
    if len(responses) != len(requests):
        raise _no_answer("there are not as many answers as requests")
    for request, response in zip(requests, responses, strict=True):
        asked, told = request.header, response.header
        if (asked.admf, asked.element, asked.transaction) != (told.admf, told.element, told.transaction):
            raise _no_answer("the answer is to another request")
        answered = e.answer_name(response.body)
        unknown_there = isinstance(response.body, e.Refusal) and answered == e.EXTENDED
        if answered != e.name_of(request.body) and not unknown_there:
            raise _no_answer("the answer is of another message")
    return tuple(response.body for response in responses)


def _body_of(answer: Answer) -> bytes:
    if answer.status != 200:
        raise _no_answer(f"HTTP answered {answer.status}")
    return answer.body


def _unavailable(error: HttpsUnavailable) -> X1NoAnswer:
    return X1NoAnswer(error.message, sent=error.sent, remedy=error.remedy)


def _no_answer(what: str) -> X1NoAnswer:
    return X1NoAnswer(what, sent=True, remedy="see that the peer speaks X1, and in this version")


async def supervise(client: X1Client, clock: Clock, *, every_s: float, told: Callable[[bool], None]) -> None:
    """Runs until cancelled: keeps an element's tasks alive, and tells each change of whether it answers.

    `every_s`: at most a third of the element's `keepalive_s`, so that one that is lost does not end tasks.
    """
    answers: bool | None = None
    while True:
        try:
            await client.keepalive()
        except (X1NoAnswer, X1Fault, IdentityError):
            now = False
        else:
            now = True
        if now is not answers:
            answers = now
            told(now)
        await clock.sleep(every_s)
