"""Operations of the fleet: what drivers of several appliances do in order, each stage acknowledged before the next.

The appliances have the durable records, and go on after a crash; here are the audit, the order, and what is owed to
those that were away.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Final

from nf.clock import Clock
from nf.contracts.admission import Admission, Admitted
from nf.contracts.json import Json, JsonObject
from nf.contracts.planner import FleetOperation
from nf.control.queue import CoalescingQueue, QueueClosed
from nf.errors import DeadlineError, InputError, IntegrityError, NfError, NotFoundError, RefusedError, UnavailableError
from nf.noc.due import Due
from nf.noc.lineups import LineUps
from nf.noc.order_runs import Answer, OrderRuns
from nf.noc.orders import Order, Orders
from nf.noc.outcomes import DONE, FAILED, OFFLINE, RUNNING, WITHHELD, Event, Outcome, Tell
from nf.noc.owed import AGAIN_S, Debt, Debts, known, left
from nf.noc.records import Book
from nf.noc.sessions import Session, SessionLost, Sessions
from nf.noc.tasks import Tasks
from nf.noc.telemetry import Telemetry
from nf.store.audit import AuditEntry

NODE_S: Final = 300.0
"""Longest time for one appliance."""
RETURN_S: Final = 20.0
"""So long an appliance whose session ends meanwhile may be away."""
REQUEST: Final = "request"
"""Argument by which the operation of one call is found again."""
AUTHOR: Final = "author"
"""Argument that says who asked, as the NOC knows it; what a caller writes there does not count."""
ELAPSED: Final = "elapsed_s"
"""Argument that says how long the operation has been going on elsewhere."""
ADMISSIONS: Final = "nf.admissions"
_HOLDS_S: Final = 7 * 24 * 3600.0
"""How long an order holds that nobody says it of."""
_POLL_S: Final = 0.2
_EVENTS: Final = 8192


@dataclass(slots=True)
class _Run:
    operation: FleetOperation
    arguments: JsonObject
    past_failures: bool
    author: str
    began: float
    events: CoalescingQueue[Event]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    outcomes: list[Outcome] = field(default_factory=list)
    debt: Debt | None = None
    repays: bool = False
    node_s: float = NODE_S
    cancel: asyncio.Event = field(default_factory=asyncio.Event)


class FleetOperations:
    def __init__(
        self, *, book: Book, lineups: LineUps, sessions: Sessions, telemetry: Telemetry, clock: Clock, author: str
    ) -> None:
        """`author`: SPIFFE id of the NOC, for what it makes good by itself."""
        self._book = book
        self._author = author
        self._debts = Debts(book, telemetry)
        self._busy: set[str] = set()
        self._due = Due("owed operations", clock, self._earliest, self._repay_next)
        self._lineups = lineups
        self._sessions = sessions
        self._clock = clock
        self._tasks = Tasks("fleet operation")
        self._admissions = load_admissions()
        self.orders = Orders(book)
        self._runs = OrderRuns(
            orders=self.orders,
            ask=self._ask_member,
            is_there=self._is_there,
            fleet=lambda: self._lineups.current.record.configs,
            audit=self._write_audit,
            telemetry=telemetry,
            clock=clock,
            author=author,
        )

    async def start(self) -> None:
        await self._debts.load()
        self._due.start()
        await self._runs.start()

    async def close(self) -> None:
        await self._runs.close()
        await self._due.close()
        await self._tasks.close()

    def returned(self, appliance: str) -> None:
        """It has a new session: what it missed is done now."""
        self._debts.returned(appliance)
        self._due.look_again()
        self._runs.returned(appliance)

    async def find(self, name: str, target: str) -> FleetOperation:
        """Raises NotFoundError."""
        known = [operation for operation in await self._lineups.operations() if operation.name == name]
        for operation in known:
            if operation.object == target:
                return operation
        if not known:
            raise NotFoundError(
                f"the current line-up has nothing to {name}", where=target, remedy="see what it has: nf lineup show"
            )
        objects = ", ".join(operation.object for operation in known)
        raise NotFoundError(
            f"the current line-up has nothing of this name to {name}", where=target, remedy=f"one of: {objects}"
        )

    async def run(
        self, name: str, target: str, arguments: JsonObject, author: str, *, past_failures: bool = False
    ) -> AsyncIterator[Event]:
        """Begin, and watch; it goes on when nobody watches any more. Raises NotFoundError."""
        operation = await self.find(name, target)
        if operation.stream:
            events: CoalescingQueue[Event] = CoalescingQueue(_EVENTS)
            (order,) = await self._submit(operation, (arguments,), author, past_failures=past_failures)
            async for event in self._watch(order, events):
                yield event
            return
        debt = self._debt(operation, arguments, author) if operation.made_good else None
        async for event in self.carry_out(operation, arguments, author, debt=debt, past_failures=past_failures):
            yield event

    async def carry_out(
        self,
        operation: FleetOperation,
        arguments: JsonObject,
        author: str,
        *,
        debt: Debt | None = None,
        past_failures: bool = False,
        node_s: float = NODE_S,
        cancel: asyncio.Event | None = None,
    ) -> AsyncIterator[Event]:
        """As `run`, of one that is at hand. `node_s`: longest time for one appliance. `cancel`: once it is set, those
        that still work on it are told to end. `debt`: what is owed as long as it is not done everywhere."""
        events: CoalescingQueue[Event] = CoalescingQueue(_EVENTS)
        run = _Run(operation, dict(arguments), past_failures, author, self._clock.monotonic(), events)
        run.debt, run.node_s, run.cancel = debt, node_s, cancel or run.cancel
        await self._audit(run, "begun", {"arguments": arguments})
        if debt is not None:
            await self._debts.begin(debt)
        task = self._tasks.start(self._stages(run))
        try:
            while True:
                for event in (await events.take(64)).items:
                    yield event
        except QueueClosed:
            await task  # its failure, if it has one, is the caller's too

    async def promise(self, operation: FleetOperation, arguments: JsonObject, author: str) -> Debt:
        """To be carried out later, as a debt: a NOC that is restarted before does it then. Durable when it returns."""
        debt = self._debt(operation, arguments, author)
        self._busy.add(debt.key)
        await self._debts.begin(debt)
        return debt

    def _debt(self, operation: FleetOperation, arguments: JsonObject, author: str) -> Debt:
        now, name, target = self._clock.now(), operation.name, operation.object
        return Debt(uuid.uuid4().hex, name, target, dict(arguments), author, now, operation.stages)

    # ---- orders ----

    async def submit(self, name: str, target: str, several: Sequence[JsonObject], author: str) -> tuple[Order, ...]:
        """Orders, each by its arguments: durable when it returns, and carried out by themselves.

        Raises NotFoundError, InputError; then none is taken.
        """
        operation = await self.find(name, target)
        if not operation.stream:
            raise InputError(f"{name} is no operation that is numbered", where=target, remedy="run it, and wait for it")
        return await self._submit(operation, several, author, past_failures=False)

    async def _submit(
        self, operation: FleetOperation, several: Sequence[JsonObject], author: str, *, past_failures: bool
    ) -> tuple[Order, ...]:
        now = self._clock.now()
        admission = self._admissions.get(operation.name)
        if admission is None:
            admitted = [Admitted(uuid.uuid4().hex, one, now, now + _HOLDS_S) for one in several]
        else:
            admitted = [admission.admit(operation.object, one, now, author=author) for one in several]
        return await self._runs.submit(operation, admitted, author, past_failures=past_failures)

    async def _watch(self, order: Order, events: CoalescingQueue[Event]) -> AsyncIterator[Event]:
        def told(event: Event) -> None:
            events.put(event)
            if not event.appliance:
                events.close()

        self._runs.watch(order, told)
        while True:
            try:
                taken = await events.take(64)
            except QueueClosed:
                return
            for event in taken.items:
                yield event

    async def _ask_member(
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
        operation = FleetOperation(name, "", ())
        asked = _Run(operation, arguments, False, author, began, CoalescingQueue(1), id=run)
        return await self._member(asked, *member, tell)

    async def _write_audit(self, entry: AuditEntry) -> None:
        await self._book.store.write([], entry)

    # ---- stages ----

    async def _stages(self, run: _Run) -> None:
        if run.debt is not None:
            self._busy.add(run.debt.key)
        try:
            stages = run.operation.stages
            for number, stage in enumerate(stages):
                failed = any(outcome.state != DONE for outcome in run.outcomes)
                if failed and not run.past_failures:
                    run.outcomes += [Outcome(*member, number, WITHHELD, "a stage before failed") for member in stage]
                    continue
                await self._stage(run, number, stage)
            bad = [outcome for outcome in run.outcomes if outcome.state != DONE]
            detail: JsonObject = {outcome.appliance: f"{outcome.state}: {outcome.text}"[:300] for outcome in bad}
            asked: JsonObject = {"arguments": run.arguments, "not_done": detail}
            if run.repays and run.debt is not None:
                asked["owed_since"], asked["asked_by"] = run.debt.began_at, run.debt.author
            if not (run.repays and run.debt is not None and bad and _why(run) == run.debt.why):
                await self._audit(run, FAILED if bad else DONE, asked)  # what the audit knows is not told for ever
            await self._settle(run)
            took_s = self._clock.monotonic() - run.began
            run.events.put(
                Event(
                    stages=len(stages),
                    state=FAILED if bad else DONE,
                    outcomes=tuple(run.outcomes),
                    duration_s=took_s,
                )
            )
        finally:
            run.events.close()
            if run.debt is not None:
                self._busy.discard(run.debt.key)
            self._due.look_again()

    # ---- what is owed ----

    async def _settle(self, run: _Run) -> None:
        """Who was offline is owed it. Who refused it is not, unless it is a debt already: the caller is told."""
        if run.debt is None:
            return
        bad = [outcome for outcome in run.outcomes if outcome.state != DONE]
        rest = left(run.operation.stages, {(one.stage, one.appliance) for one in run.outcomes if one.state == DONE})
        if not run.repays and not any(outcome.state == OFFLINE for outcome in bad):
            rest = ()
        failed = any(outcome.state == FAILED for outcome in bad)
        await self._debts.settle(run.debt, rest, _why(run), self._clock.now(), failed=failed)

    def _earliest(self) -> float:
        return min((not_before for not_before, _ in self._debts.payable(self._is_there, self._busy)), default=math.inf)

    def _is_there(self, appliance: str) -> bool:
        """Also when it left the fleet: then there is nothing to wait for."""
        return appliance in self._sessions.online() or appliance not in self._lineups.current.record.configs

    async def _repay_next(self) -> None:
        now = self._clock.now()
        for not_before, debt in tuple(self._debts.payable(self._is_there, self._busy)):
            if not_before <= now:
                self._busy.add(debt.key)
                self._debts.postpone(debt, now + AGAIN_S)
                self._tasks.start(self._repay(debt))

    async def _repay(self, debt: Debt) -> None:
        """From the stage that lacked somebody on. Its time counts from the beginning of the first attempt."""
        stages = known(debt.stages, self._lineups.current.record.configs)
        run = _Run(
            operation=FleetOperation(debt.name, debt.object, stages, made_good=True),
            arguments=dict(debt.arguments),
            past_failures=False,
            author=self._author,
            began=self._clock.monotonic() - max(0.0, self._clock.now() - debt.began_at),
            events=CoalescingQueue(_EVENTS),
            debt=debt,
            repays=True,
        )
        await self._stages(run)

    # ---- stages and their members ----

    async def _stage(self, run: _Run, number: int, stage: tuple[tuple[str, str], ...]) -> None:
        """All of a stage side by side; one that fails stops no other."""
        ended: list[Outcome] = []

        def tell(appliance: str, state: str, fraction: float, text: str) -> None:
            count = len(ended)
            stages = len(run.operation.stages)
            run.events.put(Event(number, stages, appliance, state, fraction, count, len(stage), text))

        async def member(appliance: str, driver: str) -> Outcome:
            state, text, result = await self._member(run, appliance, driver, tell)
            outcome = Outcome(appliance, driver, number, state, text, result)
            ended.append(outcome)
            tell(appliance, state, 1.0, text)
            return outcome

        run.outcomes += await asyncio.gather(*(member(*one) for one in stage))

    async def _member(self, run: _Run, appliance: str, driver: str, tell: Tell) -> tuple[str, str, JsonObject]:
        if self._sessions.get(appliance) is None:
            return OFFLINE, "is offline: it was not asked, and keeps what it has till it returns", {}
        try:
            async with asyncio.timeout(run.node_s):
                return await self._follow(run, appliance, driver, tell)
        except UnavailableError as error:
            return OFFLINE, f"{error.message}: whether it is done is not known", {}
        except TimeoutError:
            return FAILED, f"it has not ended after {run.node_s:.0f} s; see nf appliance show {appliance}", {}
        except NfError as error:
            return FAILED, str(error), {}

    async def _follow(self, run: _Run, appliance: str, driver: str, tell: Tell) -> tuple[str, str, JsonObject]:
        """Start it once, also when the session ends between question and answer, and wait for its end."""
        started = told = False
        while True:
            session = await self._sessions.wait_online(appliance, RETURN_S)
            try:
                record = await self._record(session, run.id)
                if record is None and started:
                    return FAILED, "it has forgotten the operation", {}
                if record is None:
                    elapsed_s = self._clock.monotonic() - run.began
                    arguments: JsonObject = {**run.arguments, REQUEST: run.id, ELAPSED: elapsed_s, AUTHOR: run.author}
                    question: JsonObject = {"driver": driver, "name": run.operation.name, "arguments": arguments}
                    await session.request("operation.start", question)
                    started = True
                    continue
                started = True
                if record.get("state") not in {"running", "cancelling"}:
                    return _ended(record)
                tell(appliance, RUNNING, _fraction(record), str(record.get("text", "")))
                if run.cancel.is_set() and not told:
                    told = True
                    with contextlib.suppress(RefusedError):  # it has just ended
                        await session.request("operation.cancel", {"id": record["id"]})
                await self._clock.sleep(_POLL_S)
            except (SessionLost, DeadlineError):
                tell(appliance, RUNNING, 0.0, "its session ended; waiting for it")

    @staticmethod
    async def _record(session: Session, request: str) -> JsonObject | None:
        answer = await session.request("operation.list", {})
        for record in answer if isinstance(answer, list) else ():
            if isinstance(record, dict):
                arguments = record.get("arguments")
                if isinstance(arguments, dict) and arguments.get(REQUEST) == request:
                    return record
        return None

    async def _audit(self, run: _Run, outcome: str, detail: JsonObject) -> None:
        operation = run.operation
        await self._book.audit(run.author, f"operation.{operation.name}", operation.object, outcome, detail)


def load_admissions() -> Mapping[str, Admission]:
    """Those of everything that is installed, by operation. Raises IntegrityError when two are for one."""
    found: dict[str, Admission] = {}
    for point in sorted(entry_points(group=ADMISSIONS), key=lambda point: (point.name, point.value)):
        admission: Admission = point.load()()
        if admission.name in found:
            raise IntegrityError(f"two admissions are for {admission.name!r}", where=point.value)
        found[admission.name] = admission
    return found


def _why(run: _Run) -> str:
    """What kept it from being done, in words."""
    bad = (outcome for outcome in run.outcomes if outcome.state not in {DONE, WITHHELD})
    return "; ".join(f"{outcome.appliance} is {outcome.state}" for outcome in bad)


def _fraction(record: JsonObject) -> float:
    value = record.get("fraction")
    return float(value) if isinstance(value, int | float) else 0.0


def _ended(record: JsonObject) -> tuple[str, str, JsonObject]:
    found: Json = record.get("result")
    result = found if isinstance(found, dict) else {}
    if record.get("state") == DONE:
        return DONE, str(result.get("text", "")), result
    return FAILED, str(record.get("error") or record.get("state")), result
