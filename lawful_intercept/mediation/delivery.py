"""To one agency: its HI2 or its HI3 over a connection of its own, in order, until it has arrived (TS 102 232-1).

Each destination's IRI and CC have a task, a spool and a connection each: who is slow or away keeps nobody else waiting.
A PS-PDU is sent again, whole, until it is known to have arrived: by pDUAcknowledgement where the agency agrees to it,
else when the peer's kernel has acknowledged its last octet. What is sent twice has the same number twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from lawful_intercept.handover import tri
from lawful_intercept.handover.decoder import PsPdu, Tri, decode
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.splitter import Splitter
from lawful_intercept.handover.values import Header
from lawful_intercept.mediation.alarms import Alarms, Code
from lawful_intercept.mediation.journal import Outbox, damaged
from lawful_intercept.mediation.link import Link
from lawful_intercept.mediation.products import Target
from lawful_intercept.spool import Batch, Reader, SpoolDamagedError
from nf.clock import Clock
from nf.errors import IdentityError, UnavailableError

NS: Final = 1_000_000_000
_U32: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds and octets.

    first_s, longest_s  how long a lost connection is waited for: at random up to twice as long as the time before
    answer_s            for an answer to a keep-alive, an option or an acknowledgement request
    look_s              how often the kernel is asked what has arrived
    stalled_s           an agency that takes nothing for so long is told of
    yield_s             for which CC waits for IRI at most
    window              octets that are sent and not confirmed
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    answer_s: float = 30.0
    look_s: float = 0.05
    stalled_s: float = 60.0
    yield_s: float = 1.0
    batch: int = 1 << 18
    window: int = 8 << 20


class Delivery:
    """`first`: the IRI of the same destination, which go before its CC. `lost`: told how many a damaged spool lost."""

    def __init__(
        self,
        target: Target,
        outbox: Outbox,
        connect: Callable[[], Awaitable[Link]],
        *,
        alarms: Alarms,
        clock: Clock,
        first: Delivery | None = None,
        pace: Pace | None = None,
        lost: Callable[[str, int], None] = lambda _label, _count: None,
    ) -> None:
        self.target = target
        self.outbox = outbox
        self._connect = connect
        self._alarms = alarms
        self._clock = clock
        self._first = first
        self._pace = pace or Pace()
        self._lost = lost
        self._about = str(target.did)
        self.connected = False
        self.caught_up = asyncio.Event()
        """All that counts was sent on this connection, or nobody knows when there will be one."""
        self._hurried = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        attempt = 0
        while True:
            try:
                link = await self._connect()
            except IdentityError:
                self._alarms.stands(Code.REFUSED, self._about, "an agency's certificate is not the one of its link")
            except UnavailableError:
                self._alarms.stands(Code.AWAY, self._about, "an agency cannot be reached: its product waits")
            else:
                attempt = 0
                self._alarms.over(Code.REFUSED, self._about)
                self.connected = True
                self.caught_up.clear()
                if self._first is not None:
                    self._first.hurry()
                try:
                    await self._deliver(link)
                finally:
                    self.connected = False
                    link.close()
            self.caught_up.set()
            attempt += 1
            longest = min(self._pace.longest_s, self._pace.first_s * 2 ** min(attempt, 16))
            await self._pause(longest * secrets.randbelow(1000) / 1000)

    async def _pause(self, seconds: float) -> None:
        """Or until it is hurried."""
        waits = {asyncio.create_task(one) for one in (self._clock.sleep(seconds), self._hurried.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hurried.clear()
            for one in waits:
                one.cancel()

    async def _deliver(self, link: Link) -> None:
        """Until the connection ends."""
        session = _Session(self, link)
        tasks = [asyncio.create_task(one) for one in session.parts()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with contextlib.suppress(UnavailableError, PduError):
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- what a session needs ---------------------------------------------------------------------------------------

    @property
    def pace(self) -> Pace:
        return self._pace

    @property
    def clock(self) -> Clock:
        return self._clock

    def hurry(self) -> None:
        """The agency is there, by its other connection: it is tried now, and waited for."""
        if not self.connected:
            self.caught_up.clear()
            self._hurried.set()

    async def turn(self) -> None:
        """IRI before CC, for as long as that is reasonable."""
        first = self._first
        if first is None or first.caught_up.is_set():
            return
        try:
            async with asyncio.timeout(self._pace.yield_s):
                await first.caught_up.wait()
        except TimeoutError:
            if not first.connected:  # what is not to be had is waited for once
                first.caught_up.set()

    def take(self, reader: Reader) -> Batch | None:
        try:
            return self.outbox.take(reader, self._pace.batch)
        except SpoolDamagedError as error:
            lost = damaged(self.outbox, reader, error, self._alarms)
            self._lost(self.outbox.label, lost)
            return Batch(reader.next, [])

    def progress(self, *, good: bool) -> None:
        if good:
            self._alarms.over(Code.AWAY, self._about)
        else:
            self._alarms.stands(Code.AWAY, self._about, "an agency takes nothing: its product waits")


class _Session:
    """One connection."""

    def __init__(self, delivery: Delivery, link: Link) -> None:
        self._delivery = delivery
        self._link = link
        settings = delivery.target.settings
        self._settings = settings
        self._header = Header(
            liid=settings.keepalive_liid.encode(),
            authorisation_country=settings.authorisation_country,
            operator=settings.operator.encode(),
            element=settings.element.encode(),
            delivery_country=settings.delivery_country,
            version=settings.domain_version,
            time_form=settings.time_form.value,
        )
        self._sequence = 0
        self._acknowledged = False
        self._sent: deque[tuple[int, int, int]] = deque()
        """(end on the wire or number of the request, last record, octets), not confirmed yet."""
        self._open_octets = 0
        self._answered = asyncio.Event()
        self._options: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._moved = asyncio.Event()
        self._progress_at = delivery.clock.monotonic()

    def parts(self) -> tuple[Coroutine[None, None, None], ...]:
        return self._send(), self._receive(), self._watch()

    async def _send(self) -> None:
        delivery, pace = self._delivery, self._delivery.pace
        if self._settings.acknowledgements:
            await self._negotiate()
        delivery.progress(good=True)
        reader = delivery.outbox.spool.reader()
        try:
            while True:
                delivery.outbox.arrived.clear()
                await delivery.turn()
                batch = delivery.take(reader)
                if batch is None:
                    delivery.caught_up.set()
                    await self._idle()
                elif batch.records:
                    delivery.caught_up.clear()
                    await self._write(batch)
                while self._open_octets >= pace.window:
                    self._moved.clear()
                    await self._moved.wait()
        finally:
            reader.close()

    async def _write(self, batch: Batch) -> None:
        octets = b"".join(batch.records)
        await self._link.write(octets)
        self._open_octets += len(octets)
        if not self._sent:
            self._progress_at = self._delivery.clock.monotonic()
        if self._acknowledged:
            number = self._next()
            self._sent.append((number, batch.last, len(octets)))
            await self._link.write(tri.acknowledgement_request(self._header, number, self._now_ns()))
        else:
            self._sent.append((self._link.sent, batch.last, len(octets)))

    async def _idle(self) -> None:
        """Until there is something to send; keep-alives meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.keepalive_s):
                await self._delivery.outbox.arrived.wait()
                return
        self._answered.clear()
        await self._link.write(tri.keep_alive(self._header, self._next(), self._now_ns()))
        try:
            async with asyncio.timeout(self._delivery.pace.answer_s):
                await self._answered.wait()
        except TimeoutError:
            raise UnavailableError("the agency does not answer") from None

    async def _negotiate(self) -> None:
        """An agency that declines, or that does not know options, is delivered to by what its kernel acknowledges."""
        await self._link.write(tri.option_request(self._header, self._next(), self._now_ns()))
        try:
            async with asyncio.timeout(self._delivery.pace.answer_s):
                self._acknowledged = await self._options
        except TimeoutError:
            return
        await self._link.write(tri.option_complete(self._header, self._next(), self._now_ns()))

    async def _receive(self) -> None:
        splitter = Splitter()
        while True:
            for octets in splitter.feed(await self._link.read()):
                await self._heard(decode(octets))

    async def _heard(self, pdu: PsPdu) -> None:
        match pdu.tri:
            case Tri.KEEP_ALIVE:
                await self._link.write(tri.answer(pdu, Tri.KEEP_ALIVE_RESPONSE))
            case Tri.KEEP_ALIVE_RESPONSE:
                self._answered.set()
            case Tri.OPTION_REQUEST:
                await self._link.write(tri.option_response(pdu, ()))
            case Tri.OPTION_RESPONSE:
                if not self._options.done():
                    self._options.set_result(tri.ACKNOWLEDGEMENT in tri.accepted_options(pdu))
            case Tri.ACKNOWLEDGEMENT_RESPONSE if self._acknowledged:
                self._confirm_request(pdu.sequence)
            case _:
                pass

    def _confirm_request(self, number: int) -> None:
        """It is a receipt for all that was asked for before it too."""
        if any(sent[0] == number for sent in self._sent):
            while self._sent:
                found, last, octets = self._sent.popleft()
                self._confirm(last, octets)
                if found == number:
                    return

    async def _watch(self) -> None:
        """What has arrived, and whether anything does."""
        delivery, pace = self._delivery, self._delivery.pace
        while True:
            await delivery.clock.sleep(pace.look_s if self._sent else 4 * pace.look_s)
            if not self._sent:
                continue
            if not self._acknowledged:
                arrived = self._link.acknowledged()
                while self._sent and self._sent[0][0] <= arrived:
                    _, last, octets = self._sent.popleft()
                    self._confirm(last, octets)
            silent = delivery.clock.monotonic() - self._progress_at if self._sent else 0.0
            if silent >= pace.stalled_s:
                delivery.progress(good=False)
            if self._acknowledged and silent >= pace.stalled_s + pace.answer_s:
                raise UnavailableError("the agency acknowledges nothing")

    def _confirm(self, last: int, octets: int) -> None:
        self._delivery.outbox.confirm(last)
        self._open_octets -= octets
        self._progress_at = self._delivery.clock.monotonic()
        self._delivery.progress(good=True)
        self._moved.set()

    def _next(self) -> int:
        number = self._sequence
        self._sequence = (self._sequence + 1) & _U32
        return number

    def _now_ns(self) -> int:
        return int(self._delivery.clock.now() * NS)
