"""What the engine does by itself as time goes by."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

from nf.errors import NfError
from nf.telemetry.alarms import Severity
from nf.transaction.commit import carry_out, retry_irreversible, take_back
from nf.transaction.core import Active, Core
from nf.transaction.operations import Operations
from nf.transaction.overrides import Overrides
from nf.transaction.reconcile import Reconciler
from nf.transaction.states import TransactionState

log = logging.getLogger(__name__)

ENGINE_FAULT = "transaction-engine-fault"


def uniform() -> float:
    """From 0 to 1: spreads the periods of many appliances."""
    return random.random()  # noqa: S311 - no secret


class Timers:
    """One task looks after deadlines, expiries, retries and reconcile, in this order; another hosts operations."""

    def __init__(
        self,
        core: Core,
        overrides: Overrides,
        reconciler: Reconciler,
        operations: Operations,
        jitter: Callable[[], float],
    ) -> None:
        self._core = core
        self._overrides = overrides
        self._reconciler = reconciler
        self._operations = operations
        self._jitter = jitter
        self._interval_s = core.timings.reconcile_s
        # Monotonic seconds: a wall clock that is set back must not put off what is the engine's own.
        self._reconcile_at = 0.0
        self._settle_at = 0.0

    def set_reconcile_interval(self, seconds: float) -> None:
        self._interval_s = seconds
        self._reconcile_at = min(self._reconcile_at, self._core.clock.monotonic() + self._period())
        self._core.wake.set()

    async def run(self) -> None:
        self._reconcile_at = self._core.clock.monotonic() + self._period() / 2
        async with asyncio.TaskGroup() as group:
            group.create_task(self._operations.run(), name="operations")
            group.create_task(self._loop(), name="engine timers")

    async def _loop(self) -> None:
        core = self._core
        duties: dict[str, Callable[[], Awaitable[None]]] = {
            "commit": self._commit,
            "overrides": self._settle,
            "irreversible": self._irreversible,
            "reconcile": self._reconcile,
        }
        while True:
            core.wake.clear()
            for name, duty in duties.items():
                await self._guarded(name, duty)
            await self._wait(self._next_due_s())

    async def _guarded(self, name: str, duty: Callable[[], Awaitable[None]]) -> None:
        """A duty that fails is tried again in its time; the others go on."""
        try:
            await duty()
        except NfError as error:
            log.warning("engine duty %s: %s", name, error)
            self._core.alarm(ENGINE_FAULT, name, Severity.MAJOR, str(error), error.remedy)
        else:
            self._core.clear(ENGINE_FAULT, name)

    async def _commit(self) -> None:
        """The deadline, the end of an unprepared lock, and ends that failed and are due again."""
        core, active = self._core, self._core.active
        if active is None or self._commit_due_s(active) > 0:
            return
        if active.row.state is TransactionState.VALIDATED:
            core.release()
            return
        if active.row.state is not TransactionState.CONFIRMING:
            active.stopping = True
            active.interrupt.set("the deadline is over")
        async with core.work:
            if core.active is not active:
                return
            active.retry_at = core.clock.monotonic() + core.timings.retry_s
            if active.row.state is TransactionState.CONFIRMING:
                await carry_out(core, active)
            else:
                await take_back(core, active, 0, final=True)

    def _commit_due_s(self, active: Active) -> float:
        """Seconds until the commit in flight needs the engine's own hand."""
        if active.validating:
            return math.inf
        clock = self._core.clock
        retry_s = active.retry_at - clock.monotonic()
        if active.row.state is TransactionState.CONFIRMING or active.row.undo_final:
            return retry_s
        return max(active.row.deadline - clock.now(), retry_s)

    async def _settle(self) -> None:
        now = self._core.clock.monotonic()
        self._overrides.expire()
        if self._overrides.may_settle() and self._overrides.unsettled() and self._settle_at <= now:
            self._settle_at = now + self._core.timings.retry_s
            await self._overrides.settle()
            self._settle_at = 0.0

    async def _irreversible(self) -> None:
        core = self._core
        if (
            core.active is None
            and core.irreversible_at <= core.clock.monotonic()
            and core.journal.pending_irreversible()
        ):
            async with core.work:
                if core.active is None:
                    await retry_irreversible(core)

    async def _reconcile(self) -> None:
        core = self._core
        if core.active is not None or self._reconcile_at > core.clock.monotonic():
            return
        self._reconcile_at = core.clock.monotonic() + self._period()
        try:
            core.journal.ensure_room()
        finally:
            await self._reconciler.once()

    def _period(self) -> float:
        return self._interval_s * (0.5 + self._jitter())

    async def _wait(self, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._core.clock.sleep(seconds))
        wake = asyncio.ensure_future(self._core.wake.wait())
        waits: set[asyncio.Future[Any]] = {sleep, wake}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _next_due_s(self) -> float:
        """Seconds until something is due."""
        core, now = self._core, self._core.clock.monotonic()
        due_s = [self._interval_s]
        if core.active is not None:
            due_s.append(self._commit_due_s(core.active))
        else:
            due_s.append(self._reconcile_at - now)
            if core.journal.pending_irreversible():
                due_s.append(core.irreversible_at - now)
        expiry = self._overrides.next_expiry()
        if expiry is not None:
            due_s.append(expiry - core.clock.now())
        if self._overrides.may_settle() and self._overrides.unsettled():
            due_s.append(self._settle_at - now)
        return min(due_s)
