"""After a start: what the journal says was going on is finished, taken back, or left waiting for its coordinator."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from nf.errors import NfError
from nf.telemetry.alarms import Severity
from nf.transaction.commit import carry_out, take_back
from nf.transaction.core import Active, Core
from nf.transaction.local import take_back_local
from nf.transaction.records import Kind, StepState, TransactionRow
from nf.transaction.states import Command, TransactionState, next_state

log = logging.getLogger(__name__)


async def recover(core: Core) -> None:
    """Needs that nothing else runs yet. Afterwards each function is as before the commit, as after it, or the commit
    is undecided and before its deadline, with every begun step known.

    What a driver refuses now is tried again by `run`, under an alarm.
    """
    core.load_confirmed()
    rows = core.journal.open_transactions()
    # The engine's own came last (a commit is held while they run), so they go first.
    for row in reversed(rows):
        if row.kind is Kind.LOCAL:
            await _attempt(take_back_local(core, row, core.journal.steps(row.id)))
    for row in rows:
        if row.kind is Kind.COMMIT:
            core.active = _load(core, row)
            async with core.work:
                await _attempt(_resume(core, core.active))
    core.changed()


async def _attempt(work: Awaitable[None]) -> None:
    try:
        await work
    except NfError as error:
        log.warning("recovery is not complete yet: %s", error)


def _load(core: Core, row: TransactionRow) -> Active:
    try:
        config = core.load_config(row.config)
    except (NfError, ValueError) as error:
        config = None
        core.alarm("configuration-unreadable", row.id, Severity.MAJOR, str(error), "abort the commit")
    return Active(row, config, steps=core.journal.steps(row.id))


async def _resume(core: Core, active: Active) -> None:
    row = active.row
    if row.state is TransactionState.CONFIRMING:
        await carry_out(core, active)
    elif row.state is TransactionState.UNDOING or core.clock.now() >= row.deadline:
        over = row.undo_final or core.clock.now() >= row.deadline
        await take_back(core, active, row.undo_to, final=over)
    elif row.state is TransactionState.APPLYING:
        complete(core, active)


def complete(core: Core, active: Active) -> None:
    """When every reversible step is applied, say so durably."""
    row = active.row
    if row.state not in {TransactionState.PREPARED, TransactionState.APPLYING}:
        return
    if all(step.state is StepState.APPLIED for step in active.steps if step.step.reversible):
        state = next_state(row.state, Command.STAGES_DONE, row.id)
        core.journal.set_state(row.id, state, "applied")
        row.state = state
