"""The engine's own transactions: an override made true, a drift repaired. Journalled like a commit, without a NOC.

Whatever is found open of them after a crash is taken back; what they were for is planned anew from the live thing.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence

from nf.errors import NfError
from nf.telemetry.alarms import Severity
from nf.transaction.bounded import Interrupt
from nf.transaction.commit import UNDO_FAILED
from nf.transaction.core import Core
from nf.transaction.executor import Wants
from nf.transaction.model import PlannedStep
from nf.transaction.ordering import order_stages
from nf.transaction.records import Kind, StepRow, TransactionRow
from nf.transaction.states import TransactionState


async def run_local(
    core: Core,
    reason: str,
    steps: Sequence[PlannedStep],
    facts: frozenset[str],
    wants: Wants,
    *,
    settles: Sequence[str] = (),
) -> None:
    """Apply reversible `steps` and prove `wants`, or take all of it back and raise. Needs `core.work`.

    settles: overrides that are made true by this; recorded with its end.
    """
    core.journal.ensure_room()
    row, rows = _begin(core, reason, steps, facts)
    core.journal.prepare(row, rows)
    interrupt = Interrupt()
    try:
        for step in rows:
            await core.executor.apply(row.id, step, math.inf, interrupt)
        await core.executor.verify(wants)
    except NfError:
        await take_back_local(core, row, rows)
        raise
    core.journal.end(row, TransactionState.CONFIRMED, settled=settles, held=core.active is not None)


def _begin(
    core: Core, reason: str, steps: Sequence[PlannedStep], facts: frozenset[str]
) -> tuple[TransactionRow, list[StepRow]]:
    stages = in_stages(core.appliance, steps, facts)
    order = [(number, planned) for number, stage in enumerate(stages) for planned in stage]
    rows = [StepRow(seq, number, one.section, one.step) for seq, (number, one) in enumerate(order)]
    row = TransactionRow(
        id=f"local-{uuid.uuid4().hex[:12]}",
        kind=Kind.LOCAL,
        revision=core.confirmed.revision,
        state=TransactionState.APPLYING,
        config={},
        stages=len(stages),
        deadline=0.0,
        reason=reason,
    )
    return row, rows


def in_stages(
    appliance: str, steps: Sequence[PlannedStep], facts: frozenset[str]
) -> tuple[tuple[PlannedStep, ...], ...]:
    """Raises RefusedError for a cycle."""
    by_id = {planned.step.id: planned for planned in steps}
    # What no step here provides, other appliances do: the commit that confirmed this configuration has seen to it.
    elsewhere = frozenset(fact for planned in steps for fact in planned.step.requires)
    elsewhere -= {fact for planned in steps for fact in planned.step.provides}
    stages = order_stages({appliance: [planned.step for planned in steps]}, facts | elsewhere)
    return tuple(tuple(by_id[step_id] for step_id in stage[appliance]) for stage in stages)


async def take_back_local(core: Core, row: TransactionRow, rows: list[StepRow]) -> None:
    """Undo it and end it. What cannot be undone is kept, under an alarm, and comes first at the next occasion."""
    try:
        await core.executor.undo(row.id, rows)
    except NfError as error:
        core.stuck.append((row, rows))
        core.alarm(UNDO_FAILED, row.reason, Severity.CRITICAL, str(error), error.remedy or "mend the function")
        raise
    core.clear(UNDO_FAILED, row.reason)
    core.journal.end(row, TransactionState.UNDONE)


async def unstick(core: Core) -> None:
    """Take back what an earlier local transaction could not. Raises when it still cannot."""
    while core.stuck:
        await take_back_local(core, *core.stuck.pop())
