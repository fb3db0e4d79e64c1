"""What is owed: an appliance was away during an operation, and gets it when it returns.

A debt is in the store before the operation begins, so that a NOC that stops in between goes on with it. It stands
under an alarm until it is paid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

from nf.contracts.json import JsonObject, canonical, digest
from nf.noc.records import OWED, Book
from nf.noc.telemetry import Telemetry
from nf.store.contract import Delete, Put
from nf.telemetry.alarms import Severity

CAUSE: Final = "operation-owed"
AGAIN_S: Final = 30.0
"""After an attempt that failed; after each further one twice as long."""
LONGEST_S: Final = 600.0

Stages = tuple[tuple[tuple[str, str], ...], ...]
"""Of (appliance, driver)."""


def pause_s(failures: int) -> float:
    """How long until the next attempt, after so many in a row that failed. Pure."""
    return min(AGAIN_S * 2.0 ** min(failures - 1, 16), LONGEST_S)


def left(stages: Stages, done: Collection[tuple[int, str]]) -> Stages:
    """What is still to be done; `done`: (stage, appliance). Pure.

    A stage is worth what the ones before it are: from the first that lacks somebody on, all later ones are due again.
    """
    for number, stage in enumerate(stages):
        missing = tuple(member for member in stage if (number, member[0]) not in done)
        if missing:
            return (missing, *stages[number + 1 :])
    return ()


@dataclass(frozen=True, slots=True)
class Debt:
    """`id`: of the run it comes from. `began_at`: seconds since the epoch. `why`: what kept it from being done."""

    id: str
    name: str
    object: str
    arguments: JsonObject
    author: str
    began_at: float
    stages: Stages
    why: str = ""

    @property
    def key(self) -> str:
        """The same for the same thing asked again: the later one pays for the earlier."""
        return digest({"name": self.name, "object": self.object, "arguments": self.arguments})

    @property
    def subject(self) -> str:
        return f"{self.name}/{self.object}/{self.key[:6]}"

    @property
    def appliances(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for stage in self.stages for name, _ in stage))


class Debts:
    """Those that stand, in memory and in the store."""

    def __init__(self, book: Book, telemetry: Telemetry) -> None:
        self._book = book
        self._telemetry = telemetry
        self._debts: dict[str, Debt] = {}
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    async def load(self) -> None:
        for entry in await self._book.store.list(OWED):
            debt = _load(entry.value)
            self._debts[debt.key] = debt
            self._alarm(debt)

    async def begin(self, debt: Debt) -> None:
        """Durable when it returns. No alarm yet: it is just being done."""
        await self._save(debt)

    async def settle(self, debt: Debt, rest: Stages, why: str, now: float, *, failed: bool) -> None:
        """After an attempt. `rest` empty: it is paid. `failed`: somebody refused it, which is not asked again at once.

        One that was replaced meanwhile is nobody's any more.
        """
        standing = self._debts.get(debt.key)
        if standing is None or standing.id != debt.id:
            return
        if not rest:
            await self._book.store.write([Delete(OWED, debt.key)])
            self._debts.pop(debt.key, None)
            self._failures.pop(debt.key, None)
            self._telemetry.clear(CAUSE, debt.subject)
            return
        failures = self._failures[debt.key] = self._failures.get(debt.key, 0) + 1 if failed else 0
        self._not_before[debt.key] = now + pause_s(failures) if failed else now
        await self._save(replace(debt, stages=rest, why=why))
        self._alarm(self._debts[debt.key])

    def postpone(self, debt: Debt, not_before: float) -> None:
        """An attempt that ends in an unforeseen way is not repeated at once."""
        self._not_before[debt.key] = not_before

    def payable(self, is_there: Callable[[str], bool], busy: Collection[str]) -> Iterator[tuple[float, Debt]]:
        """Who is next of each debt is there: (not before that time in seconds since the epoch, debt)."""
        for key, debt in sorted(self._debts.items()):
            if key not in busy and any(is_there(name) for name, _ in debt.stages[0]):
                yield self._not_before.get(key, 0.0), debt

    def returned(self, appliance: str) -> None:
        """What failed before may work now."""
        for key, debt in self._debts.items():
            if appliance in debt.appliances:
                self._not_before.pop(key, None)
                self._failures.pop(key, None)

    async def _save(self, debt: Debt) -> None:
        await self._book.store.write([Put(OWED, debt.key, canonical(asdict(debt)).encode())])
        self._debts[debt.key] = debt

    def _alarm(self, debt: Debt) -> None:
        who = ", ".join(debt.appliances)
        text = f"{debt.name} of {debt.object} is still to be done at {who}" + (f": {debt.why}" if debt.why else "")
        remedy = "bring them back: it is done then, by itself; until then they have what they had"
        self._telemetry.alarm(CAUSE, debt.subject, Severity.MAJOR, text[:1000], remedy)


def known(stages: Stages, fleet: Mapping[str, object]) -> Stages:
    """Without those that left the fleet."""
    kept = (tuple(member for member in stage if member[0] in fleet) for stage in stages)
    return tuple(stage for stage in kept if stage)


def _load(value: bytes) -> Debt:
    data = json.loads(value)
    data["stages"] = tuple(tuple((str(name), str(driver)) for name, driver in stage) for stage in data["stages"])
    return Debt(**data)
