"""The server of X1 (ETSI TS 103 221-1 clauses 5, 6.1, 7): who may ask, in which version, and each request once.

Errors of X1 travel in HTTP 200; HTTP's own codes are for what is wrong with HTTP. A network element and an ADMF, which
hears their reports, are served alike: `services`.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Self
from uuid import UUID, uuid4

from cryptography import x509

from lawful_intercept.https import DEFAULT, HttpsServer, Limits, Message, peer_certificate
from lawful_intercept.x1 import codec
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.faults import TEXTS, Code, X1Fault
from lawful_intercept.x1.messages import VERSION, Header
from lawful_intercept.x1.services import GENERIC_CODES, READING, Service
from nf.clock import Clock, RealClock
from nf.errors import IdentityError
from nf.trust.certificates import spiffe_id_of

ELEMENT_PATH: Final = "/X1/NE"
ADMF_PATH: Final = "/X1/ADMF"

_TYPES: Final = frozenset({b"application/xml", b"text/xml"})
_LONG: Final = (e.AllDetails, e.AllTaskDetails, e.AllDestinationDetails)
_REMEMBERED: Final = 65_536


def element_name(certificate: x509.Certificate) -> str:
    """The identifier in X1 of whom a certificate names: an element of lawful intercept. Raises IdentityError."""
    name = spiffe_id_of(certificate)
    if name.kind != "element":
        raise IdentityError("the certificate is of no element", remedy="issue one of kind `element`")
    return name.name


@dataclass(slots=True)
class _Entry:
    at: float
    digest: bytes
    answer: asyncio.Future[e.ResponseBody]


class Transactions:
    """Changes that were asked for within `window_s`, so that one that comes again is not carried out again."""

    def __init__(self, window_s: float, clock: Clock) -> None:
        self._window_s = window_s
        self._clock = clock
        self._entries: OrderedDict[tuple[str, UUID], _Entry] = OrderedDict()

    def enter(self, peer: str, request: e.Request) -> tuple[_Entry, bool]:
        """The entry and whether it is new. Raises X1Fault: the id was another request's, or there are too many."""
        now = self._clock.monotonic()
        while self._entries and next(iter(self._entries.values())).at < now - self._window_s:
            self._entries.popitem(last=False)
        key, digest = (peer, request.header.transaction), _digest(request)
        entry = self._entries.get(key)
        if entry is not None:
            if entry.digest != digest:
                raise X1Fault(Code.GENERIC, "the transaction id was used for another request")
            return entry, False
        if len(self._entries) >= _REMEMBERED:
            raise X1Fault(Code.GENERIC, "too many requests", remedy="wait some minutes")
        entry = self._entries[key] = _Entry(now, digest, asyncio.get_running_loop().create_future())
        return entry, True


def _digest(request: e.Request) -> bytes:
    """Of what is asked; when it was written is left out, as a retry may tell its own time."""
    timeless = replace(request.header, at=datetime.fromtimestamp(0, UTC))
    return hashlib.sha256(codec.encode_requests([e.Request(timeless, request.body)])).digest()


class X1Application:
    """The ASGI application, for `https.HttpsServer`.

    identifier   of this element or ADMF in X1
    peers        ADMFs (or elements) that may speak with it, by identifier; looked into at each request
    freshness_s  a message written so much before or after now by this clock is refused (replay)
    failed       is told of errors that are no X1Fault, which the peer sees as its message's generic code
    """

    def __init__(
        self,
        identifier: str,
        service: Service,
        peers: Container[str],
        *,
        path: str,
        clock: Clock,
        freshness_s: float = 300.0,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._identifier = identifier
        self._service = service
        self._peers = peers
        self._path = path
        self._clock = clock
        self._freshness_s = freshness_s
        self._failed = failed
        self._transactions = Transactions(2 * freshness_s + 60.0, clock)
        self._change = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        status, headers, body = await self._http(scope, receive)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _http(self, scope: Message, receive: Callable[[], Any]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if scope["path"] != self._path:
            return 404, [], b""
        if scope["method"] != "POST":
            return 405, [(b"allow", b"POST")], b""
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        if kind.split(b";")[0].strip().lower() not in _TYPES:
            return 415, [], b""
        octets, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return 400, [], b""
            octets += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            peer = element_name(peer_certificate(scope))
        except IdentityError:
            peer = ""
        return 200, [(b"content-type", b"application/xml")], await self.respond(peer, bytes(octets))

    async def respond(self, peer: str, octets: bytes) -> bytes:
        """An X1 document for an X1 document. `peer`: name in its certificate, "" = it is of no element."""
        try:
            messages = codec.decode_requests(octets)
        except X1Fault:
            return codec.encode_top_level_error(self._header(peer or "unknown"))
        responses = [await self._respond(peer, message) for message in messages]
        if any(isinstance(response.body, _LONG) for response in responses):
            # Thousands of tasks take longer to write than whoever shares this event loop may wait.
            return await asyncio.to_thread(codec.encode_responses, responses)
        return codec.encode_responses(responses)

    def _header(self, peer: str) -> Header:
        admf, element = (peer, self._identifier) if self._service.of_element else (self._identifier, peer)
        return Header(admf, element, self._now(), uuid4())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)

    async def _respond(self, peer: str, message: e.Request | codec.Unreadable) -> e.Response:
        name = message.message if isinstance(message, codec.Unreadable) else e.name_of(message.body)
        version = message.header.version
        body: e.ResponseBody
        try:
            self._check_identity(peer, message.header)
            if isinstance(message, codec.Unreadable):
                if message.fault.code == Code.VERSION:
                    version = VERSION
                raise message.fault
            self._check_fresh(message.header)
            body = await self._once(peer, message)
        except X1Fault as fault:
            body = e.Refusal(name, fault.code, fault.message)
        return e.Response(replace(message.header, at=self._now(), version=version), body)

    def _check_identity(self, peer: str, header: Header) -> None:
        """Certificate and identifiers have to agree (clause 6.7: 1030 to 1060)."""
        if self._service.of_element:
            theirs, ours = header.admf, header.element
            wrong, unexpected, not_us = Code.ADMF_CERTIFICATE, Code.UNEXPECTED_ADMF, Code.UNEXPECTED_ELEMENT
        else:
            theirs, ours = header.element, header.admf
            wrong, unexpected, not_us = Code.ELEMENT_CERTIFICATE, Code.UNEXPECTED_ELEMENT, Code.UNEXPECTED_ADMF
        if theirs != peer:
            raise X1Fault(wrong)
        if peer not in self._peers:
            raise X1Fault(unexpected)
        if ours != self._identifier:
            raise X1Fault(not_us)

    def _check_fresh(self, header: Header) -> None:
        if abs((header.at - self._now()).total_seconds()) > self._freshness_s:
            raise X1Fault(Code.GENERIC, "messageTimestamp is too far from the time here")

    async def _once(self, peer: str, request: e.Request) -> e.ResponseBody:
        if e.name_of(request.body) in READING:
            return await self._carry_out(peer, request.body)
        entry, new = self._transactions.enter(peer, request)
        if new:
            # On its own: a peer that goes away does not leave a task half done.
            task = asyncio.create_task(self._change_once(peer, request.body, entry.answer))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await asyncio.shield(entry.answer)

    async def _change_once(self, peer: str, body: e.RequestBody, answer: asyncio.Future[e.ResponseBody]) -> None:
        try:
            async with self._change:
                result = await self._carry_out(peer, body)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        answer.set_result(result)

    async def _carry_out(self, peer: str, body: e.RequestBody) -> e.ResponseBody:
        name = e.name_of(body)
        try:
            return await self._service.answer(peer, body)
        except X1Fault as fault:
            return e.Refusal(name, fault.code, fault.message)
        except Exception as error:  # noqa: BLE001 - what went wrong inside is for nobody outside
            if self._failed is not None:
                self._failed(error)
            code = GENERIC_CODES.get(name, Code.GENERIC)
            return e.Refusal(name, code, TEXTS[code])


class X1Server:
    """An X1Application behind HTTPS. `port` 0: any. Raises InputError, and UnavailableError at the start."""

    def __init__(
        self,
        identifier: str,
        service: Service,
        tls: ssl.SSLContext,
        *,
        address: str,
        port: int,
        peers: Container[str],
        path: str = "",
        clock: Clock | None = None,
        freshness_s: float = 300.0,
        limits: Limits = DEFAULT,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._http = HttpsServer(
            X1Application(
                identifier,
                service,
                peers,
                path=path or (ELEMENT_PATH if service.of_element else ADMF_PATH),
                clock=clock or RealClock(),
                freshness_s=freshness_s,
                failed=failed,
            ),
            tls,
            address=address,
            port=port,
            limits=limits,
            failed=failed,
        )

    @property
    def port(self) -> int:
        return self._http.port

    async def start(self) -> None:
        await self._http.start()

    async def close(self) -> None:
        await self._http.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
