"""Orders carried out: those of one object one attempt after the other, all that are due in one attempt.

Many orders at once, and many that somebody missed, are so one question to each appliance. What is owed goes on when
somebody who is missing is back, under an alarm until it is paid.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from nf.clock import Clock
from nf.contracts.admission import Admitted
from nf.contracts.json import Json, JsonObject, canonical
from nf.contracts.planner import FleetOperation
from nf.noc.due import Due
from nf.noc.orders import OPEN, Key, Order, Orders, OrderState
from nf.noc.outcomes import DONE, FAILED, OFFLINE, WITHHELD, Event, Outcome, Tell
from nf.noc.owed import CAUSE, pause_s
from nf.noc.tasks import Tasks
from nf.noc.telemetry import Telemetry
from nf.store.audit import AuditEntry
from nf.telemetry.alarms import Severity

_log = logging.getLogger(__name__)

MAX_ORDERS: Final = 2_000
MAX_OCTETS: Final = 1_000_000
"""Bounds of one attempt: what is asked goes in one message of the session."""
RETENTION_S: Final = 24 * 3600.0
MAX_REPLAY: Final = 500
"""Who missed more than that, or something older, does all of the object anew."""

_SENDER: Final = ("issued_by", "traceparent")
"""Arguments that say who wanted it, and in what trace."""

Answer = tuple[str, str, JsonObject]
"""State, text, result."""


class AskMember(Protocol):
    async def __call__(
        self,
        run: str,
        name: str,
        arguments: JsonObject,
        *,
        author: str,
        began: float,
        member: tuple[str, str],
        tell: Tell,
    ) -> Answer:
        """Run an operation at one appliance to its end. `began`: on the monotonic clock."""


@dataclass(slots=True)
class _Attempt:
    """`held`: numbers of orders that a stage kept from going on."""

    key: Key
    orders: dict[int, Order]
    began: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)


Watcher = Callable[[Event], None]


class OrderRuns:
    def __init__(
        self,
        *,
        orders: Orders,
        ask: AskMember,
        is_there: Callable[[str], bool],
        fleet: Callable[[], Iterable[str]],
        audit: Callable[[AuditEntry], Awaitable[None]],
        telemetry: Telemetry,
        clock: Clock,
        author: str,
    ) -> None:
        """`author`: SPIFFE id of the NOC, for what it makes good by itself. `fleet`: the appliances there are."""
        self._orders = orders
        self._ask = ask
        self._is_there = is_there
        self._fleet = fleet
        self._audit = audit
        self._telemetry = telemetry
        self._clock = clock
        self._author = author
        self._tasks = Tasks("orders")
        self._due = Due("orders", clock, self._earliest, self._begin_due)
        self._busy: set[Key] = set()
        self._not_before: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._watchers: dict[tuple[str, int], list[Watcher]] = {}

    async def start(self) -> None:
        await self._orders.load()
        for key in self._orders.keys():  # noqa: SIM118 - no mapping
            self._tell(key)
        self._due.start()

    async def close(self) -> None:
        await self._due.close()
        await self._tasks.close()

    def returned(self, appliance: str) -> None:
        """What failed before may work now."""
        for key in self._orders.keys():  # noqa: SIM118
            if any(appliance in order.missing() for order in self._orders.standing(key)):
                self._not_before.pop(key, None)
                self._failures.pop(key, None)
        self._due.look_again()

    async def submit(
        self, operation: FleetOperation, admitted: Iterable[Admitted], author: str, *, past_failures: bool
    ) -> tuple[Order, ...]:
        """Durable when it returns; it is carried out by itself."""
        now = self._clock.now()
        found = await self._orders.accept(operation, admitted, author, now, past_failures=past_failures)
        self._due.look_again()
        return found

    def watch(self, order: Order, watcher: Watcher) -> None:
        """Tell of its next attempt; the last event has its outcomes. One that has ended is told of at once."""
        current = self._orders.get(order.stream, order.seq) or order
        if current.state is not OrderState.WAITING:
            watcher(_end_event(current, _recalled(current)))
            return
        self._watchers.setdefault((order.stream, order.seq), []).append(watcher)

    # ---- when ----

    def _earliest(self) -> float:
        return min((self._time_of(key) for key in self._orders.keys() if key not in self._busy), default=math.inf)  # noqa: SIM118

    def _time_of(self, key: Key) -> float:
        times = [self._due_at(order) for order in self._orders.standing(key)]
        return max(min(times, default=math.inf), self._not_before.get(key, 0.0))

    def _due_at(self, order: Order) -> float:
        if order.state is OrderState.WAITING:
            return order.not_before
        first = order.first_missing()
        payable = first == len(order.stages) or any(self._is_there(one) for one, _ in order.members(first, first))
        return order.not_before if payable else order.expires

    async def _begin_due(self) -> None:
        now = self._clock.now()
        for key in self._orders.keys():  # noqa: SIM118
            if key not in self._busy and self._time_of(key) <= now:
                self._busy.add(key)
                self._tasks.start(self._attempt(key))

    # ---- an attempt ----

    async def _attempt(self, key: Key) -> None:
        failed = True
        try:
            batch = await self._batch(key)
            failed = bool(batch) and await self._carry_out(_Attempt(key, batch, self._began(batch.values())))
        finally:
            failures = self._failures[key] = self._failures.get(key, 0) + 1 if failed else 0
            self._not_before[key] = self._clock.now() + pause_s(failures) if failed else 0.0
            self._busy.discard(key)
            self._due.look_again()

    async def _batch(self, key: Key) -> dict[int, Order]:
        """What is due, oldest first; what has expired is done with."""
        now, octets, fleet = self._clock.now(), 0, frozenset(self._fleet())
        batch: dict[int, Order] = {}
        expired: list[Order] = []
        for order in self._orders.standing(key):
            if order.expires <= now:
                expired.append(replace(order, state=OrderState.EXPIRED, ended_at=now))
                continue
            octets += len(canonical(order.arguments))
            if self._due_at(order) > now or len(batch) >= MAX_ORDERS or (batch and octets > MAX_OCTETS):
                continue
            stages = tuple(tuple(one for one in stage if one[0] in fleet) for stage in order.stages)
            batch[order.seq] = replace(order, stages=stages, begun_at=order.begun_at or now)
        if expired:
            await self._orders.save(expired)
            for order in expired:
                self._end(order, _recalled(order))
                _note(order)
            self._tell(key)
        return batch

    def _began(self, orders: Iterable[Order]) -> float:
        """When the first of them was begun, on the monotonic clock: how old an answer may be counts from then."""
        since_s = self._clock.now() - min((order.begun_at for order in orders), default=self._clock.now())
        return self._clock.monotonic() - max(0.0, since_s)

    async def _carry_out(self, attempt: _Attempt) -> bool:
        """True: somebody refused it, and is asked again; not at once."""
        firsts = {seq: order.first_missing() for seq, order in attempt.orders.items()}
        for number in range(max((len(order.stages) for order in attempt.orders.values()), default=0)):
            asked: dict[tuple[str, str], list[Order]] = {}
            for seq, order in attempt.orders.items():
                members = order.members(number, firsts[seq]) if number < len(order.stages) else ()
                if seq in attempt.held and not order.past_failures:
                    text = "a stage before failed"
                    attempt.outcomes.setdefault(seq, []).extend(
                        Outcome(*one, number, WITHHELD, text) for one in members
                    )
                    continue
                for member in members:
                    asked.setdefault(member, []).append(order)
            await self._stage(attempt, number, asked)
        return await self._conclude(attempt)

    async def _stage(self, attempt: _Attempt, number: int, asked: dict[tuple[str, str], list[Order]]) -> None:
        """All of a stage side by side; one that fails stops no other."""
        count = 0

        def tell(appliance: str, state: str, fraction: float, text: str) -> None:
            for order in attempt.orders.values():
                if (watchers := self._watchers.get((order.stream, order.seq))) is not None:
                    stages = len(order.stages)
                    event = Event(number, stages, appliance, state, fraction, count, len(asked), text)
                    for watcher in watchers:
                        watcher(event)

        async def one(member: tuple[str, str], orders: list[Order]) -> Answer:
            nonlocal count
            arguments = self._arguments(number, member, orders)
            author = orders[-1].author if len({order.author for order in orders}) == 1 else self._author
            answer = await self._ask(
                f"{attempt.id}-{number}",
                attempt.key[0],
                arguments,
                author=author,
                began=attempt.began,
                member=member,
                tell=tell,
            )
            count += 1
            tell(member[0], answer[0], 1.0, answer[1])
            return answer

        answers = await asyncio.gather(*(one(member, orders) for member, orders in asked.items()))
        for (member, orders), answer in zip(asked.items(), answers, strict=True):
            for order in orders:
                outcome = _outcome(order, member, number, answer)
                attempt.outcomes.setdefault(order.seq, []).append(outcome)
                if outcome.state != DONE:
                    attempt.held.add(order.seq)

    def _arguments(self, number: int, member: tuple[str, str], orders: list[Order]) -> JsonObject:
        stream = orders[0].stream
        given: list[Json] = [{**order.arguments, "seq": order.seq} for order in orders]
        after = self._orders.acknowledged(stream, number, member[0])
        arguments: JsonObject = {"stream": stream, "object": orders[0].object, "after": after, "orders": given}
        missed = [order for order in orders if order.attempts]
        age_s = self._clock.now() - min((order.accepted_at for order in missed), default=self._clock.now())
        if len(missed) > MAX_REPLAY or age_s > RETENTION_S:
            arguments["lost"] = f"{len(missed)} were missed, the first {age_s / 3600:.1f} hours ago"
            arguments["orders"] = [{"seq": order.seq} for order in orders]
        return arguments

    # ---- its end ----

    async def _conclude(self, attempt: _Attempt) -> bool:
        now = self._clock.now()
        ended = [_after(order, attempt.outcomes.get(seq, []), now) for seq, order in attempt.orders.items()]
        before = attempt.orders
        news = [one for one in ended if one.attempts == 1 or one.why != before[one.seq].why or one.state not in OPEN]
        for owed in (False, True):
            told = [one for one in news if (before[one.seq].state is OrderState.OWED) is owed]
            if told:
                await self._audit(self._entry(attempt, told, owed=owed))
        await self._orders.save(ended)
        for order in ended:
            self._end(order, tuple(attempt.outcomes.get(order.seq, ())))
        for order in news:
            _note(order)
        self._tell(attempt.key)
        outcomes = (one for found in attempt.outcomes.values() for one in found)
        return any(one.state == FAILED for one in outcomes) and any(order.state in OPEN for order in ended)

    def _entry(self, attempt: _Attempt, told: list[Order], *, owed: bool) -> AuditEntry:
        """What the audit knows of one of them is not told for ever: see `news`."""
        not_done: JsonObject = {}
        for order in told:
            bad = (one for one in attempt.outcomes.get(order.seq, ()) if one.state != DONE)
            not_done |= {one.appliance: f"{one.state}: {one.text}"[:300] for one in bad}
        detail: JsonObject = {"orders": [told[0].seq, told[-1].seq], "stream": told[0].stream, "not_done": not_done}
        detail |= {"arguments": told[0].arguments} if len(told) == 1 else {}
        if owed:
            detail |= {"owed_since": told[0].begun_at, "asked_by": told[0].author}
        name, target = attempt.key
        author = self._author if owed else told[0].author
        return AuditEntry(author, f"operation.{name}", target, FAILED if not_done else DONE, detail)

    def _end(self, order: Order, outcomes: tuple[Outcome, ...]) -> None:
        for watcher in self._watchers.pop((order.stream, order.seq), ()):
            watcher(_end_event(order, outcomes))

    def _tell(self, key: Key) -> None:
        """An alarm for each object that somebody lacks something of."""
        owed = [order for order in self._orders.standing(key) if order.state is OrderState.OWED]
        name, target = key
        if not owed:
            self._telemetry.clear(CAUSE, f"{name}/{target}")
            return
        who = ", ".join(dict.fromkeys(one for order in owed for one in order.missing()))
        count = "" if len(owed) == 1 else f"{len(owed)} times "
        text = f"{name} of {target} is still to be done {count}at {who}: {owed[-1].why}"
        remedy = "bring them back: it is done then, by itself; until then they have what they had"
        self._telemetry.alarm(CAUSE, f"{name}/{target}", Severity.MAJOR, text[:1000], remedy)


def _after(order: Order, outcomes: list[Outcome], now: float) -> Order:
    """The order when an attempt has ended so. Pure. Who refused it the first time is told to the caller, and not asked
    again by itself; what is owed already stays owed."""
    done = {*order.done, *((one.stage, one.appliance) for one in outcomes if one.state == DONE)}
    done -= {(one.stage, one.appliance) for one in outcomes if one.state != DONE}
    bad = [one for one in outcomes if one.state not in {DONE, WITHHELD}]
    left = replace(order, done=tuple(sorted(done)), attempts=order.attempts + 1)
    why = "; ".join(dict.fromkeys(f"{one.appliance} is {one.state}" for one in bad))
    if left.first_missing() == len(left.stages):
        return replace(left, state=OrderState.DONE, why="", ended_at=now)
    if order.state is OrderState.OWED or any(one.state == OFFLINE for one in bad):
        return replace(left, state=OrderState.OWED, why=why)
    return replace(left, state=OrderState.FAILED, why=why, ended_at=now)


def _outcome(order: Order, member: tuple[str, str], number: int, answer: Answer) -> Outcome:
    """What an answer for several orders says of this one."""
    state, text, result = answer
    each = result.get("orders")
    own = each.get(str(order.seq)) if isinstance(each, dict) else None
    if state != DONE or not isinstance(own, dict):
        return Outcome(*member, number, state, text, {key: value for key, value in result.items() if key != "orders"})
    found = {key: value for key, value in own.items() if key != "state"}
    return Outcome(*member, number, FAILED if own.get("state") == FAILED else DONE, str(own.get("text", text)), found)


def _note(order: Order) -> None:
    """In the log, when its sender said what it is to be found by."""
    sender = ", ".join(f"{key} {order.arguments[key]!r}" for key in _SENDER if order.arguments.get(key))
    if sender:
        why = f": {order.why}" if order.why else ""
        _log.info("%s %s of %s is %s%s (%s)", order.name, order.id, order.object, order.state, why, sender)


def _recalled(order: Order) -> tuple[Outcome, ...]:
    """What the ledger knows of an attempt that was not watched."""
    return tuple(
        Outcome(name, driver, number, DONE if (number, name) in order.done else str(order.state), order.why)
        for number, stage in enumerate(order.stages)
        for name, driver in stage
    )


def _end_event(order: Order, outcomes: tuple[Outcome, ...]) -> Event:
    state = DONE if order.state is OrderState.DONE else FAILED
    took_s = max(0.0, order.ended_at - order.begun_at) if order.ended_at else 0.0
    return Event(stages=len(order.stages), state=state, outcomes=outcomes, duration_s=took_s, text=f"order {order.seq}")
