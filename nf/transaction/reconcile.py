"""Reconcile: what stands is compared with what is wanted, for ever; the harmless part is repaired."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nf.documents.model import DocumentModel
from nf.errors import NfError
from nf.telemetry.alarms import Severity
from nf.transaction.core import Core
from nf.transaction.executor import Survey, refused
from nf.transaction.local import run_local, unstick
from nf.transaction.model import OverrideState, PlannedStep

DRIFT = "configuration-drift"
UNREADABLE = "function-unreadable"


class Reconciler:
    def __init__(self, core: Core) -> None:
        self._core = core

    async def once(self) -> None:
        """Every section once: a drift is an alarm; a plan that disrupts nothing is applied, unless that is held."""
        core = self._core
        async with core.work:
            if core.active is not None or core.confirmed_config is None:
                return
            await unstick(core)
            wants = self._wants()
            surveys = await asyncio.gather(
                *(core.executor.survey({name: want}, check=False) for name, want in wants.items())
            )
            harmless = {
                name: wants[name] for name, survey in zip(wants, surveys, strict=True) if self._judge(name, survey)
            }
            if harmless and not self._held():
                await self._repair(harmless)

    async def differences(self) -> dict[str, str]:
        """Section -> what differs from what is wanted, or why it cannot be read. Changes nothing."""
        core = self._core
        async with core.work:
            if core.confirmed_config is None:
                return {}
            wants = self._wants()
            surveys = await asyncio.gather(
                *(core.executor.survey({name: want}, check=False) for name, want in wants.items())
            )
        found: dict[str, str] = {}
        for section, survey in zip(wants, surveys, strict=True):
            steps = self._unexpected(survey.steps)
            if survey.problems:
                found[section] = f"cannot be read: {'; '.join(map(str, survey.problems))}"
            elif steps:
                what = ", ".join(planned.step.summary or planned.step.kind for planned in steps)
                found[section] = f"not converged: {what}"
        return found

    def _wants(self) -> dict[str, DocumentModel | None]:
        """Sections whose overrides are settled: the others are being brought there anyway."""
        core = self._core
        active = core.overrides({OverrideState.ACTIVE})
        moving = {override.section for override in core.overrides({OverrideState.PENDING, OverrideState.ENDING})}
        wants = core.wants(core.confirmed_config, active)
        return {name: wants[name] for name in sorted(wants) if name not in moving}

    def _judge(self, section: str, survey: Survey) -> bool:
        """Raise or clear this section's alarms. True when its drift may be repaired without asking."""
        core = self._core
        if survey.problems:
            text = "; ".join(map(str, survey.problems))
            core.alarm(UNREADABLE, section, Severity.MAJOR, text, survey.problems[0].remedy)
            return False
        core.clear(UNREADABLE, section)
        steps = self._unexpected(survey.steps)
        if not steps:
            core.clear(DRIFT, section)
            return False
        waits = [planned.step for planned in steps if planned.step.disruption or not planned.step.reversible]
        what = ", ".join(planned.step.summary or planned.step.kind for planned in steps)
        if waits:
            cost = "; ".join(
                f"{step.summary or step.kind}: {step.disruption or 'cannot be taken back'}" for step in waits
            )
            remedy = f"not repaired by itself, since it costs: {cost}. Commit the line-up again when that is acceptable"
            core.alarm(DRIFT, section, Severity.MAJOR, f"differs from what is wanted: {what}", remedy)
            return False
        doing = "repair is held until maintenance is over" if self._held() else "it is being repaired"
        core.alarm(DRIFT, section, Severity.WARNING, f"differs from what is wanted: {what}", doing)
        return True

    def _held(self) -> bool:
        return self._core.repair_held_until > self._core.clock.now()

    def _unexpected(self, steps: Sequence[PlannedStep]) -> list[PlannedStep]:
        """Without the irreversible work that is decided and still to be done."""
        decided = [row.step for _, row in self._core.journal.pending_irreversible()]
        return [planned for planned in steps if planned.step not in decided]

    async def _repair(self, wants: dict[str, DocumentModel | None]) -> None:
        core = self._core
        try:
            survey = await core.executor.survey(wants, check=True)
            if survey.problems:
                raise refused(core.appliance, survey.problems)
            steps = self._unexpected(survey.steps)
            if any(planned.step.disruption or not planned.step.reversible for planned in steps):
                return  # it changed meanwhile: the next round judges it
            if steps:
                await run_local(core, "reconcile", steps, survey.facts, wants)
        except NfError as error:
            for section in wants:
                core.alarm(
                    DRIFT, section, Severity.MAJOR, f"repair failed: {error}", error.remedy or "mend the function"
                )
        else:
            for section in wants:
                core.clear(DRIFT, section)
