"""The connection to one observation point: kept up for ever, and all orders given anew with each one.

Those that the point still has of an earlier connection stand: it keeps them for a while, for who says the same word.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from nf.clock import Clock
from nf.contracts.interception import Delivery, IdentityKind, InterceptionPoint, Order
from nf.errors import InputError, NfError

AGAIN_S: Final = 0.5

Connect = Callable[[], Awaitable[InterceptionPoint]]
Take = Callable[[str, Delivery], Awaitable[None]]
"""Name of the point, and what it delivered. The point waits while it is taken."""


class Watch:
    """The orders of this process at one point.

    word     by which this process, and the next one after a restart, comes back
    copies_to  the address for copies that cross a network; "": none
    kinds    what it is known to match before it has said so
    changed  is told when it comes and when it goes
    refused  the reference of an order that a new connection did not take
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        clock: Clock,
        *,
        word: str,
        copies_to: str = "",
        kinds: frozenset[IdentityKind],
        take: Take,
        changed: Callable[[str, bool], None],
        refused: Callable[[str, str], None],
    ) -> None:
        self.name, self.kinds = name, kinds
        self._connect, self._clock = connect, clock
        self._word, self._copies_to = word, copies_to
        self._take, self._changed, self._refused = take, changed, refused
        self._orders: dict[str, Order] = {}
        self._given: set[str] = set()
        self._point: InterceptionPoint | None = None

    @property
    def up(self) -> bool:
        return self._point is not None

    def given(self, reference: str) -> bool:
        """Whether the point has this order now."""
        return reference in self._given

    async def order(self, order: Order) -> None:
        """In force when this returns, or as soon as the point is there. Raises InputError: it does not take it."""
        before = self._orders.get(order.reference)
        self._orders[order.reference] = order
        if self._point is None:
            return
        try:
            await self._point.activate(order)
            self._given.add(order.reference)
        except InputError:
            if before is None:
                del self._orders[order.reference]
            else:
                self._orders[order.reference] = before
            raise
        except NfError:
            pass  # it has gone; the next connection is given all orders

    async def cancel(self, reference: str) -> None:
        """Nothing of it is delivered any more, but what is on the way."""
        self._orders.pop(reference, None)
        self._given.discard(reference)
        if self._point is not None:
            with contextlib.suppress(NfError):
                await self._point.deactivate(reference)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(NfError, OSError):
                await self._follow(await self._connect())
            await self._clock.sleep(AGAIN_S)

    async def _follow(self, point: InterceptionPoint) -> None:
        taking = asyncio.create_task(self._deliver(point))
        try:
            self.kinds = point.identities or self.kinds
            if self._copies_to:
                with contextlib.suppress(InputError):  # content that needs it is told as lost
                    await point.copies_to(self._copies_to)
            standing = {order.reference: order for order in await point.resume(self._word)}
            self._point = point
            for reference in standing:
                if reference not in self._orders:
                    await point.deactivate(reference)
            for order in tuple(self._orders.values()):
                if standing.get(order.reference) == order and self._orders.get(order.reference) is order:
                    self._given.add(order.reference)
                await self._give(point, order)
            await point.settle()
            self._changed(self.name, True)
            await taking
        finally:
            self._point = None
            self._given.clear()
            self._changed(self.name, False)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            await point.close(back=True)

    async def _give(self, point: InterceptionPoint, order: Order) -> None:
        """Raises UnavailableError."""
        if self._orders.get(order.reference) is not order or order.reference in self._given:
            return  # ended or given meanwhile
        try:
            await point.activate(order)
        except InputError:
            self._refused(self.name, order.reference)
        else:
            self._given.add(order.reference)
            if order.reference not in self._orders:  # ended while it was given
                self._given.discard(order.reference)
                await point.deactivate(order.reference)

    async def _deliver(self, point: InterceptionPoint) -> None:
        async for delivery in point.deliveries():
            await self._take(self.name, delivery)
