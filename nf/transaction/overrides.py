"""Overrides: bounded deviations from the intent. Journalled first, then made true through the engine.

One that comes while a commit is between VALIDATE and its verification, or on its way to its end, waits for that:
its effect would spoil the commit's plan or its undo records. While a commit is held it is made true at once.
"""

from __future__ import annotations

import uuid

from nf.contracts.json import JsonObject
from nf.errors import InputError, NfError, NotFoundError, RefusedError
from nf.telemetry.alarms import Severity
from nf.transaction.core import WANTED, Core
from nf.transaction.executor import refused
from nf.transaction.local import run_local, unstick
from nf.transaction.model import Override, OverrideState
from nf.transaction.states import TransactionState

FAILED = "override-failed"
_UNSETTLED = frozenset({OverrideState.PENDING, OverrideState.ENDING})


class Overrides:
    def __init__(self, core: Core, max_ttl_s: float) -> None:
        self._core = core
        self._max_ttl_s = max_ttl_s

    def list(self) -> tuple[Override, ...]:
        """Those that are wanted or still in effect, oldest first."""
        return self._core.overrides({*WANTED, OverrideState.ENDING})

    def next_expiry(self) -> float | None:
        return min((override.expires_at for override in self._core.overrides(WANTED)), default=None)

    def unsettled(self) -> tuple[Override, ...]:
        return self._core.overrides(_UNSETTLED)

    async def add(self, section: str, patch: JsonObject, reason: str, author: str, ttl_s: float) -> Override:
        """Durable when it returns, and in effect unless a commit makes it wait (then PENDING).

        Raises InputError, RefusedError, DocumentError (the section would not be valid), DriverError (it was tried and
        taken back).
        """
        core = self._core
        self._check(section, ttl_s)
        now = core.clock.now()
        override = Override(
            uuid.uuid4().hex[:12], section, patch, reason, author, now, now + ttl_s, OverrideState.PENDING
        )
        for config in (core.confirmed_config, core.active.config if core.active is not None else None):
            if config is not None:
                core.merged(config, (*core.overrides(WANTED), override))
        core.journal.add_override(override)
        core.wake.set()
        if not self.may_settle():
            return override
        try:
            await self.settle({section})
        except NfError:
            core.journal.end_overrides([override.id], gone=True)
            core.clear(FAILED, section)
            raise
        return next((found for found in core.journal.overrides() if found.id == override.id), override)

    def _check(self, section: str, ttl_s: float) -> None:
        core = self._core
        if section not in core.executor.drivers:
            known = ", ".join(sorted(core.executor.drivers))
            raise InputError(
                f"{core.appliance} has no section {section}", where=core.appliance, remedy=f"one of: {known}"
            )
        if not 0 < ttl_s <= self._max_ttl_s:
            raise RefusedError(
                f"an override lasts more than 0 and at most {self._max_ttl_s:g} s, not {ttl_s:g} s",
                where=core.appliance,
                remedy="ask for less, or commit a line-up that says it for good",
            )
        if core.confirmed_config is None and (core.active is None or core.active.config is None):
            raise RefusedError(
                f"{core.appliance} has no configuration yet", where=core.appliance, remedy="commit a line-up first"
            )

    async def end(self, override_id: str) -> None:
        """Raises NotFoundError. Its effect is taken out at once, or after the commit that holds the lock."""
        if override_id not in {override.id for override in self._core.overrides(WANTED)}:
            raise NotFoundError(
                f"there is no override {override_id}", where=self._core.appliance, remedy="`nf override list`"
            )
        sections = {override.section for override in self._core.overrides(WANTED) if override.id == override_id}
        self._core.journal.end_overrides([override_id])
        self._core.wake.set()
        if self.may_settle():
            await self.settle(sections)

    def expire(self) -> None:
        """End those whose time is over; `settle` takes their effect out."""
        now = self._core.clock.now()
        over = [override.id for override in self._core.overrides(WANTED) if override.expires_at <= now]
        if over:
            self._core.journal.end_overrides(over)

    def may_settle(self) -> bool:
        active = self._core.active
        return active is None or (active.row.state is TransactionState.HELD and not active.stopping)

    async def settle(self, sections: set[str] | None = None) -> None:
        """Make true what is wanted in sections with unsettled overrides (None: all of them).

        Each section for itself; raises the first error after all were tried, with an alarm for each.
        """
        async with self._core.work:
            if not self.may_settle():
                return
            await unstick(self._core)
            names = {override.section for override in self.unsettled()}
            failed: NfError | None = None
            for section in sorted(names if sections is None else names & sections):
                try:
                    await self._settle(section)
                    self._core.clear(FAILED, section)
                except NfError as error:
                    failed = failed or error
                    remedy = error.remedy or "end the override, or mend the function"
                    self._core.alarm(FAILED, section, Severity.MAJOR, str(error), remedy)
            if failed is not None:
                raise failed

    async def _settle(self, section: str) -> None:
        core = self._core
        ids = [override.id for override in self.unsettled() if override.section == section]
        config = core.intent()
        if config is None:
            core.journal.end_overrides(ids, gone=True)
            return
        merged = core.merged(config, core.overrides(WANTED))
        wants = {section: merged.sections.get(section)}
        survey = await core.executor.survey(wants, check=True)
        if survey.problems:
            raise refused(core.appliance, survey.problems)
        steps = [planned for planned in survey.steps if planned.step.reversible]
        if steps:
            await run_local(core, f"override/{section}", steps, survey.facts, wants, settles=ids)
        else:
            core.journal.settle_overrides(ids, held=core.active is not None)
