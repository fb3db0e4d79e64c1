"""Calls to drivers: bounded in time, with every error named, and journalled around each effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TypeVar

from nf.clock import Clock
from nf.contracts.driver import Context, Drift, Driver, State, Step
from nf.contracts.json import canonical
from nf.documents.model import DocumentModel
from nf.errors import CommitRefused, DriverError, NfError, Problem
from nf.transaction.bounded import GRACE_S, Interrupt, bounded
from nf.transaction.journal import Journal
from nf.transaction.killpoints import KillPoints
from nf.transaction.model import EngineEvent, PlannedStep, StepProgress, Timings
from nf.transaction.records import StepRow, StepState

T = TypeVar("T")
Wants = Mapping[str, DocumentModel | None]
"""Section -> what it is to be; None: it is to be absent."""


@dataclass(slots=True)
class Survey:
    """What the drivers see and would do. `problems`: those that could not say, or would not take it."""

    steps: list[PlannedStep] = field(default_factory=list)
    facts: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)


class Executor:
    """The engine's hands. It holds no state of transactions; rows are changed as the journal records them."""

    def __init__(
        self,
        *,
        appliance: str,
        drivers: Mapping[str, Driver],
        journal: Journal,
        clock: Clock,
        faults: KillPoints,
        timings: Timings,
        emit: Callable[[EngineEvent], None],
        resolve_secret: Callable[[str], str] | None,
    ) -> None:
        self.appliance = appliance
        self.drivers = drivers
        self._journal = journal
        self._clock = clock
        self._faults = faults
        self._timings = timings
        self._emit = emit
        self.resolve_secret = resolve_secret

    # ---- reading ----

    async def survey(self, wants: Wants, *, check: bool, interrupt: Interrupt | None = None) -> Survey:
        """Observe and plan every section at once, and `check` what comes out. Driver errors become problems."""
        parts = await asyncio.gather(*(self._survey(name, wants[name], check, interrupt) for name in sorted(wants)))
        whole = Survey()
        for part in parts:
            whole.steps += part.steps
            whole.facts |= part.facts
            whole.problems += part.problems
        seen: set[str] = set()
        for planned in whole.steps:
            if planned.step.id in seen:
                whole.problems.append(self._problem(planned.section, planned.step.id, "two steps have this id"))
            seen.add(planned.step.id)
        return whole

    async def check(self, section: str, steps: Sequence[PlannedStep], want: DocumentModel | None) -> list[Problem]:
        """What speaks against steps of one section that were planned just now."""
        driver, found = self.drivers[section], tuple(planned.step for planned in steps)
        try:
            await self.call(section, "check", self._timings.check_s, lambda: driver.check(found, want))
        except NfError as error:
            return list(error.problems) or [_as_problem(error, self._key(section))]
        return []

    async def _survey(
        self, section: str, want: DocumentModel | None, check: bool, interrupt: Interrupt | None
    ) -> Survey:
        driver = self.drivers.get(section)
        if driver is None:
            rule = f"no driver of this appliance serves the section {section}"
            return Survey(
                problems=[
                    Problem(rule, "install the software that does, or place it elsewhere", key=self._key(section))
                ]
            )
        try:
            state = await self.call(section, "observe", self._timings.observe_s, driver.observe, interrupt)
            steps = self._plan(driver, section, state, want)
            if check and steps:
                await self.call(section, "check", self._timings.check_s, lambda: driver.check(steps, want), interrupt)
        except NfError as error:
            return Survey(problems=list(error.problems) or [_as_problem(error, self._key(section))])
        return Survey([PlannedStep(section, step) for step in steps], state.facts)

    def _plan(self, driver: Driver, section: str, state: State, want: DocumentModel | None) -> tuple[Step, ...]:
        # Pure by contract, so it runs in place; one that never ends stalls the loop, and the watchdog ends the agent.
        try:
            steps = tuple(driver.plan(state, want))
            for step in steps:
                canonical(step.to_json())
        except Exception as error:  # a driver may raise anything
            raise self._named(error, section, "plan") from error
        return steps

    async def verify(self, wants: Wants, *, interrupt: Interrupt | None = None) -> None:
        """Every section is effective, by its driver's word and by what observing it anew says.

        Raises DriverError with one problem for each difference.
        """
        parts = await asyncio.gather(*(self._verify(name, wants[name], interrupt) for name in sorted(wants)))
        problems = [problem for part in parts for problem in part]
        if not problems:
            again = await self.survey(wants, check=False, interrupt=interrupt)
            problems = again.problems + [
                self._problem(
                    planned.section,
                    planned.step.id,
                    f"not effective: {planned.step.summary or planned.step.kind} is still to do",
                )
                for planned in again.steps
                if planned.step.reversible
            ]
        if problems:
            raise self.failed("the configuration is not effective", problems)

    async def _verify(self, section: str, want: DocumentModel | None, interrupt: Interrupt | None) -> list[Problem]:
        driver = self.drivers.get(section)
        if driver is None:
            return [self._problem(section, "", f"no driver of this appliance serves the section {section}")]
        context = self.context(self._timings.verify_s, interrupt)
        try:
            drift: Drift = await self.call(
                section, "verify", self._timings.verify_s + GRACE_S, lambda: driver.verify(want, context), interrupt
            )
        except NfError as error:
            return list(error.problems) or [_as_problem(error, self._key(section))]
        return [self._problem(section, "", difference) for difference in drift.differences]

    # ---- changing ----

    async def apply(self, transaction: str, row: StepRow, deadline: float, interrupt: Interrupt) -> None:
        """Bring one step to APPLIED. A step that was armed before a crash keeps its first undo record.

        deadline: on the wall clock, seconds since the epoch.
        """
        if row.state is StepState.APPLIED:
            return
        driver = self._driver(row)
        place = f"{row.section}/{row.step.id}"
        if row.state is StepState.PENDING:
            seconds = min(self._timings.prepare_s, deadline - self._clock.now())
            undo = await self.call(place, "prepare", seconds, lambda: driver.prepare(row.step), interrupt)
            try:
                self._journal.arm(transaction, row.seq, undo)
            except (TypeError, ValueError, AttributeError) as error:
                raise self._named(error, place, "prepare") from error
            row.undo, row.state = undo, StepState.ARMED
        seconds = min(row.step.budget_s, deadline - self._clock.now())
        context = self.context(seconds, interrupt, transaction, row.step.id)
        await self.call(place, "apply", seconds, lambda: driver.apply(row.step, context), interrupt)
        self._faults.reach(f"effect:apply:{row.seq}")
        self._journal.step_applied(transaction, row.seq)
        row.state = StepState.APPLIED
        self._emit(StepProgress(transaction, row.step.id, 1.0, row.step.summary))

    async def apply_irreversible(self, transaction: str, row: StepRow) -> None:
        """After the decision: there is no undo record, and a crash repeats it."""
        driver = self._driver(row)
        context = self.context(row.step.budget_s, None, transaction, row.step.id)
        place = f"{row.section}/{row.step.id}"
        await self.call(place, "apply", row.step.budget_s, lambda: driver.apply(row.step, context))
        self._faults.reach(f"effect:irreversible:{row.seq}")
        self._journal.irreversible_applied(transaction, row.seq)
        row.state = StepState.APPLIED

    async def undo(self, transaction: str, rows: Iterable[StepRow]) -> None:
        """Take steps back, last first. One that fails does not keep the others: raises DriverError naming all."""
        problems: list[Problem] = []
        for row in sorted(rows, key=lambda row: row.seq, reverse=True):
            if row.state not in {StepState.ARMED, StepState.APPLIED}:
                continue
            try:
                await self._undo(transaction, row)
            except DriverError as error:
                problems += error.problems or [_as_problem(error, self._key(row.section))]
        if problems:
            raise self.failed("not everything could be taken back", problems)

    async def _undo(self, transaction: str, row: StepRow) -> None:
        driver, undo, place = self._driver(row), row.undo, f"{row.section}/{row.step.id}"
        if undo is None:
            raise DriverError("has no undo record", where=self._key(place))
        context = self.context(row.step.undo_budget_s, None, transaction, row.step.id)
        try:
            await self.call(place, "undo", row.step.undo_budget_s, lambda: driver.undo(undo, context))
        except NfError as error:
            raise DriverError(error.message, where=error.where, remedy=error.remedy, problems=error.problems) from error
        self._faults.reach(f"effect:undo:{row.seq}")
        self._journal.step_undone(transaction, row.seq)
        row.state = StepState.UNDONE

    # ---- helpers ----

    async def call(
        self,
        place: str,
        what: str,
        seconds: float,
        call: Callable[[], Awaitable[T]],
        interrupt: Interrupt | None = None,
    ) -> T:
        """One driver call; whatever it raises comes out as an error of the tree that names it."""
        try:
            return await bounded(self._clock, seconds, call, what=what, interrupt=interrupt)
        except Exception as error:  # a driver may raise anything
            raise self._named(error, place, what) from error

    def failed(self, message: str, problems: Sequence[Problem]) -> DriverError:
        shown = "; ".join(map(str, problems[:3]))
        return DriverError(f"{message}: {shown}", where=self.appliance, remedy=problems[0].remedy, problems=problems)

    def _driver(self, row: StepRow) -> Driver:
        try:
            return self.drivers[row.section]
        except KeyError:
            raise DriverError(
                f"no driver of this appliance serves the section {row.section}",
                where=self._key(f"{row.section}/{row.step.id}"),
                remedy="install the software that began this",
            ) from None

    def context(self, seconds: float, interrupt: Interrupt | None, transaction: str = "", step: str = "") -> Context:
        def progress(fraction: float, text: str) -> None:
            self._emit(StepProgress(transaction, step, fraction, text))

        return Context(
            clock=self._clock,
            deadline=self._clock.monotonic() + seconds,
            cancel=interrupt.event if interrupt is not None else asyncio.Event(),
            progress=progress,
            resolve_secret=self.resolve_secret if step else None,
        )

    def _key(self, place: str) -> str:
        return f"{self.appliance}/{place}"

    def _problem(self, section: str, step: str, rule: str) -> Problem:
        key = self._key(f"{section}/{step}" if step else section)
        return Problem(rule, "`nf appliance show` tells what the function says", key=key)

    def _named(self, error: Exception, place: str, what: str) -> NfError:
        if isinstance(error, NfError):
            named = copy(error)
            named.where = error.where or self._key(place)
            return named
        return DriverError(
            f"{what} failed: {type(error).__name__}: {error}",
            where=self._key(place),
            remedy="this is a fault of the driver: report it with the agent's log",
        )


def _as_problem(error: NfError, key: str) -> Problem:
    return Problem(error.message, error.remedy, key=error.where or key)


def refused(appliance: str, problems: Sequence[Problem]) -> CommitRefused:
    """The one error of a validation, with every problem of this appliance."""
    shown = "; ".join(map(str, problems[:3]))
    return CommitRefused(f"refuses the commit: {shown}", where=appliance, remedy=problems[0].remedy, problems=problems)
