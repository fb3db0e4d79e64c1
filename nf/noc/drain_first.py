"""What a commit drains before it: the fleet operations that stand before a step with a cost (`FleetOperation.before`).

It waits outside the transaction: a dry VALIDATE says what has a cost, nothing is locked or journalled meanwhile, and
the real VALIDATE counts anew. Whatever becomes of the commit, what was drained is taken back at its end. That is owed
from before the drain on, so that a NOC that is restarted, or an appliance that is away, comes to it too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.contracts.planner import FleetOperation
from nf.control.v1 import noc_pb2
from nf.errors import CommitRefused, DocumentError, InputError, NfError, Problem
from nf.noc.events import Events
from nf.noc.fleet_operations import FleetOperations
from nf.noc.lineups import Draft, LineUps
from nf.noc.outcomes import DONE, Outcome
from nf.noc.owed import Debt
from nf.noc.rollout import VALIDATE_S, Plan, Progress

_log = logging.getLogger(__name__)

MAX_S: Final = 86_400
PHASE: Final = "drain"
_GRACE_S: Final = 60.0
"""What an appliance may take beside the wait itself."""
_END: Final[JsonObject] = {"end": True}

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """`wait_s`: at most, for all together. `drops`: then go on, and drop what is left; else the commit is refused."""

    wait_s: float
    drops: bool = False


def drain_order(wait_s: int, *, drops: bool) -> DrainOrder | None:
    """As a request says it; None: drain nothing. Raises InputError."""
    if not wait_s and drops:
        raise InputError("nothing is drained, so nothing is left then", where="drain-then", remedy="add --drain TIME")
    if wait_s > MAX_S:
        raise InputError("a drain takes a day at most", where="drain", remedy="choose a shorter time")
    return DrainOrder(float(wait_s), drops) if wait_s else None


class DrainFirst:
    """Of one commit. `hold_s`: how long the drained state stands by itself, for the commit that follows."""

    def __init__(
        self,
        order: DrainOrder,
        known: tuple[FleetOperation, ...],
        *,
        operations: FleetOperations,
        author: str,
        hold_s: float,
        clock: Clock,
        events: Events,
    ) -> None:
        self._order = order
        self._known = known
        self._operations = operations
        self._author = author
        self._hold_s = hold_s
        self._clock = clock
        self._events = events
        self._until = 0.0
        self._promised: dict[Key, tuple[FleetOperation, Debt]] = {}
        self._ended = 0
        self._cancel = asyncio.Event()
        self._stopped_by = ""
        self._over = asyncio.Event()
        self._found: dict[Key, noc_pb2.DrainedFirst] = {}

    def missing(self, plan: Plan) -> tuple[FleetOperation, ...]:
        """What stands before a step of `plan` that has a cost, and was not begun."""
        costs = {(name, step.id) for name, steps in plan.steps.items() for step in steps if step.disruption}
        return tuple(one for one in self._known if one.before & costs and _key(one) not in self._promised)

    def admit(self, plan: Plan) -> None:
        """Raises CommitRefused: something has come to cost only now."""
        if missing := self.missing(plan):
            raise CommitRefused(
                f"not drained: {', '.join(one.object for one in missing)} has had nothing to drain until just now",
                where="commit",
                remedy="commit again",
            )

    @asynccontextmanager
    async def around(self, look: Callable[[], Awaitable[Plan]]) -> AsyncIterator[None]:
        """Inside, all is drained that `look`, a dry VALIDATE, finds to have a cost; at the end it is taken back.

        Raises CommitRefused: something is left at the end of the wait, cannot be drained, or somebody stopped it.
        A NOC that stops leaves it: it is owed.
        """
        self._until = self._clock.monotonic() + self._order.wait_s
        try:
            while missing := self.missing(await look()):
                await self._drain(missing)
            self._go_on()
            yield
        except Exception:
            await self._take_back()
            raise
        else:
            await self._take_back()
        finally:
            self._over.set()

    async def stop(self, who: str, events: Events) -> None:
        """Have the commit refused that waits for it, and tell `events` when all is taken back."""
        self._stopped_by = who
        self._cancel.set()
        try:
            await self._over.wait()
            text = f"the commit of {self._author} is refused, and nothing is kept off any more"
            events.end(noc_pb2.OUTCOME_UNDONE, text=text)
        finally:
            events.close()

    async def _drain(self, missing: tuple[FleetOperation, ...]) -> None:
        for operation in missing:
            debt = await self._operations.promise(operation, _END, self._author)
            self._promised[_key(operation)] = (operation, debt)
        found = await asyncio.gather(*(self._one(operation) for operation in missing))
        self._events.drained = tuple(one for _, one in sorted(self._found.items()))
        self._go_on()
        problems = [problem for problem in found if problem is not None]
        if problems and not self._order.drops:
            raise CommitRefused(
                f"not drained: {', '.join(problem.key for problem in problems)}",
                where="commit",
                remedy="wait longer: --drain TIME; or drop what is left then: --drain-then drop",
                problems=problems,
            )

    def _go_on(self) -> None:
        if self._stopped_by:
            raise CommitRefused(f"its drain was stopped by {self._stopped_by}", where="commit", remedy="commit again")

    async def _one(self, operation: FleetOperation) -> Problem | None:
        """What keeps the commit from going on."""
        wait_s = max(0.0, self._until - self._clock.monotonic())
        arguments: JsonObject = {"wait_s": wait_s, "hold_s": self._hold_s, "keep": True}
        outcomes: tuple[Outcome, ...] = ()
        async for event in self._operations.carry_out(
            operation, arguments, self._author, node_s=wait_s + _GRACE_S, cancel=self._cancel
        ):
            outcomes = event.outcomes
            if event.appliance:
                self._tell(event.appliance, event.text or f"{operation.object}: {event.state}")
        before, left = (sum(_number(one.result, key) for one in outcomes) for key in ("before", "left"))
        bad = [one for one in outcomes if one.state != DONE]
        told = "; ".join(f"{one.appliance} is {one.state}: {one.text}" for one in bad)
        text = told or "; ".join(one.text for one in outcomes)
        self._found[_key(operation)] = noc_pb2.DrainedFirst(
            operation=operation.name, object=operation.object, before=before, left=left, text=text[:1000]
        )
        self._ended += 1
        if not bad and not left:
            return None
        if bad and not self._order.drops:
            self._cancel.set()  # the others need not wait for a commit that is refused
        remedy = "see what the appliance says" if bad else "wait longer, or drop them"
        return Problem(rule=text, remedy=remedy, key=operation.object, value="" if bad else str(left))

    async def _take_back(self) -> None:
        await asyncio.gather(*(self._end(operation, debt) for operation, debt in self._promised.values()))

    async def _end(self, operation: FleetOperation, debt: Debt) -> None:
        """What cannot be reached is owed it; it ends there by itself too."""
        try:
            async for event in self._operations.carry_out(operation, _END, self._author, debt=debt, node_s=_GRACE_S):
                if event.appliance and event.state == DONE:
                    self._tell(event.appliance, event.text)
        except NfError as error:
            _log.warning("%s of %s stands until its time: %s", operation.name, operation.object, error)

    def _tell(self, appliance: str, text: str) -> None:
        self._events.progress(Progress(PHASE, appliance, done=self._ended, total=len(self._promised), text=text))


class DrainFirsts:
    """Makes them: from what the fleet can do now, and from what it can do with the new line-up."""

    def __init__(self, operations: FleetOperations, lineups: LineUps, clock: Clock) -> None:
        self._operations = operations
        self._lineups = lineups
        self._clock = clock

    async def of(self, order: DrainOrder, draft: Draft, author: str, events: Events) -> DrainFirst:
        known = {_key(one): one for one in draft.compiled.operations}
        try:
            known |= {_key(one): one for one in await self._lineups.operations()}
        except DocumentError:
            _log.warning("what runs can no longer be compiled: it is drained as the new line-up says")
        return DrainFirst(
            order,
            tuple(one for _, one in sorted(known.items()) if one.before),
            operations=self._operations,
            author=author,
            hold_s=2 * VALIDATE_S + draft.lineup.spec.policy.deadline_ms / 1000,
            clock=self._clock,
            events=events,
        )


def _key(operation: FleetOperation) -> Key:
    return operation.name, operation.object


def _number(result: JsonObject, key: str) -> int:
    value = result.get(key)
    return value if isinstance(value, int) else 0
