"""What becomes of a caller's orders when its connection ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nf.clock import VirtualClock
from nf.contracts.interception import Delivery, Event, EventKind, Identity, IdentityKind, InterceptionPoint, Order
from nf.contracts.json import JsonObject
from nf.errors import InputError
from nf.interception.client import open_point
from nf.interception.desk import KEPT_S, Caller, Desk
from nf.interception.frames import read_order

WORD = "a word"


class Host:
    def __init__(self) -> None:
        self.orders: dict[tuple[int, str], Order] = {}
        self.settled = 0

    def hello(self) -> JsonObject:
        return {"point": "test", "identities": [], "copies": []}

    def orders_of(self, number: int) -> list[Order]:
        return [order for (caller, _), order in self.orders.items() if caller == number]

    async def answer(self, caller: Caller, request: JsonObject) -> JsonObject:
        if request.get("do") == "activate":
            order = read_order(request.get("order"))
            self.orders[caller.number, order.reference] = order
            return {}
        if request.get("do") == "status":
            return {"sources": {}, "copies": {}, "orders": len(self.orders_of(caller.number))}
        raise ValueError("no such request")

    async def ended(self, number: int) -> None:
        self.orders = {token: order for token, order in self.orders.items() if token[0] != number}


class World:
    def __init__(self, folder: Path) -> None:
        self.host, self.clock = Host(), VirtualClock()
        self.desk = Desk(self.host, self.clock)
        self.path = folder / "point.sock"
        self.left: asyncio.Queue[None] = asyncio.Queue()

    async def connect(self) -> InterceptionPoint:
        return await open_point("test", self.path)

    async def gone(self) -> None:
        """A connection has ended here too."""
        async with asyncio.timeout(60):
            await self.left.get()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.desk.serve(reader, writer)
        self.left.put_nowait(None)

    def tell(self, number: int) -> None:
        for (caller, reference), order in self.host.orders.items():
            event = Event(reference, EventKind.MESSAGE, 1.0, number, 7, (order.identity,))
            self.desk.put(caller, lambda one, event=event: one.outbox.put(event, 1.0))  # type: ignore[misc]


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    made = World(folder)
    server = await asyncio.start_unix_server(made.serve, str(made.path))
    try:
        yield made
    finally:
        server.close()


def order(reference: str = "r1", until: float | None = None) -> Order:
    return Order(reference, Identity(IdentityKind.TEL_URI, "tel:+1"), until=until)


async def first(point: InterceptionPoint, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(60):
        async for one in point.deliveries():
            found.append(one)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("word", ["", WORD])
async def test_orders_end_with_a_connection_that_is_closed(tmp_path: Path, word: str) -> None:
    async with world(tmp_path) as there:
        point = await there.connect()
        if word:
            assert await point.resume(word) == ()
        await point.activate(order())
        await point.close()
        await there.gone()
        assert there.host.orders == {}


async def test_who_comes_back_has_its_orders_and_what_happened_meanwhile(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        point = await there.connect()
        await point.resume(WORD)
        await point.activate(order(until=5.5))
        await point.close(back=True)
        await there.gone()
        for number in range(50):
            there.tell(number)
        await there.clock.advance(KEPT_S - 1)
        await there.desk.tick()
        again = await there.connect()
        assert await again.resume(WORD) == (order(until=5.5),)
        assert [one.sequence for one in await first(again, 50) if isinstance(one, Event)] == [*range(50)]
        await there.clock.advance(KEPT_S * 2)
        await there.desk.tick()
        assert (await again.status()).orders == 1
        await again.close()


async def test_who_is_new_sees_nothing_of_what_is_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        point = await there.connect()
        await point.resume(WORD)
        await point.activate(order())
        await point.close(back=True)
        await there.gone()
        other = await there.connect()
        assert await other.resume("another word") == ()
        assert (await other.status()).orders == 0
        there.tell(1)
        with pytest.raises(InputError):
            await other.resume("")
        await other.close()


async def test_what_is_kept_ends_with_its_time(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        point = await there.connect()
        await point.resume(WORD)
        await point.activate(order())
        await point.close(back=True)
        await there.gone()
        await there.clock.advance(KEPT_S)
        await there.desk.tick()
        assert there.host.orders == {}
        again = await there.connect()
        assert await again.resume(WORD) == ()
        await again.close()


async def test_one_caller_is_kept_at_most(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        for number in range(3):
            point = await there.connect()
            await point.resume(f"{WORD} {number}")
            await point.activate(order(f"r{number}"))
            await point.close(back=True)
            await there.gone()
        assert [reference for _, reference in there.host.orders] == ["r2"]
