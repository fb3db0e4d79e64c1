"""Rows of the journal as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nf.contracts.driver import Step, Undo
from nf.contracts.json import JsonObject
from nf.transaction.states import TransactionState

NEVER = -1
"""`undo_to` of a transaction that nobody has begun to take back."""


class Kind(Enum):
    COMMIT = "commit"
    LOCAL = "local"  # the engine's own: an override, a repair of drift


class StepState(Enum):
    PENDING = "pending"
    ARMED = "armed"  # its undo record is durable; whether its effect happened is unknown
    APPLIED = "applied"
    UNDONE = "undone"


@dataclass(slots=True)
class StepRow:
    seq: int
    stage: int
    section: str
    step: Step
    state: StepState = StepState.PENDING
    undo: Undo | None = None


@dataclass(slots=True)
class TransactionRow:
    """`undo_to`: the lowest stage that was ordered to be taken back; `undo_final`: all of it, and then it ends."""

    id: str
    kind: Kind
    revision: int
    state: TransactionState
    config: JsonObject
    stages: int
    deadline: float
    reason: str = ""
    undo_to: int = NEVER
    undo_final: bool = False


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the appliance is by decision. Revision 0: nothing yet."""

    revision: int = 0
    digest: str = ""
    config: JsonObject | None = None
