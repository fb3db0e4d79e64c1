"""The process of mediation (`nf-li run mdf --config FILE`), as user `nf-li`.

It fails closed: without its key or with a state that is not as it was written it does not start; until the clock was
seen to be right once, nothing is taken from points; and while the clock is not, no task is activated.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine, Iterator
from typing import Final, Self

from lawful_intercept import isolation, tls
from lawful_intercept.configuration import TlsFiles, state_directory
from lawful_intercept.handover.decoder import Tri, decode
from lawful_intercept.handover.integrity import CheckType, read_check
from lawful_intercept.handover.reading import PduError
from lawful_intercept.keys import SecretKey, store_key
from lawful_intercept.mediation.agencies import Agencies
from lawful_intercept.mediation.alarms import Alarms, Code
from lawful_intercept.mediation.correlation import Counters, Numbers, Sessions, Sources, Tables, slots_of
from lawful_intercept.mediation.delivery import Pace
from lawful_intercept.mediation.iri_rules import Patience
from lawful_intercept.mediation.journal import Journal, Outbox, damaged
from lawful_intercept.mediation.mediator import NS, Mediator, Rules
from lawful_intercept.mediation.settings import MediationSettings
from lawful_intercept.mediation.state import State
from lawful_intercept.mediation.tasks import Products, Tasking
from lawful_intercept.spool import SpoolDamagedError
from lawful_intercept.timesync import TimeSync
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.element import Element
from lawful_intercept.x1.reporter import Reporter
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import ElementService
from lawful_intercept.x1.shelf import SealedFile
from lawful_intercept.x2x3.codec import Pdus
from lawful_intercept.x2x3.server import Server
from nf.clock import Clock
from nf.errors import IdentityError, NfError, RefusedError

_TICK_S: Final = 0.5
_CLOCK_S: Final = 10.0
_RENEW_S: Final = 600.0


class Mediation:
    """All of it in one event loop. `async with` starts and stops it; `failed` is done when it cannot go on."""

    def __init__(
        self,
        settings: MediationSettings,
        clock: Clock,
        *,
        timesync: TimeSync | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        limit_s = settings.clock.limit_ms / 1000
        self._timesync = timesync or TimeSync(assumed=settings.clock.assumed, limit_s=limit_s)
        self._pace = pace
        self._clock_was_right = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._contexts: list[tuple[ssl.SSLContext, TlsFiles]] = []
        self._stack = contextlib.AsyncExitStack()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        """Raises NfError of any kind."""
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        settings, clock = self._settings, self._clock
        directory = state_directory(settings.state)
        own = tls.own_identity(settings.tls)
        if (own.kind, own.name) != ("element", settings.name):
            raise IdentityError(
                "the certificate is of another name", where="tls", remedy=f"issue element {settings.name}"
            )
        self._domain = tls.own_identity(settings.x2x3.tls).domain
        key: SecretKey = await asyncio.to_thread(store_key, settings.store_key, directory)
        stack.enter_context(key)
        state = await asyncio.to_thread(State, directory / "state", key)
        stack.callback(state.close)
        self.alarms = Alarms(state, clock)
        isolation.quiet(asyncio.get_running_loop(), self._told)
        counters = Counters(state, slots_of(state))
        sessions, sources = Sessions(state, counters, clock.monotonic()), Sources(state, counters)
        numbers, products = Numbers(state, counters), Products()
        tables = Tables(sessions, sources, numbers, counters)
        collectors = [sessions.collect, sources.collect, numbers.collect, self.alarms.collect]

        def collect() -> dict[str, bytes | None]:
            return {name: value for one in collectors for name, value in one().items()}

        self.journal = Journal(state, counters, collect, alarms=self.alarms, clock=clock)
        said = settings.rules
        patience = Patience(media_s=said.media_lost_s, silent_s=said.silent_call_s)
        self.mediator = Mediator(
            products.of,
            tables,
            self.journal.stage_of,
            alarms=self.alarms,
            clock=clock,
            rules=Rules(patience, said.late_product_s),
        )
        self.agencies = Agencies(
            directory,
            key,
            state,
            journal=self.journal,
            numbers=numbers,
            alarms=self.alarms,
            clock=clock,
            links=settings.agencies,
            spools=settings.spools,
            plain=settings.plain,
            pace=self._pace,
        )
        collectors.append(self.agencies.collect)
        tasking = Tasking(
            products,
            self.mediator,
            self.agencies,
            self.journal,
            alarms=self.alarms,
            timesync=self._timesync,
            clock=clock,
        )
        self.journal.holds, self.journal.dropped, self.agencies.lost = (
            self.mediator.streams.holds,
            tasking.dropped,
            tasking.dropped,
        )
        stack.push_async_callback(self.agencies.close)  # after the journal has written its last group
        stack.push_async_callback(self._stop_tasks)
        self._spawn(self.journal.run())
        reporter = self._reporter(stack)
        element = Element(
            tasking,
            clock,
            mediation=True,
            report=reporter.put,
            shelf=SealedFile(directory / "tasks", key),
            keepalive_s=settings.keepalive_s or None,
        )
        self.journal.resuming = True
        await element.start()
        tasking.restoring = False
        for outbox in self.journal.outboxes.values():
            self._check_again(outbox, products)
        self.mediator.streams.resume(products.of)
        self.journal.resuming = False
        self._spawn(element.watch())
        self._spawn(self._tick())
        self._spawn(self._watch_clock())
        await self._serve(stack, element)

    def _reporter(self, stack: contextlib.AsyncExitStack) -> Reporter:
        settings, admf = self._settings, self._settings.admf
        context = self._context(tls.client_context, settings.tls)
        client = X1Client(admf.url, context, settings.name, admf.name, of_element=True, clock=self._clock)
        stack.push_async_callback(client.close)
        reporter = Reporter(client, self._clock)
        self._spawn(reporter.run())
        self._spawn(self.alarms.report(client.report))
        return reporter

    async def _serve(self, stack: contextlib.AsyncExitStack, element: Element) -> None:
        settings = self._settings
        self.x1 = X1Server(
            settings.name,
            ElementService(element),
            self._context(tls.server_context, settings.tls),
            address=str(settings.listen.address),
            port=settings.listen.port,
            peers={settings.admf.name},
            clock=self._clock,
            failed=lambda error: self._told(isolation.place_of(error)),
        )
        await stack.enter_async_context(self.x1)
        intake = settings.x2x3
        self.x2x3 = Server(
            (str(intake.listen.address), intake.listen.port),
            self._context(tls.server_context, intake.tls),
            self.take,
            peer=self._point,
            failed=lambda error: self._told(isolation.place_of(error)),
        )
        await stack.enter_async_context(self.x2x3)
        self._spawn(self._renew())

    def _context(self, make: Callable[[TlsFiles], ssl.SSLContext], files: TlsFiles) -> ssl.SSLContext:
        context = make(files)
        self._contexts.append((context, files))
        return context

    async def _renew(self) -> None:
        """Certificates that were renewed are taken up; one that cannot be read is tried again."""
        while True:
            await self._clock.sleep(_RENEW_S)
            for context, files in self._contexts:
                with contextlib.suppress(NfError):
                    tls.reload(context, files)

    async def take(self, peer: str, pdus: Pdus) -> None:
        """What a point has delivered; durable when this returns."""
        await self._clock_was_right.wait()
        self.mediator.take(peer, pdus)
        await self.journal.durable()

    def _point(self, writer: asyncio.StreamWriter) -> str:
        """Who delivers. Raises IdentityError for whom nothing is taken from."""
        name = tls.require(writer, self._domain, "element").name
        if self._settings.x2x3.points and name not in self._settings.x2x3.points:
            self.alarms.happened(Code.INTAKE, "", "an element that is no point of this mediation tried to deliver")
            raise IdentityError("this element does not deliver here", remedy="see `x2x3.points` in the configuration")
        return name

    async def run(self) -> None:
        """Until it cannot go on. Raises what made it fail."""
        await self.failed

    def _check_again(self, outbox: Outbox, products: Products) -> None:
        """PS-PDUs of before a restart that no integrity check covers yet."""
        known = {product.header().liid: product for product in products.at(outbox.label)}
        left: dict[tuple[bytes, int], dict[int, tuple[bytes, int]]] = {}
        for number, octets in self._records(outbox):
            with contextlib.suppress(PduError):
                pdu = decode(octets)
                if pdu.cin is None:
                    continue
                stream = left.setdefault((pdu.liid, pdu.cin), {})
                if pdu.tri is None:
                    stream[pdu.sequence] = (octets, number)
                elif pdu.tri is Tri.INTEGRITY_CHECK and (check := read_check(pdu)).check_type is CheckType.HASH:
                    for covered in check.numbers:
                        stream.pop(covered, None)
        now_ns = int(self._clock.now() * NS)
        for (liid, cin), stream in left.items():
            if liid in known:
                for sequence, (octets, number) in stream.items():
                    self.mediator.streams.again(known[liid], cin, (sequence, octets), number, now_ns)

    def _records(self, outbox: Outbox) -> Iterator[tuple[int, bytes]]:
        """Those that may be uncovered: (number, PS-PDU)."""
        reader = outbox.spool.reader(max(outbox.held.value, outbox.spool.first_unconfirmed))
        try:
            while True:
                try:
                    batch = outbox.take(reader, 1 << 20)
                except SpoolDamagedError as error:
                    damaged(outbox, reader, error, self.alarms)
                    continue
                if batch is None:
                    return
                yield from enumerate(batch.records, batch.first)
        finally:
            reader.close()

    async def _tick(self) -> None:
        while True:
            self.mediator.tick()
            self.journal.soon()
            await self._clock.sleep(_TICK_S)

    async def _watch_clock(self) -> None:
        while True:
            try:
                await self._timesync.require()
            except RefusedError:
                self.alarms.stands(Code.CLOCK, "", "the clock is not known to be right: no task is activated")
            else:
                self._clock_was_right.set()
                self.alarms.over(Code.CLOCK, "")
            await self._clock.sleep(_CLOCK_S)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.failed.done():
            return
        error = task.exception()
        if error is not None:
            self.failed.set_exception(error)

    async def _stop_tasks(self) -> None:
        """What was staged is written first, if the disk takes it."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(5.0):
                await self.journal.durable()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self.failed.done():
            self.failed.cancel()

    def _told(self, place: str) -> None:
        self.alarms.happened(Code.FAILED, "", place)


async def run(
    settings: MediationSettings,
    clock: Clock,
    *,
    timesync: TimeSync | None = None,
    ready: Callable[[Mediation], None] = lambda _: None,
) -> None:
    """Until it is cancelled. Raises NfError when it cannot start or go on: whoever supervises it starts it anew."""
    async with Mediation(settings, clock, timesync=timesync) as mediation:
        ready(mediation)
        await mediation.run()
