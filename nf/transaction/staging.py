"""Stages that the coordinator numbered, and the journal's step rows."""

from __future__ import annotations

from collections.abc import Sequence

from nf.errors import Problem, RefusedError
from nf.transaction.model import PlannedStep
from nf.transaction.records import StepRow

Stages = tuple[tuple[str, ...], ...]


def stage_rows(appliance: str, plan: Sequence[PlannedStep], stages: Stages) -> list[StepRow]:
    """Rows in the order of execution. Irreversible steps that no stage names come last.

    Raises RefusedError for a step that is not of the plan, is named twice, or is missing.
    """
    by_id = {planned.step.id: planned for planned in plan}
    order = [(number, step_id) for number, stage in enumerate(stages) for step_id in stage]
    named = [step_id for _, step_id in order]
    problems = [
        Problem("is in the stages and not in the plan", "validate again", key=f"{appliance}/{step_id}")
        for step_id in named
        if step_id not in by_id
    ]
    problems += [
        Problem("is in two stages", "number the steps again", key=f"{appliance}/{step_id}")
        for step_id in sorted(set(named))
        if named.count(step_id) > 1
    ]
    missing = [step_id for step_id in by_id if step_id not in set(named)]
    problems += [
        Problem("is in no stage", "number the steps again", key=f"{appliance}/{step_id}")
        for step_id in missing
        if by_id[step_id].step.reversible
    ]
    if problems:
        raise RefusedError(
            "the stages do not fit the plan", where=appliance, remedy="validate again", problems=problems
        )
    order += [(len(stages), step_id) for step_id in missing]
    return [StepRow(seq, number, by_id[name].section, by_id[name].step) for seq, (number, name) in enumerate(order)]


def stages_of(rows: Sequence[StepRow], count: int) -> Stages:
    """What `stage_rows` was given."""
    return tuple(tuple(row.step.id for row in rows if row.stage == number) for number in range(count))
