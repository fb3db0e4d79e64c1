"""Reconcile: what stands is compared with what is wanted, for ever; the harmless part is repaired."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from nf.documents.model import DocumentModel
from nf.errors import NfError, Problem, RefusedError
from nf.telemetry.alarms import Severity
from nf.transaction.core import Core
from nf.transaction.executor import Survey, Wants, refused
from nf.transaction.local import in_stages, run_local, unstick
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
            harmless = {name: survey for name, survey in zip(wants, surveys, strict=True) if self._judge(name, survey)}
            if harmless and not self._held():
                await self._repair(harmless, wants)

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

    async def _repair(self, surveys: Mapping[str, Survey], wants: Wants) -> None:
        """Section by section, in the order of their facts: what one cannot do keeps no other, nor takes it back.

        An appliance on which little stands and much has to be done at once, as after a start, gets there part by part.
        """
        core = self._core
        checks = await asyncio.gather(
            *(core.executor.check(name, survey.steps, wants[name]) for name, survey in surveys.items())
        )
        steps: dict[str, PlannedStep] = {}
        facts: frozenset[str] = frozenset()
        for (name, survey), problems in zip(surveys.items(), checks, strict=True):
            facts |= survey.facts
            found = self._unexpected(survey.steps)
            twice = ", ".join(planned.step.id for planned in found if planned.step.id in steps)
            doubled = [Problem(f"another section has a step {twice} too", "report it", key=name)] if twice else []
            if doubled or problems:
                self._failed(name, refused(core.appliance, [*doubled, *problems]))
            else:
                steps |= {planned.step.id: planned for planned in found}
        try:
            stages = in_stages(core.appliance, [*steps.values()], facts)
        except NfError as error:
            for name in sorted({planned.section for planned in steps.values()}):
                self._failed(name, error)
            return
        await self._bring([part for stage in stages for part in _by_section(stage)], facts, wants)

    async def _bring(self, parts: Sequence[Sequence[PlannedStep]], facts: frozenset[str], wants: Wants) -> None:
        """Each part, of one section, is a transaction. What needs something that failed is left for a later round."""
        core = self._core
        failed: set[str] = set()
        lacking: set[str] = set()
        last = {part[0].section: number for number, part in enumerate(parts)}
        for number, part in enumerate(parts):
            section = part[0].section
            if section in failed or core.stuck:
                continue
            missing = sorted(lacking & {fact for planned in part for fact in planned.step.requires})
            try:
                if missing:
                    rule = f"waits for {', '.join(missing)}, which could not be brought about"
                    raise RefusedError(rule, where=section, remedy="see the alarm of what provides it")
                proved = {section: wants[section]} if number == last[section] else {}
                await run_local(core, "reconcile", part, facts, proved)
            except NfError as error:
                self._failed(section, error)
                failed.add(section)
                lacking |= {
                    fact
                    for one in parts
                    if one[0].section == section
                    for planned in one
                    for fact in planned.step.provides
                }
            else:
                if number == last[section]:
                    core.clear(DRIFT, section)

    def _failed(self, section: str, error: NfError) -> None:
        remedy = error.remedy or "mend the function"
        self._core.alarm(DRIFT, section, Severity.MAJOR, f"repair failed: {error}", remedy)


def _by_section(stage: Sequence[PlannedStep]) -> list[list[PlannedStep]]:
    parts: dict[str, list[PlannedStep]] = {}
    for planned in stage:
        parts.setdefault(planned.section, []).append(planned)
    return [*parts.values()]
