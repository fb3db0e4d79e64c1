"""What the engine hands out: plans, standing, overrides, operations, events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from nf.contracts.driver import Context, Drift, Step
from nf.contracts.json import JsonObject
from nf.documents.appliance import ProbeTarget
from nf.telemetry.alarms import AlarmEvent
from nf.transaction.states import TransactionState


@dataclass(frozen=True, slots=True)
class PlannedStep:
    section: str
    step: Step


@dataclass(frozen=True, slots=True)
class Validated:
    """What a commit would change here.

    facts            ordering facts that hold here now
    verify_budget_s  longest time that verify may take, probes included
    """

    steps: tuple[PlannedStep, ...]
    facts: frozenset[str]
    verify_budget_s: float

    @property
    def budget_s(self) -> float:
        """Longest time for applying all, proving it, and taking it all back: what a deadline must leave."""
        steps = (planned.step for planned in self.steps if planned.step.reversible)
        return self.verify_budget_s + sum(step.budget_s + step.undo_budget_s for step in steps)


@dataclass(frozen=True, slots=True)
class InFlight:
    """`deadline` in seconds since the epoch; `stages_applied` counts the leading stages that are complete."""

    transaction: str
    revision: int
    state: TransactionState
    stages_applied: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the appliance stands. Revision 0 and an empty digest: nothing was ever confirmed."""

    confirmed_revision: int
    confirmed_digest: str
    in_flight: InFlight | None
    last_transaction: str
    last_outcome: TransactionState | None


class OverrideState(Enum):
    PENDING = "pending"  # wanted, not yet made true (queued behind a commit, or being retried)
    ACTIVE = "active"
    ENDING = "ending"  # no longer wanted, still in effect
    ENDED = "ended"  # taken out while a commit is held; kept until that commit is decided


@dataclass(frozen=True, slots=True)
class Override:
    """A bounded deviation from the intent: a JSON merge patch (RFC 7396) on one section. Times: seconds since 1970."""

    id: str
    section: str
    patch: JsonObject
    reason: str
    author: str
    created_at: float
    expires_at: float
    state: OverrideState


class OperationState(Enum):
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """A long work of a driver. `fraction` is 0 to 1; `ended_at` is 0 while it goes on."""

    id: str
    driver: str
    name: str
    arguments: JsonObject
    state: OperationState
    checkpoint: JsonObject
    result: JsonObject
    error: str
    created_at: float
    ended_at: float
    fraction: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class StandingChanged:
    standing: Standing


@dataclass(frozen=True, slots=True)
class StepProgress:
    """`transaction` is the transaction's or the operation's id."""

    transaction: str
    step: str
    fraction: float
    text: str


EngineEvent = StandingChanged | StepProgress | AlarmEvent


class ProbeVerifier(Protocol):
    """Proves the delivery paths that this appliance is to probe."""

    async def verify(self, targets: Sequence[ProbeTarget], context: Context) -> Drift:
        """Until every target is up or `context.deadline` is over; what is not up then."""

    def budget_s(self, targets: Sequence[ProbeTarget]) -> float:
        """Longest time that `verify` of these may take, in seconds."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Bounds on calls that have no budget of their own, and the engine's own periods. Seconds.

    reconcile_s   mean period of reconcile; each is drawn from half to one and a half of it
    retry_s       before an undo or an irreversible step that failed is tried again
    """

    observe_s: float = 10.0
    check_s: float = 30.0
    prepare_s: float = 10.0
    verify_s: float = 20.0
    reconcile_s: float = 10.0
    retry_s: float = 5.0
