"""How a commit ends: taken back, or carried out. Used by the phases, by the deadline and by recovery."""

from __future__ import annotations

from nf.errors import DriverError, NfError
from nf.telemetry.alarms import Severity
from nf.transaction.core import Active, Core
from nf.transaction.records import StepRow
from nf.transaction.states import Command, TransactionState, next_state

UNDO_FAILED = "undo-failed"
IRREVERSIBLE_FAILED = "irreversible-step-failed"


async def take_back(core: Core, active: Active, stage: int, *, final: bool) -> None:
    """Undo everything from the last stage down to `stage`; `final`: and end the transaction.

    Needs `core.work`. Raises DriverError when something could not be taken back: it stays UNDOING, under an alarm, and
    is tried again.
    """
    row = active.row
    next_state(row.state, Command.UNDO, row.id)
    final = final or row.undo_final
    stage = 0 if final else stage if row.state is not TransactionState.UNDOING else min(stage, row.undo_to)
    if (row.state, row.undo_to, row.undo_final) != (TransactionState.UNDOING, stage, final):
        core.journal.undoing(row.id, stage, final=final)
        row.state, row.undo_to, row.undo_final = TransactionState.UNDOING, stage, final
        core.changed()
    try:
        await core.executor.undo(row.id, (step for step in active.steps if step.stage >= stage))
    except DriverError as error:
        active.retry_at = core.clock.monotonic() + core.timings.retry_s
        core.alarm(
            UNDO_FAILED, row.id, Severity.CRITICAL, str(error), error.remedy or "mend the function; it is tried again"
        )
        core.changed()
        raise
    core.clear(UNDO_FAILED, row.id)
    if final:
        next_state(row.state, Command.TAKEN_BACK, row.id)
        core.finish(active, TransactionState.UNDONE)
    else:
        core.changed()


async def carry_out(core: Core, active: Active) -> None:
    """After the decision is durable: irreversible steps, each tried once here; those that fail are left to `run`.

    Needs `core.work`.
    """
    for row in active.steps:
        if not row.step.reversible:
            await _try_irreversible(core, active.row.id, row)
    next_state(active.row.state, Command.FINISH, active.row.id)
    core.finish(active, TransactionState.CONFIRMED)


async def retry_irreversible(core: Core) -> bool:
    """Try again what is left of confirmed transactions. True when nothing is left. Needs `core.work`."""
    left = core.journal.pending_irreversible()
    done = [await _try_irreversible(core, transaction, row) for transaction, row in left]
    return all(done)


async def _try_irreversible(core: Core, transaction: str, row: StepRow) -> bool:
    place = f"{row.section}/{row.step.id}"
    try:
        await core.executor.apply_irreversible(transaction, row)
    except NfError as error:
        remedy = error.remedy or "mend the function; it is tried again"
        core.irreversible_at = core.clock.monotonic() + core.timings.retry_s
        core.alarm(IRREVERSIBLE_FAILED, place, Severity.MAJOR, str(error), remedy)
        return False
    core.clear(IRREVERSIBLE_FAILED, place)
    return True
