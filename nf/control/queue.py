"""One bounded, coalescing queue per peer: a stuck reader costs its own messages and nobody else's time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """Items in order; `dropped` of them were lost before these since the last take (the reader must resync)."""

    items: tuple[T, ...]
    dropped: int


class QueueClosed(Exception):  # noqa: N818 - it ends an iteration, it is no fault
    """The queue was closed and is empty."""


class CoalescingQueue(Generic[T]):
    """`put` never waits. An item whose key is already queued replaces it in place: the newest value wins.

    Full: the oldest item is dropped and counted, and the next `take` carries that count as its marker.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("a queue holds at least one item")
        self._limit = limit
        self._items: OrderedDict[Hashable, T] = OrderedDict()
        self._dropped = 0
        self._unkeyed = 0
        self._closed = False
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def dropped(self) -> int:
        """Dropped since the last `take`."""
        return self._dropped

    def put(self, item: T, key: Hashable | None = None) -> bool:
        """Queue `item`. False when something (the oldest) had to be dropped for it, or the queue is closed."""
        if self._closed:
            return False
        if key is None:
            self._unkeyed += 1
            key = (CoalescingQueue, self._unkeyed)
        fits = key in self._items or len(self._items) < self._limit
        if not fits:
            self._items.popitem(last=False)
            self._dropped += 1
        self._items[key] = item
        self._ready.set()
        return fits

    async def take(self, limit: int = 1) -> Taken[T]:
        """Wait for at least one item, return up to `limit`. Raises QueueClosed."""
        while not self._items:
            if self._closed:
                raise QueueClosed
            self._ready.clear()
            await self._ready.wait()
        items = tuple(self._items.popitem(last=False)[1] for _ in range(min(limit, len(self._items))))
        dropped, self._dropped = self._dropped, 0
        return Taken(items, dropped)

    def close(self) -> None:
        """Nothing more comes in; what is queued can still be taken."""
        self._closed = True
        self._ready.set()
