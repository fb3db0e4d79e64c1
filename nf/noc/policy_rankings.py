"""The rankings as they stand, each with its number, and those who wait for changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from nf.contracts.paths import Ranking
from nf.control.queue import CoalescingQueue, QueueClosed
from nf.noc.policy_places import Pair
from nf.noc.policy_records import PolicyRecords
from nf.noc.policy_view import Order

_READERS: Final = 50_000


class Rankings:
    def __init__(self, records: PolicyRecords) -> None:
        self._records = records
        self._known: dict[Pair, Ranking] = {}
        self._readers: set[CoalescingQueue[Ranking]] = set()

    def get(self, key: Pair) -> Ranking | None:
        return self._known.get(key)

    def all(self) -> tuple[Ranking, ...]:
        return tuple(self._known.values())

    async def put(self, key: Pair, order: Order) -> None:
        """Told only when it is another one than before."""
        known = self._known.get(key)
        if known is not None and (known.paths, known.active, known.alert) == (order.paths, order.active, order.alert):
            return
        number = await self._records.next_number()
        ranking = Ranking(key[0], key[1], order.paths, order.active, order.alert, number)
        self._known[key] = ranking
        for reader in self._readers:
            reader.put(ranking, key)

    def drop(self, key: Pair) -> None:
        self._known.pop(key, None)

    async def changes(self) -> AsyncIterator[Ranking]:
        """All, then each that changes. A reader that is slow gets the newest of each; none is lost below 50,000."""
        reader: CoalescingQueue[Ranking] = CoalescingQueue(_READERS)
        for key, ranking in self._known.items():
            reader.put(ranking, key)
        self._readers.add(reader)
        try:
            while True:
                for ranking in (await reader.take(256)).items:
                    yield ranking
        except QueueClosed:
            return
        finally:
            self._readers.discard(reader)

    def close(self) -> None:
        for reader in tuple(self._readers):
            reader.close()
