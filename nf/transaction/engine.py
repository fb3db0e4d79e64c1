"""The transaction engine of one appliance: phases of a commit, driven by a coordinator; recovery and timers of its own.

Every phase method may be repeated; a repeat of what is done is no change. All raise errors of `nf.errors`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from nf.clock import Clock
from nf.contracts.driver import Driver
from nf.contracts.json import JsonObject
from nf.documents.appliance import ApplianceConfig
from nf.errors import BusyError, RefusedError
from nf.transaction.bounded import Interrupt, bounded
from nf.transaction.commit import carry_out, take_back
from nf.transaction.core import WANTED, Active, Core
from nf.transaction.executor import Executor
from nf.transaction.journal import Journal
from nf.transaction.killpoints import NO_KILL_POINTS, KillPoints
from nf.transaction.local import unstick
from nf.transaction.model import (
    EngineEvent,
    OperationRecord,
    Override,
    ProbeVerifier,
    Standing,
    Timings,
    Validated,
)
from nf.transaction.operations import Operations
from nf.transaction.overrides import Overrides
from nf.transaction.ownership import check_ownership
from nf.transaction.reconcile import Reconciler
from nf.transaction.records import Kind, StepState, TransactionRow
from nf.transaction.recovery import complete, recover
from nf.transaction.staging import stage_rows, stages_of
from nf.transaction.states import Command, TransactionState, next_state
from nf.transaction.timers import Timers, uniform
from nf.transaction.validation import Judge

_BACKWARD = frozenset({Command.UNDO, Command.ABORT})


class Engine:
    """One per agent. `recover()` once, then `run()` beside everything else.

    load_config         sections and probes typed by the registry; raises DocumentError
    max_override_ttl_s  longest life of an override, in seconds
    jitter              a number from 0 to 1, drawn for each period of reconcile
    resolve_secret      reference -> value, given to `apply` and `undo` only
    """

    def __init__(
        self,
        *,
        appliance: str,
        journal: Journal,
        drivers: Sequence[Driver],
        probes: ProbeVerifier,
        clock: Clock,
        load_config: Callable[[JsonObject], ApplianceConfig],
        faults: KillPoints = NO_KILL_POINTS,
        timings: Timings | None = None,
        max_override_ttl_s: float = 86_400.0,
        jitter: Callable[[], float] = uniform,
        resolve_secret: Callable[[str], str] | None = None,
    ) -> None:
        check_ownership(drivers)
        self._core = Core(journal, clock, faults, load_config, timings or Timings())
        self._core.executor = Executor(
            appliance=appliance,
            drivers={driver.section: driver for driver in drivers},
            journal=journal,
            clock=clock,
            faults=faults,
            timings=self._core.timings,
            emit=self._core.emit,
            resolve_secret=resolve_secret,
        )
        self._judge = Judge(self._core, probes)
        self._overrides = Overrides(self._core, max_override_ttl_s)
        self._operations = Operations(self._core)
        self._reconciler = Reconciler(self._core)
        self._timers = Timers(self._core, self._overrides, self._reconciler, self._operations, jitter)
        self._core.load_confirmed()

    # ---- life ----

    async def recover(self) -> None:
        """Once after a start, before anything else."""
        await recover(self._core)

    async def run(self) -> None:
        """Deadlines, expiry of overrides, retries, reconcile, operations; until cancelled."""
        await self._timers.run()

    def set_reconcile_interval(self, seconds: float) -> None:
        """The mean period of reconcile from now on."""
        self._timers.set_reconcile_interval(seconds)

    def hold_reconcile(self, until: float) -> None:
        """Until then (seconds since the epoch; 0 = no longer) a drift is an alarm and is not repaired."""
        self._core.repair_held_until = until

    def subscribe(self, listener: Callable[[EngineEvent], None]) -> None:
        """`listener` is called at once, on the loop; it must not block."""
        self._core.listeners.append(listener)

    # ---- reading ----

    @property
    def standing(self) -> Standing:
        return self._core.standing()

    def confirmed_config(self) -> ApplianceConfig | None:
        return self._core.confirmed_config

    def effective_config(self) -> ApplianceConfig | None:
        """Confirmed intent (from APPLYING to the end of the commit the new one), with the overrides on it."""
        intent = self._core.intent()
        return self._core.merged(intent, self._core.overrides(WANTED)) if intent is not None else None

    async def differences(self) -> dict[str, str]:
        """Section -> how it differs from what is wanted now, in words; empty = converged. Waits for who changes it."""
        return await self._reconciler.differences()

    # ---- phases ----

    async def validate(
        self,
        transaction: str,
        revision: int,
        config: ApplianceConfig,
        *,
        accept_irreversible: bool = False,
        dry_run: bool = False,
        lock_s: float = 30.0,
    ) -> Validated:
        """Observe, plan, check; take the lock for `lock_s` unless `dry_run`.

        Raises CommitRefused with all problems, BusyError naming who holds the lock, StorageError when the journal has
        no room for the way back.
        """
        if dry_run:
            return await self._judge.plan(config, Interrupt(), accept_irreversible=accept_irreversible)
        core = self._core
        active = self._claim(transaction, revision, config, lock_s)
        try:
            async with core.work:
                await unstick(core)
                core.journal.ensure_room()
                validated = await self._judge.plan(config, active.interrupt, accept_irreversible=accept_irreversible)
                active.plan, active.verify_budget_s = validated.steps, validated.verify_budget_s
                active.row.deadline = core.clock.now() + lock_s
                active.validating = False
        except BaseException:
            if core.active is active:
                core.release()
            raise
        core.changed()
        return validated

    def _claim(self, transaction: str, revision: int, config: ApplianceConfig, lock_s: float) -> Active:
        core = self._core
        active = core.active
        if (
            active is not None
            and active.row.state is TransactionState.VALIDATED
            and not active.validating
            and active.row.deadline <= core.clock.now()
        ):
            core.active = active = None  # its lock ran out
        if active is not None and active.row.id != transaction:
            raise BusyError(
                f"transaction {active.row.id} (revision {active.row.revision}, {active.row.state.name}) holds the lock",
                where=core.appliance,
                remedy="wait until it has ended, or abort it",
            )
        if active is not None:
            next_state(active.row.state, Command.VALIDATE, transaction)
        elif core.journal.outcome(transaction) is not None:
            raise RefusedError(f"transaction {transaction} has been here before", where=core.appliance)
        row = TransactionRow(
            id=transaction,
            kind=Kind.COMMIT,
            revision=revision,
            state=TransactionState.VALIDATED,
            config=config.to_json(),
            stages=0,
            deadline=core.clock.now() + lock_s,
        )
        core.active = Active(row, config, validating=True)
        return core.active

    async def prepare(self, transaction: str, stages: Sequence[Sequence[str]], deadline: float) -> None:
        """Journal steps and stages, arm the deadline (seconds since the epoch). Nothing is changed yet.

        `stages[n]` are the ids of this appliance's steps in stage n of the fleet; it may be empty.
        """
        core = self._core
        async with self._phase(transaction, Command.PREPARE) as active:
            wanted = tuple(tuple(stage) for stage in stages)
            if active.row.state is TransactionState.PREPARED:
                if stages_of(active.steps, active.row.stages) != wanted or active.row.deadline != deadline:
                    raise RefusedError(
                        f"transaction {transaction} is PREPARED with other stages or another deadline",
                        where=core.appliance,
                        remedy="abort it and commit again",
                    )
                return
            rows = stage_rows(core.appliance, active.plan, wanted)
            budget = Validated(active.plan, frozenset(), active.verify_budget_s).budget_s
            left = deadline - core.clock.now()
            if budget > left:
                raise RefusedError(
                    f"applying, proving and taking back may take {budget:g} s; the deadline leaves {left:g} s",
                    where=core.appliance,
                    remedy="commit with a longer deadline (policy.deadline of the line-up)",
                )
            row = active.row
            prepared = TransactionRow(
                row.id, row.kind, row.revision, TransactionState.PREPARED, row.config, len(wanted), deadline
            )
            core.journal.prepare(prepared, rows)
            active.row, active.steps, active.plan = prepared, rows, ()
            core.changed()

    async def apply(self, transaction: str, stage: int) -> None:
        """Apply a stage's reversible steps in order. After a crash a repeat goes on where it stopped."""
        core = self._core
        async with self._phase(transaction, Command.APPLY) as active:
            steps = [step for step in active.steps if step.stage == stage and step.step.reversible]
            self._check_stage(active, stage)
            row = active.row
            if steps and row.state is TransactionState.PREPARED:
                core.check_deadline(active)
                core.journal.set_state(row.id, next_state(row.state, Command.APPLY, row.id), "applying")
                row.state = TransactionState.APPLYING
                core.changed()
            for step in steps:
                if step.state is not StepState.APPLIED:
                    core.check_deadline(active)
                    await core.executor.apply(row.id, step, row.deadline, active.interrupt)
            complete(core, active)
            core.changed()

    def _check_stage(self, active: Active, stage: int) -> None:
        count = active.row.stages
        if not 0 <= stage < count:
            raise RefusedError(
                f"transaction {active.row.id} has {count} stages, not stage {stage}", where=self._core.appliance
            )
        if stage > (done := active.stages_applied()):
            raise RefusedError(
                f"stage {done} of transaction {active.row.id} comes before stage {stage}", where=self._core.appliance
            )

    async def verify(self, transaction: str) -> None:
        """Drivers and probes say that the new configuration is effective, and observing it anew says so too.

        Raises DriverError with one problem for each difference.
        """
        core = self._core
        async with self._phase(transaction, Command.VERIFY) as active:
            core.check_deadline(active)
            left = active.row.deadline - core.clock.now()
            await bounded(
                core.clock, left, lambda: self._judge.prove(active), what="verify", interrupt=active.interrupt
            )
            row, state = active.row, next_state(active.row.state, Command.VERIFY, transaction)
            if row.state is not state:
                core.journal.set_state(row.id, state, "verified")
                row.state = state
            core.changed()

    async def hold(self, transaction: str, deadline: float) -> None:
        """Wait for a person's confirm; undone at `deadline` (seconds since the epoch) without one."""
        core = self._core
        async with self._phase(transaction, Command.HOLD) as active:
            if (active.row.state, active.row.deadline) != (TransactionState.HELD, deadline):
                core.journal.hold(transaction, deadline)
                active.row.state, active.row.deadline = TransactionState.HELD, deadline
            core.changed()

    async def confirm(self, transaction: str) -> None:
        """The decision: durable first, then irreversible steps, each tried once; `run` goes on with those that fail."""
        core = self._core
        if self._over(transaction, Command.CONFIRM):
            return
        with contextlib.suppress(_EndedError):
            async with self._phase(transaction, Command.CONFIRM) as active:
                if active.row.state is not TransactionState.CONFIRMING:
                    core.journal.decide(active.row)
                    active.row.state = TransactionState.CONFIRMING
                    core.confirmed = core.journal.confirmed()
                    core.load_confirmed()
                    core.changed()
                await carry_out(core, active)

    async def undo(self, transaction: str, stage: int) -> None:
        """Take back everything from the last stage down to `stage`. Stops an apply or verify that is going on."""
        if self._over(transaction, Command.UNDO):
            return
        with contextlib.suppress(_EndedError):
            async with self._phase(transaction, Command.UNDO) as active:
                if active.row.state is not TransactionState.VALIDATED:
                    await take_back(self._core, active, stage, final=False)

    async def abort(self, transaction: str, reason: str) -> None:
        """Take back whatever is applied and end the transaction. One that is unknown here is no error."""
        core = self._core
        if self._over(transaction, Command.ABORT):
            return
        with contextlib.suppress(_EndedError):
            async with self._phase(transaction, Command.ABORT, reason=f"aborted: {reason}") as active:
                if active.row.state is TransactionState.VALIDATED:
                    core.release()
                else:
                    await take_back(core, active, 0, final=True)

    def _over(self, transaction: str, command: Command) -> bool:
        """True when the transaction has ended here as `command` wants it; raises when it ended otherwise."""
        core = self._core
        if core.active is not None and core.active.row.id == transaction:
            return False
        state = core.journal.outcome(transaction)
        if state is None:
            return command in _BACKWARD
        next_state(state, command, transaction)
        return True

    @contextlib.asynccontextmanager
    async def _phase(self, transaction: str, command: Command, *, reason: str = "") -> AsyncIterator[Active]:
        """The commit in flight, with the work lock. The table is asked before, and again once the lock is ours."""
        active = self._require(transaction, command)
        if command in _BACKWARD:
            active.stopping = True
            active.interrupt.set(reason or "it is being taken back")
        async with self._core.work:
            active = self._require(transaction, command)
            if not active.stopping:
                active.interrupt = Interrupt()
            yield active

    def _require(self, transaction: str, command: Command) -> Active:
        core = self._core
        active = core.active
        if active is None or active.row.id != transaction:
            state = core.journal.outcome(transaction)
            if state is not None:
                next_state(state, command, transaction)
            if state is not None or command in _BACKWARD:
                raise _EndedError(f"transaction {transaction} has ended")
            raise RefusedError(
                f"transaction {transaction} is not in flight here: {command.value} is not possible",
                where=core.appliance,
                remedy="validate it first",
            )
        if active.stopping and command not in _BACKWARD:
            raise RefusedError(
                f"transaction {transaction} is being taken back: {command.value} is not possible then",
                where=core.appliance,
                remedy="wait until it is undone and commit again",
            )
        if command is Command.VERIFY and active.row.state is TransactionState.PREPARED:
            complete(core, active)  # an empty plan needs no apply
        next_state(active.row.state, command, transaction)
        return active

    # ---- overrides and operations ----

    async def add_override(self, section: str, patch: JsonObject, reason: str, author: str, ttl_s: float) -> Override:
        """A JSON merge patch on a section for `ttl_s` seconds; see `Overrides.add`."""
        return await self._overrides.add(section, patch, reason, author, ttl_s)

    def list_overrides(self) -> tuple[Override, ...]:
        return self._overrides.list()

    async def end_override(self, override_id: str) -> None:
        """Raises NotFoundError."""
        await self._overrides.end(override_id)

    async def start_operation(self, driver: str, name: str, arguments: JsonObject) -> str:
        """Its id. It runs inside `run`. Raises NotFoundError."""
        return await self._operations.start(driver, name, arguments)

    def list_operations(self) -> tuple[OperationRecord, ...]:
        return self._operations.list()

    async def cancel_operation(self, operation_id: str) -> None:
        """Raises NotFoundError, RefusedError when it has ended."""
        await self._operations.cancel(operation_id)

    async def wait_operation(self, operation_id: str) -> OperationRecord:
        """Return when it has ended. Raises NotFoundError."""
        return await self._operations.wait(operation_id)


class _EndedError(RefusedError):
    """The transaction ended, as the command wants it, while the command waited for the lock."""
