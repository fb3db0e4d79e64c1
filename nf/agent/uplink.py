"""Keeps a session and a telemetry stream to the NOC, for ever: reconnects with full jitter, renews the certificate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Final

from nf.agent.enrolment import Enrolled, Keyring
from nf.agent.session import Commands, state_notice
from nf.agent.telemetry import TelemetryHub
from nf.clock import Clock
from nf.contracts.image import ImageReport
from nf.control.channel import FullJitter, Options, noc_channel
from nf.control.convert import image_to_proto
from nf.control.errors import translated
from nf.control.v1 import fleet_pb2 as pb
from nf.control.v1 import fleet_pb2_grpc
from nf.errors import IdentityError, NfError, NotFoundError
from nf.transaction.model import Standing
from nf.trust.identity import Identity

_log = logging.getLogger(__name__)

_RENEW_RETRY_S: Final = 300.0
_STABLE_S: Final = 10.0


class Uplink:
    """`standing`: where the engine stands, asked for each hello. `welcome` hears what the NOC says first."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        commands: Commands,
        hub: TelemetryHub,
        clock: Clock,
        standing: Callable[[], Standing],
        describe: tuple[str, tuple[str, ...], tuple[str, ...]],
        welcome: Callable[[pb.Welcome], None],
        delays: FullJitter,
        options: Options | None = None,
        image: Callable[[], ImageReport | None] = lambda: None,
    ) -> None:
        """`describe`: software version, sections that its drivers serve, kinds of its probes. `image`: it runs from."""
        self._keyring = keyring
        self._commands = commands
        self._hub = hub
        self._clock = clock
        self._standing = standing
        self._version, self._sections, self._probe_kinds = describe
        self._welcome = welcome
        self._delays = delays
        self._options = options
        self._image = image
        self._boot_id = uuid.uuid4().hex
        self._renewed = asyncio.Event()
        self._told = ""
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Whatever happens here, the appliance goes on serving."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renewals(), name="renewals")
            group.create_task(self._sessions(), name="sessions")

    # ---- sessions ----

    async def _sessions(self) -> None:
        for attempt in count():
            await self._refresh_identity()
            addresses = self._enrolled().noc
            began = self._clock.monotonic()
            try:
                await self._connection(addresses[attempt % len(addresses)])
                self._say(logging.INFO, "the session with the NOC ended; dialling again")
            except NfError as error:
                self._say(logging.WARNING, f"no session with the NOC: {error}")
            if self._renewed.is_set() or self._clock.monotonic() - began > _STABLE_S:
                self._delays.reset()
            if not self._renewed.is_set():
                await self._clock.sleep(self._delays.next_s())

    def _say(self, level: int, text: str) -> None:
        """Once for each new reason: a month without a NOC is not a month of log lines."""
        if text != self._told:
            self._told = text
            _log.log(level, "%s", text)

    def _enrolled(self) -> Enrolled:
        enrolled = self._keyring.enrolled
        if enrolled is None:
            raise IdentityError("not enrolled")
        return enrolled

    def _identity(self) -> Identity:
        identity = self._keyring.identity
        if identity is None:
            raise IdentityError("not enrolled")
        return identity

    async def _refresh_identity(self) -> None:
        """A new enrolment file, or a certificate that expired meanwhile: TLS would only say that nobody is there."""
        try:
            with contextlib.suppress(NotFoundError):
                await self._keyring.enrol_if_asked()
            if self._identity().expired(self._clock.now()):
                await self._keyring.renew()
        except NfError as error:
            self._say(logging.WARNING, f"no new certificate: {error}")

    async def _connection(self, address: str) -> None:
        """One channel with both streams, until one of them ends or the certificate is renewed."""
        self._renewed.clear()
        async with noc_channel(address, self._identity(), options=self._options) as channel:
            stub: Any = fleet_pb2_grpc.FleetStub(channel)
            await _first_to_end(self._session(stub), self._telemetry(stub), self._renewed.wait())

    async def _session(self, stub: Any) -> None:
        call = stub.Session(self._commands.outgoing(self._hello()))
        try:
            with translated():
                async for message in call:
                    if message.WhichOneof("body") == "welcome":
                        self._told = ""
                        _log.info("session with %s", message.welcome.noc)
                        self.connected.set()
                        self._welcome(message.welcome)
                    else:
                        self._commands.take(message)
        finally:
            self.connected.clear()
            call.cancel()

    async def _telemetry(self, stub: Any) -> None:
        """Waits for the session, whose errors say more."""
        await self.connected.wait()
        call = stub.Telemetry(self._hub.batches())
        try:
            with translated():
                await call
        finally:
            call.cancel()

    def _hello(self) -> pb.Hello:
        enrolled, notice = self._enrolled(), state_notice(self._standing())
        hello = pb.Hello(
            appliance=enrolled.appliance,
            serial=enrolled.serial,
            software_version=self._version,
            boot_id=self._boot_id,
            confirmed_revision=notice.confirmed_revision,
            confirmed_digest=notice.confirmed_digest,
            last_transaction=notice.last_transaction,
            last_outcome=notice.last_outcome,
            sections=self._sections,
            probe_kinds=self._probe_kinds,
        )
        if notice.HasField("in_flight"):
            hello.in_flight.CopyFrom(notice.in_flight)
        if (image := self._image()) is not None:
            hello.image.CopyFrom(image_to_proto(image))
        return hello

    # ---- the certificate ----

    async def _renewals(self) -> None:
        """At two thirds of its life, then a new connection with it; a failure is tried again, the old one serves on."""
        while True:
            identity = self._identity()
            await self._clock.sleep(identity.renew_at() - self._clock.now())
            if self._identity() is not identity:
                continue
            try:
                await self._keyring.renew()
                self._renewed.set()
            except NfError as error:
                _log.warning("the certificate is not renewed: %s", error)
                left = max(10.0, (identity.not_after - self._clock.now()) / 20)
                await self._clock.sleep(min(_RENEW_RETRY_S, left) * (0.5 + self._delays.source.random() / 2))


async def _first_to_end(*works: Coroutine[Any, Any, Any]) -> None:
    """Run all until one ends, then end the others. Raises what the first one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
