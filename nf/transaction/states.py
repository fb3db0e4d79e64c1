"""The state machine of a transaction on one appliance: a table; what is absent is an error."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from nf.errors import RefusedError


class TransactionState(Enum):
    """Where a transaction stands. Values are the numbers of `TransactionState` in fleet.proto."""

    VALIDATED = 1
    PREPARED = 2
    APPLYING = 3
    APPLIED = 4
    VERIFIED = 5
    HELD = 6
    CONFIRMING = 7
    UNDOING = 8
    CONFIRMED = 9
    UNDONE = 10


class Command(Enum):
    """What a coordinator, the deadline or the engine itself may put in."""

    VALIDATE = "validate"
    PREPARE = "prepare"
    APPLY = "apply"
    STAGES_DONE = "stages-done"  # the engine: every reversible step is applied
    VERIFY = "verify"
    HOLD = "hold"
    CONFIRM = "confirm"
    FINISH = "finish"  # the engine: the decision is carried out
    UNDO = "undo"
    ABORT = "abort"
    DEADLINE = "deadline"
    TAKEN_BACK = "taken-back"  # the engine: nothing of it is left


_S = TransactionState
_C = Command

_UNDECIDED = (_S.PREPARED, _S.APPLYING, _S.APPLIED, _S.VERIFIED, _S.HELD)

TABLE: Mapping[tuple[TransactionState, Command], TransactionState] = {
    (_S.VALIDATED, _C.VALIDATE): _S.VALIDATED,
    (_S.VALIDATED, _C.PREPARE): _S.PREPARED,
    (_S.VALIDATED, _C.ABORT): _S.UNDONE,
    (_S.VALIDATED, _C.UNDO): _S.VALIDATED,  # nothing is applied: a stage of nothing is taken back
    (_S.VALIDATED, _C.DEADLINE): _S.UNDONE,
    (_S.PREPARED, _C.PREPARE): _S.PREPARED,
    (_S.PREPARED, _C.APPLY): _S.APPLYING,
    (_S.PREPARED, _C.STAGES_DONE): _S.APPLIED,  # an empty plan
    (_S.APPLYING, _C.APPLY): _S.APPLYING,
    (_S.APPLYING, _C.STAGES_DONE): _S.APPLIED,
    (_S.APPLIED, _C.APPLY): _S.APPLIED,
    (_S.APPLIED, _C.VERIFY): _S.VERIFIED,
    (_S.VERIFIED, _C.APPLY): _S.VERIFIED,
    (_S.VERIFIED, _C.VERIFY): _S.VERIFIED,
    (_S.VERIFIED, _C.HOLD): _S.HELD,
    (_S.VERIFIED, _C.CONFIRM): _S.CONFIRMING,
    (_S.HELD, _C.VERIFY): _S.HELD,
    (_S.HELD, _C.HOLD): _S.HELD,
    (_S.HELD, _C.CONFIRM): _S.CONFIRMING,
    (_S.CONFIRMING, _C.CONFIRM): _S.CONFIRMING,
    (_S.CONFIRMING, _C.FINISH): _S.CONFIRMED,
    (_S.CONFIRMED, _C.CONFIRM): _S.CONFIRMED,
    **{(state, _C.UNDO): _S.UNDOING for state in (*_UNDECIDED, _S.UNDOING)},
    **{(state, _C.ABORT): _S.UNDOING for state in (*_UNDECIDED, _S.UNDOING)},
    **{(state, _C.DEADLINE): _S.UNDOING for state in (*_UNDECIDED, _S.UNDOING)},
    (_S.UNDOING, _C.TAKEN_BACK): _S.UNDONE,
    (_S.UNDONE, _C.UNDO): _S.UNDONE,
    (_S.UNDONE, _C.ABORT): _S.UNDONE,
}

TAKES_NEW_INTENT = frozenset({_S.APPLYING, _S.APPLIED, _S.VERIFIED, _S.HELD, _S.CONFIRMING})
"""States in which the appliance is on its way to, or has, the transaction's configuration."""


def next_state(state: TransactionState, command: Command, transaction: str) -> TransactionState:
    """The state that follows. Raises RefusedError naming both when the table has no such row."""
    try:
        return TABLE[state, command]
    except KeyError:
        raise RefusedError(
            f"transaction {transaction} is {state.name}: {command.value} is not possible then",
            remedy=_remedy(state, command),
        ) from None


def _remedy(state: TransactionState, command: Command) -> str:
    if command is Command.CONFIRM and state in {_S.UNDOING, _S.UNDONE}:
        return "it was taken back here before the confirm came; bring the revision by a new transaction"
    if command in {Command.ABORT, Command.UNDO} and state in {_S.CONFIRMING, _S.CONFIRMED}:
        return "it is decided; go back with `nf lineup rollback`, which is a new commit"
    return "a commit goes validate, prepare, apply, verify, confirm; abort it and commit again"
