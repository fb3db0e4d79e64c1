"""What appliances dial: their session and their telemetry; and, on a port of its own, enrolment."""

# Names and signatures are those of the RPCs.
# ruff: noqa: N802, ARG002

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc

from nf.control.authorization import current_peer
from nf.control.v1 import fleet_pb2 as pb
from nf.control.v1 import fleet_pb2_grpc
from nf.errors import DeniedError, InputError
from nf.noc import sessions as live
from nf.noc.calls import Calls, Certificate
from nf.noc.sessions import Sessions
from nf.noc.telemetry import Telemetry
from nf.trust.enrolment import Enrolment

_HELLO_S: Final = 10.0

Context = grpc.aio.ServicerContext[Any, Any]
Refused = Callable[[str, str], Awaitable[None]]
"""(actor, claimed name): puts a false claim on record."""


class FleetService(fleet_pb2_grpc.FleetServicer):
    def __init__(
        self,
        sessions: Sessions,
        telemetry: Telemetry,
        calls: Calls,
        *,
        welcome: Callable[[str], pb.Welcome],
        came: Callable[[live.Session], Awaitable[None]],
        heard: Callable[[live.Session], Awaitable[None]],
        gone: Callable[[live.Session], None],
        false_claim: Refused,
        bundle: Callable[[str, str, int], AsyncIterator[bytes]],
    ) -> None:
        """`welcome`: what an appliance is told first; `came`: a new session; `heard`: it stands elsewhere now;
        `gone`: no session of it is left; `bundle`: pieces for an appliance, by digest, from an offset on.
        """
        self._sessions = sessions
        self._telemetry = telemetry
        self._calls = calls
        self._welcome = welcome
        self._came = came
        self._heard = heard
        self._gone = gone
        self._false_claim = false_claim
        self._bundle = bundle
        self._reading: set[asyncio.Task[Any]] = set()

    async def Session(
        self, request_iterator: AsyncIterator[pb.AgentMessage], context: Context
    ) -> AsyncIterator[pb.NocMessage]:
        """Raises InputError (no hello), DeniedError (it claims another's name), IdentityError (revoked meanwhile)."""
        with self._calls.running(_certificate()) as call:
            session = live.Session(await self._hello(request_iterator))
            call.check()
            call.end = session.close
            async with aclosing(self._serve(session, request_iterator)) as messages:
                async for message in messages:
                    yield message
            call.check()

    async def _serve(
        self, session: live.Session, request_iterator: AsyncIterator[pb.AgentMessage]
    ) -> AsyncGenerator[pb.NocMessage, None]:
        session.send(pb.NocMessage(welcome=self._welcome(session.appliance)))
        self._sessions.attach(session)
        reader = asyncio.create_task(self._read(session, request_iterator), name=f"session {session.appliance}")
        try:
            await self._came(session)
            async for message in session.outgoing():
                yield message
        finally:
            self._let_end(reader)
            if self._sessions.detach(session):
                self._gone(session)

    def _let_end(self, reader: asyncio.Task[Any]) -> None:
        """It ends with its call. A read that is cancelled leaves gRPC writing into memory that is freed."""
        self._reading.add(reader)
        reader.add_done_callback(self._ended)

    def _ended(self, reader: asyncio.Task[Any]) -> None:
        self._reading.discard(reader)
        if not reader.cancelled():
            reader.exception()  # of a stream that is over: nobody waits for it

    async def _hello(self, requests: AsyncIterator[pb.AgentMessage]) -> pb.Hello:
        reading = asyncio.create_task(_first(requests), name="hello")
        self._let_end(reading)
        await asyncio.wait({reading}, timeout=_HELLO_S)
        first = reading.result() if reading.done() else None
        if first is None or first.WhichOneof("body") != "hello":
            raise InputError("a session begins with a hello", where="Session")
        peer = current_peer()
        if first.hello.appliance != peer.spiffe_id.name:
            await self._false_claim(str(peer), first.hello.appliance)
            raise DeniedError(
                f"{peer} claims to be {first.hello.appliance}",
                where="Session",
                remedy="start the agent with the identity of its own appliance",
            )
        return first.hello

    async def _read(self, session: live.Session, requests: AsyncIterator[pb.AgentMessage]) -> None:
        try:
            async for message in requests:
                if session.closed.is_set():
                    return
                self._sessions.seen(session.appliance)
                if message.WhichOneof("body") == "progress":
                    self._sessions.progressed(session.appliance, message.progress)
                elif session.take(message):
                    await self._heard(session)
        finally:
            session.close()

    async def Telemetry(self, request_iterator: AsyncIterator[pb.TelemetryBatch], context: Context) -> pb.TelemetryAck:
        """The name is the certificate's: nobody measures for another. Raises IdentityError (revoked meanwhile)."""
        cut = asyncio.Event()
        cutting = asyncio.create_task(cut.wait(), name="cut of a telemetry stream")
        reading = asyncio.create_task(self._measured(current_peer().spiffe_id.name, request_iterator, cut))
        self._let_end(reading)
        with self._calls.running(_certificate(), cut.set) as call:
            try:
                await asyncio.wait({cutting, reading}, return_when=asyncio.FIRST_COMPLETED)
                call.check()
                return pb.TelemetryAck(items=reading.result())
            finally:
                cut.set()
                cutting.cancel()

    async def FetchBundle(self, request: pb.FetchBundleRequest, context: Context) -> AsyncIterator[pb.BundleData]:
        """Raises DeniedError (no upgrade brings it to the caller), NotFoundError, IdentityError (revoked meanwhile)."""
        with self._calls.running(_certificate()) as call:
            pieces = self._bundle(current_peer().spiffe_id.name, request.sha256, request.offset)
            async with aclosing(pieces) as data:  # type: ignore[type-var]
                async for piece in data:
                    call.check()
                    yield pb.BundleData(data=piece)

    async def _measured(self, appliance: str, batches: AsyncIterator[pb.TelemetryBatch], cut: asyncio.Event) -> int:
        items = 0
        async for batch in batches:
            if cut.is_set():
                break
            items += len(batch.items)
            self._telemetry.take(appliance, batch)
        return items


async def _first(requests: AsyncIterator[pb.AgentMessage]) -> pb.AgentMessage | None:
    async for message in requests:
        return message
    return None


def _certificate() -> Certificate:
    peer = current_peer()
    return peer.spiffe_id, peer.certificate_serial


class EnrolmentService(fleet_pb2_grpc.EnrolmentServicer):
    """Thin: the rules are in nf.trust.enrolment."""

    def __init__(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment

    async def Challenge(self, request: pb.ChallengeRequest, context: Context) -> pb.ChallengeResponse:
        return pb.ChallengeResponse(nonce=await self._enrolment.challenge(request.appliance))

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolResponse:
        certificate, ca = await self._enrolment.enrol(
            appliance=request.appliance,
            serial=request.serial,
            token=request.token,
            csr_der=request.csr_der,
            device_public_key=request.device_public_key,
            nonce=request.nonce,
            nonce_signature=request.nonce_signature,
        )
        return pb.EnrolResponse(certificate_pem=certificate, ca_pem=ca)

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.EnrolResponse:
        certificate, ca = await self._enrolment.renew(
            appliance=request.appliance,
            csr_der=request.csr_der,
            nonce=request.nonce,
            nonce_signature=request.nonce_signature,
        )
        return pb.EnrolResponse(certificate_pem=certificate, ca_pem=ca)
