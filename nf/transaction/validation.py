"""The two judgements over a commit: before it, whether it may be; after it, whether it is."""

from __future__ import annotations

from collections.abc import Sequence

from nf.documents.appliance import ApplianceConfig
from nf.errors import DocumentError, Problem, RefusedError
from nf.transaction.bounded import GRACE_S, Interrupt
from nf.transaction.core import IN_FORCE, Active, Core
from nf.transaction.executor import Survey, refused
from nf.transaction.model import PlannedStep, ProbeVerifier, Validated


class Judge:
    def __init__(self, core: Core, probes: ProbeVerifier) -> None:
        self._core = core
        self._probes = probes

    async def plan(self, config: ApplianceConfig, interrupt: Interrupt, *, accept_irreversible: bool) -> Validated:
        """What the commit would change, or CommitRefused with every problem that stands against it."""
        core = self._core
        problems: list[Problem] = []
        survey = Survey()
        if config.appliance != core.appliance:
            rule = f"this configuration is for {config.appliance}, not for {core.appliance}"
            problems.append(Problem(rule, "send it there", key=core.appliance))
        else:
            try:
                wants = core.wants(config, core.overrides(IN_FORCE))
            except DocumentError as error:
                problems += [
                    Problem(
                        f"with the overrides in force: {problem.rule}", "`nf override end` it first", key=problem.key
                    )
                    for problem in error.problems
                ]
            else:
                survey = await core.executor.survey(wants, check=True, interrupt=interrupt)
                problems += survey.problems
        if not accept_irreversible:
            problems += self._irreversible(survey.steps)
        if problems:
            raise refused(core.appliance, problems)
        probing = self._probes.budget_s(config.probes) + GRACE_S if config.probes else 0.0
        proving = core.timings.verify_s + GRACE_S if survey.steps or config.sections else 0.0
        return Validated(tuple(survey.steps), survey.facts, probing + proving)

    def _irreversible(self, steps: Sequence[PlannedStep]) -> list[Problem]:
        accepted = [row.step for _, row in self._core.journal.pending_irreversible()]
        return [
            Problem(
                rule=f"cannot be taken back: {planned.step.summary or planned.step.kind}",
                remedy="commit with --accept when that is meant",
                key=f"{self._core.appliance}/{planned.section}/{planned.step.id}",
            )
            for planned in steps
            if not planned.step.reversible and planned.step not in accepted
        ]

    async def prove(self, active: Active) -> None:
        """Drivers, a new observation and probes agree that it is effective. Raises DriverError with each difference."""
        core, config = self._core, active.config
        if config is None:
            raise RefusedError("the commit's configuration cannot be read by this software", remedy="abort the commit")
        await core.executor.verify(core.wants(config, core.overrides(IN_FORCE)), interrupt=active.interrupt)
        if not config.probes:
            return
        seconds = self._probes.budget_s(config.probes)
        context = core.executor.context(seconds, active.interrupt)
        drift = await core.executor.call(
            "probes",
            "verify",
            seconds + GRACE_S,
            lambda: self._probes.verify(config.probes, context),
            active.interrupt,
        )
        if drift:
            remedy = "`nf channel show` tells where the path ends"
            problems = [Problem(text, remedy, key=f"{core.appliance}/probes") for text in drift.differences]
            raise core.executor.failed("a delivery path is not up", problems)
