"""An observation point that tells what a test says, and destinations that keep what they are sent."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Self
from uuid import UUID

from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.points.engine import Engine
from lawful_intercept.points.identities import DEFAULTS
from lawful_intercept.points.losses import Losses
from lawful_intercept.points.products import Place
from lawful_intercept.points.watching import Watch
from lawful_intercept.spool.errors import SpoolFullError
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationDetails,
    DestinationStatus,
    SocketAddress,
    TaskDetails,
)
from lawful_intercept.x2x3.codec import Decoder, Pdu, PduType
from nf.clock import RealClock
from nf.contracts.interception import (
    Content,
    ContentForm,
    Delivery,
    Direction,
    Event,
    EventKind,
    IdentityKind,
    Order,
    PointStatus,
)
from nf.errors import InputError, UnavailableError

ALICE = TargetIdentifier("sipUri", "sip:alice@example.net")
SUPI = TargetIdentifier("supiimsi", "001010000000001")
ADDRESS = TargetIdentifier("ipv4Address", "10.45.0.2")
NUMBER = TargetIdentifier("e164Number", "493055501")
FIRST, SECOND = UUID(int=1), UUID(int=2)
DID = UUID(int=100)


class Point:
    """`nf.contracts.interception.InterceptionPoint`. `refuses`: identities that it does not take; `kept_for`: the word
    of whom it keeps orders for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.identities: frozenset[IdentityKind] = DEFAULTS[name]
        self.copies = frozenset({"media" if name == "sip" else "n6"})
        self.orders: dict[str, Order] = {}
        self.refuses: set[str] = set()
        self.away = False
        self.kept_for = ""
        self.settled = 0
        self.calls: list[str] = []
        self._queue: asyncio.Queue[Delivery | None] = asyncio.Queue()

    async def connect(self) -> Point:
        if self.away:
            raise UnavailableError("away")
        self._queue = asyncio.Queue()
        return self

    async def activate(self, order: Order) -> None:
        self.calls.append(f"+{order.reference}")
        if order.identity.value in self.refuses:
            raise InputError("no")
        self.orders[order.reference] = order

    async def deactivate(self, reference: str) -> None:
        self.calls.append(f"-{reference}")
        self.orders.pop(reference, None)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        while (delivery := await self._queue.get()) is not None:
            yield delivery

    async def status(self) -> PointStatus:
        return PointStatus({}, {}, len(self.orders))

    async def resume(self, word: str) -> tuple[Order, ...]:
        return tuple(self.orders.values()) if word == self.kept_for else ()

    async def copies_to(self, address: str) -> None:
        self.calls.append(f"copies to {address}")

    async def settle(self) -> None:
        self.settled += 1

    async def close(self, *, back: bool = False) -> None:
        if not self.kept_for:
            self.orders.clear()

    def tell(self, delivery: Delivery) -> None:
        self._queue.put_nowait(delivery)

    def go(self) -> None:
        """The process ends."""
        self.away = True
        self._queue.put_nowait(None)

    def about(self, order: Order, octets: bytes = b"x") -> list[Delivery]:
        """A message and a packet for it."""
        told: list[Delivery] = []
        if order.events:
            told.append(
                Event(
                    order.reference,
                    EventKind.MESSAGE,
                    1.0,
                    0,
                    7,
                    (order.identity,),
                    {"source": "udp:192.0.2.1:5060"},
                    octets,
                )
            )
        if order.content:
            told.append(Content(order.reference, 1_000, 0, 7, Direction.FROM_TARGET, ContentForm.RTP, octets))
        return told


class Kept:
    """`engine.Destinations`. `full`: those that take nothing."""

    def __init__(self) -> None:
        self.there: dict[UUID, DestinationDetails] = {}
        self.octets: dict[tuple[UUID, PduType], list[bytes]] = defaultdict(list)
        self.full: set[UUID] = set()
        self.news = asyncio.Event()

    async def put(self, details: DestinationDetails) -> None:
        self.there[details.did] = details

    async def remove(self, did: UUID) -> None:
        del self.there[did]

    async def send(self, did: UUID, kind: PduType, octets: bytes) -> None:
        self.news.set()
        if did in self.full:
            raise SpoolFullError("full")
        self.octets[did, kind].append(octets)

    def status(self, did: UUID) -> DestinationStatus:
        return DestinationStatus()

    def pdus(self, kind: PduType, did: UUID = DID) -> list[Pdu]:
        return Decoder().feed(b"".join(self.octets[did, kind]))


class World:
    """An engine with points, all of it in one task group of the loop. `started`: it asks them from the beginning."""

    def __init__(self, *names: str, content: bool = True, started: bool = True) -> None:
        self.points = {name: Point(name) for name in names}
        self.kept, self.losses = Kept(), Losses(every_s=0.0)
        self.numbers: dict[tuple[UUID, str, PduType], int] = defaultdict(int)
        places = {name: Place("poi1", name, (ip_address("192.0.2.10"), 5060)) for name in names}
        copies = {"sip": "media", "core5g": "n6"} if content else {}
        clock = RealClock()
        self.expected: set[tuple[UUID, str, PduType]] = set()
        self.engine = Engine(
            places,
            copies,
            self.kept,
            take_number=self._number,
            leave_out=self._leave_out,
            expect_numbers=lambda xid, series: self.expected.update((xid, *one) for one in series),
            told=self.losses,
            clock=clock,
        )
        self.turns = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self._started = started
        for name, point in self.points.items():
            watch = Watch(
                name,
                point.connect,
                clock,
                word="word",
                copies_to="192.0.2.77" if name == "sip" else "",
                kinds=DEFAULTS[name],
                take=self._take,
                changed=self._changed,
                refused=self.engine.refused,
            )
            self.engine.watch(watch)
        if started:
            self.start()

    def start(self) -> None:
        self._running += [asyncio.create_task(watch.run()) for watch in self.engine._watches.values()]

    def _number(self, xid: UUID, point: str, kind: PduType) -> int:
        assert (xid, point, kind) in self.expected
        self.numbers[xid, point, kind] += 1
        return self.numbers[xid, point, kind] - 1

    def _leave_out(self, xid: UUID, point: str, kind: PduType, count: int) -> None:
        assert (xid, point, kind) in self.expected
        self.numbers[xid, point, kind] += count

    async def _take(self, point: str, delivery: Delivery) -> None:
        await self.engine.take(point, delivery)
        self.turns.set()

    def _changed(self, point: str, up: bool) -> None:
        self.engine.changed(point, up=up)
        self.turns.set()

    async def turn(self) -> None:
        """Something was taken, or a point came or went."""
        async with asyncio.timeout(30):
            await self.turns.wait()
        self.turns.clear()

    async def until_up(self, name: str, *, up: bool = True) -> None:
        watch = self.engine._watches[name]
        while watch.up is not up:
            await self.turn()

    async def tell(self, name: str, *deliveries: Delivery) -> None:
        """All of them are taken when this returns."""
        point = self.points[name]
        for delivery in deliveries:
            self.turns.clear()
            point.tell(delivery)
            await self.turn()

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.engine.put_destination(destination())
        for name in self.points if self._started else ():
            await self.until_up(name)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def destination(did: UUID = DID, delivery: DeliveryType = DeliveryType.X2_AND_X3) -> DestinationDetails:
    return DestinationDetails(did, delivery, SocketAddress(ip_address("127.0.0.1"), 9443))


def task(
    *targets: TargetIdentifier, xid: UUID = FIRST, delivery: DeliveryType = DeliveryType.X2_AND_X3, **given: object
) -> TaskDetails:
    details = TaskDetails(xid, targets or (ALICE,), delivery, (DID,))
    return replace(details, **given)  # type: ignore[arg-type]
