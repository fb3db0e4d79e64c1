"""Orders: fleet operations with a number, in a ledger that outlives everything else about them.

Each belongs to a stream and has the next number there. It is in the store before anybody is asked to do it, with the
audit of who gave it, and stays until it is done or expires, and for a while after that, for people to look at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

from nf.contracts.admission import Admitted
from nf.contracts.json import JsonObject, canonical
from nf.contracts.planner import FleetOperation
from nf.noc.owed import Stages
from nf.noc.records import ORDERS, Book
from nf.store.audit import AuditEntry
from nf.store.contract import Change, Delete, Put

KEPT: Final = 10_000
"""So many of a stream are kept once they are done."""

Key = tuple[str, str]
"""Operation and object."""


class OrderState(StrEnum):
    """`owed`: somebody was away; `failed`: somebody refused it, and nobody was away."""

    WAITING = "waiting"
    OWED = "owed"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"


OPEN: Final = frozenset({OrderState.WAITING, OrderState.OWED})


@dataclass(frozen=True, slots=True)
class Order:
    """Times are seconds since the epoch. `done`: (stage, appliance) that have acknowledged. `why`: what kept others."""

    stream: str
    seq: int
    id: str
    name: str
    object: str
    arguments: JsonObject
    author: str
    accepted_at: float
    not_before: float
    expires: float
    stages: Stages
    past_failures: bool = False
    state: OrderState = OrderState.WAITING
    begun_at: float = 0.0
    ended_at: float = 0.0
    attempts: int = 0
    done: tuple[tuple[int, str], ...] = ()
    why: str = ""

    @property
    def key(self) -> Key:
        return self.name, self.object

    def first_missing(self) -> int:
        """The first stage that lacks somebody; the count of the stages when none does."""
        for number, stage in enumerate(self.stages):
            if any((number, appliance) not in self.done for appliance, _ in stage):
                return number
        return len(self.stages)

    def members(self, number: int, first: int) -> tuple[tuple[str, str], ...]:
        """Who of a stage is still to do it, when `first` lacks somebody: a stage is worth what those before it are."""
        if number < first:
            return ()
        return tuple(one for one in self.stages[number] if number > first or (number, one[0]) not in self.done)

    def missing(self) -> tuple[str, ...]:
        """Appliances that are still to do it."""
        first = self.first_missing()
        found = (one for number in range(first, len(self.stages)) for one, _ in self.members(number, first))
        return tuple(dict.fromkeys(found))


@dataclass(slots=True)
class _Stream:
    last: int = 0
    orders: dict[int, Order] = field(default_factory=dict)


class Orders:
    """The ledger: in memory, and in the store before a method returns."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._streams: dict[str, _Stream] = {}
        self._known: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._open: dict[Key, dict[int, Order]] = {}
        self._acknowledged: dict[tuple[str, int, str], int] = {}
        self._accepting = asyncio.Lock()

    async def load(self) -> None:
        for entry in await self._book.store.list(ORDERS):
            self._keep(_load(entry.value))

    async def accept(
        self, operation: FleetOperation, admitted: Iterable[Admitted], author: str, now: float, *, past_failures: bool
    ) -> tuple[Order, ...]:
        """Durable when it returns, all or none. An id that is known for this object gives the order that it has."""
        async with self._accepting:
            return await self._accept(operation, tuple(admitted), author, now, past_failures=past_failures)

    async def _accept(
        self, operation: FleetOperation, admitted: tuple[Admitted, ...], author: str, now: float, *, past_failures: bool
    ) -> tuple[Order, ...]:
        stream = self._streams.setdefault(operation.stream, _Stream())
        found: dict[str, Order] = {}
        new: list[Order] = []
        for one in admitted:
            place = self._known.get((operation.name, operation.object, one.id))
            if one.id in found:
                continue
            if place is not None:
                found[one.id] = self._streams[place[0]].orders[place[1]]
                continue
            order = Order(
                stream=operation.stream,
                seq=stream.last + len(new) + 1,
                id=one.id,
                name=operation.name,
                object=operation.object,
                arguments=one.arguments,
                author=author,
                accepted_at=now,
                not_before=one.not_before,
                expires=one.expires,
                stages=operation.stages,
                past_failures=past_failures,
            )
            new.append(order)
            found[one.id] = order
        if new:
            stream.last += len(new)  # a number that a failed write took is never given again
            detail: JsonObject = {"orders": [new[0].seq, new[-1].seq], "stream": operation.stream}
            detail |= {"arguments": new[0].arguments} if len(new) == 1 else {"ids": [one.id for one in new[:50]]}
            audit = AuditEntry(author, f"operation.{operation.name}", operation.object, "begun", detail)
            await self._write(new, audit, self._worn_out(stream))
        return tuple(found.values())

    async def save(self, orders: Iterable[Order], audit: AuditEntry | None = None) -> None:
        await self._write(tuple(orders), audit, ())

    # ---- reading ----

    def get(self, stream: str, seq: int) -> Order | None:
        found = self._streams.get(stream)
        return None if found is None else found.orders.get(seq)

    def all(self) -> Iterator[Order]:
        """Newest first, by when they were accepted."""
        found = (order for stream in self._streams.values() for order in stream.orders.values())
        return iter(sorted(found, key=lambda order: (order.accepted_at, order.seq), reverse=True))

    def standing(self, key: Key) -> tuple[Order, ...]:
        """Those that are still to do, by number."""
        return tuple(order for _, order in sorted(self._open.get(key, {}).items()))

    def keys(self) -> tuple[Key, ...]:
        """What has orders that are still to do."""
        return tuple(sorted(key for key, orders in self._open.items() if orders))

    def acknowledged(self, stream: str, number: int, appliance: str) -> int:
        """The greatest number that the appliance has acknowledged in that stage; 0 when none is kept."""
        return self._acknowledged.get((stream, number, appliance), 0)

    # ---- keeping ----

    async def _write(
        self, orders: tuple[Order, ...] | list[Order], audit: AuditEntry | None, gone: Iterable[Order]
    ) -> None:
        changes: list[Change] = [Put(ORDERS, _key(order), canonical(asdict(order)).encode()) for order in orders]
        worn = tuple(gone)
        changes += [Delete(ORDERS, _key(order)) for order in worn]
        if changes or audit is not None:
            await self._book.store.write(changes, audit)
        for order in worn:
            del self._streams[order.stream].orders[order.seq]
            self._known.pop((*order.key, order.id), None)
        for order in orders:
            self._keep(order)

    def _keep(self, order: Order) -> None:
        stream = self._streams.setdefault(order.stream, _Stream())
        stream.orders[order.seq] = order
        stream.last = max(stream.last, order.seq)
        self._known[(*order.key, order.id)] = (order.stream, order.seq)
        standing = self._open.setdefault(order.key, {})
        if order.state in OPEN:
            standing[order.seq] = order
        else:
            standing.pop(order.seq, None)
        for number, appliance in order.done:
            place = (order.stream, number, appliance)
            self._acknowledged[place] = max(self._acknowledged.get(place, 0), order.seq)

    @staticmethod
    def _worn_out(stream: _Stream) -> tuple[Order, ...]:
        excess = len(stream.orders) - KEPT
        if excess <= 0:
            return ()
        ended = (order for _, order in sorted(stream.orders.items()) if order.state not in OPEN)
        return tuple(order for order, _ in zip(ended, range(excess), strict=False))


def _key(order: Order) -> str:
    return f"{order.stream}/{order.seq:012d}"


def _load(value: bytes) -> Order:
    data = json.loads(value)
    data["stages"] = tuple(tuple((str(name), str(driver)) for name, driver in stage) for stage in data["stages"])
    data["done"] = tuple((int(stage), str(name)) for stage, name in data["done"])
    data["state"] = OrderState(data["state"])
    return Order(**data)
