"""What the engine's parts share: where the appliance stands, the lock, the alarms."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from nf.clock import Clock
from nf.contracts.json import JsonObject, merge_patch
from nf.documents.appliance import ApplianceConfig
from nf.errors import DeadlineError, DocumentError, NfError
from nf.telemetry.alarms import AlarmEvent, AlarmTable, Severity
from nf.transaction.bounded import Interrupt
from nf.transaction.executor import Executor, Wants
from nf.transaction.journal import Journal
from nf.transaction.killpoints import KillPoints
from nf.transaction.model import (
    EngineEvent,
    InFlight,
    Override,
    OverrideState,
    PlannedStep,
    Standing,
    StandingChanged,
    Timings,
)
from nf.transaction.records import StepRow, StepState, TransactionRow
from nf.transaction.states import TAKES_NEW_INTENT, TransactionState

log = logging.getLogger(__name__)

LoadConfig = Callable[[JsonObject], ApplianceConfig]
IN_FORCE = frozenset({OverrideState.ACTIVE, OverrideState.ENDING})
"""Overrides whose effect is there: what a commit plans and verifies against."""
WANTED = frozenset({OverrideState.PENDING, OverrideState.ACTIVE})
"""Overrides that are to be there: what the engine settles and reconciles to."""


@dataclass(slots=True)
class Active:
    """The commit in flight. `plan` is kept until PREPARE journals it.

    validating its drivers are being asked: the lock does not run out meanwhile
    stopping   an undo, an abort or the deadline has been asked for: nothing goes forward any more
    retry_at   monotonic seconds: an end that failed is not tried again before
    """

    row: TransactionRow
    config: ApplianceConfig | None
    plan: tuple[PlannedStep, ...] = ()
    verify_budget_s: float = 0.0
    steps: list[StepRow] = field(default_factory=list)
    interrupt: Interrupt = field(default_factory=Interrupt)
    validating: bool = False
    stopping: bool = False
    retry_at: float = 0.0

    def stages_applied(self) -> int:
        """Leading stages whose reversible steps are all applied."""
        if self.row.state is TransactionState.VALIDATED:
            return 0
        open_stages = [row.stage for row in self.steps if row.step.reversible and row.state is not StepState.APPLIED]
        return min(open_stages, default=self.row.stages)

    def in_flight(self) -> InFlight:
        row = self.row
        return InFlight(row.id, row.revision, row.state, self.stages_applied(), row.deadline)


class Core:
    """Shared by the engine's modules; nobody outside the package sees it."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        faults: KillPoints,
        load_config: LoadConfig,
        timings: Timings,
    ) -> None:
        self.journal = journal
        self.clock = clock
        self.faults = faults
        self.load_config = load_config
        self.timings = timings
        self.executor: Executor
        self.listeners: list[Callable[[EngineEvent], None]] = []
        self.alarms = AlarmTable()
        self.work = asyncio.Lock()  # held by whoever calls drivers to change something
        self.wake = asyncio.Event()  # something changed that the timers of `run` depend on
        self.active: Active | None = None
        self.stuck: list[tuple[TransactionRow, list[StepRow]]] = []  # a local transaction that could not be taken back
        self.repair_held_until = 0.0  # seconds since the epoch; until then drift is told, not repaired
        self.irreversible_at = 0.0  # monotonic: when what failed after a decision is tried again
        self.confirmed = journal.confirmed()
        self.confirmed_config: ApplianceConfig | None = None
        self.last = journal.last()

    @property
    def appliance(self) -> str:
        return self.executor.appliance

    # ---- telling ----

    def emit(self, event: EngineEvent) -> None:
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:  # a listener's fault is not the transaction's
                log.exception("a listener of the transaction engine failed")

    def changed(self) -> None:
        """Say where the appliance stands now, and let the timers look again."""
        self.wake.set()
        self.emit(StandingChanged(self.standing()))

    def standing(self) -> Standing:
        in_flight = self.active.in_flight() if self.active is not None else None
        return Standing(self.confirmed.revision, self.confirmed.digest, in_flight, *self.last)

    def alarm(self, cause: str, place: str, severity: Severity, text: str, remedy: str) -> None:
        event = AlarmEvent(
            cause, f"{self.appliance}/{place}" if place else self.appliance, severity, self.clock.now(), text, remedy
        )
        if self.alarms.take(event) is not None:
            self.emit(event)

    def clear(self, cause: str, place: str) -> None:
        self.alarm(cause, place, Severity.CLEARED, "", "")

    # ---- intent and want ----

    def load_confirmed(self) -> None:
        """Read the confirmed configuration with today's models. What cannot be read is an alarm, not a crash."""
        self.confirmed_config = None
        if self.confirmed.config is not None:
            try:
                self.confirmed_config = self.load_config(self.confirmed.config)
            except (NfError, ValueError) as error:
                self.alarm(
                    "configuration-unreadable",
                    "",
                    Severity.CRITICAL,
                    f"revision {self.confirmed.revision} cannot be read by this software: {error}",
                    "commit the line-up again, or install the software that wrote it",
                )

    def intent(self) -> ApplianceConfig | None:
        """The new configuration from APPLYING on, the confirmed one otherwise."""
        if self.active is not None and self.active.row.state in TAKES_NEW_INTENT:
            return self.active.config
        return self.confirmed_config

    def overrides(self, states: Iterable[OverrideState]) -> tuple[Override, ...]:
        wanted = frozenset(states)
        return tuple(override for override in self.journal.overrides() if override.state in wanted)

    def merged(self, config: ApplianceConfig, overrides: Sequence[Override]) -> ApplianceConfig:
        """The configuration with the overrides on it, oldest first. Raises DocumentError when that is no good one."""
        if not overrides:
            return config
        data = config.to_json()
        sections = data["sections"]
        if not isinstance(sections, dict):
            raise DocumentError([], where="sections")
        for override in overrides:
            sections[override.section] = merge_patch(sections.get(override.section, {}), override.patch)
        return self.load_config(data)

    def wants(self, config: ApplianceConfig | None, overrides: Sequence[Override]) -> Wants:
        """Every section that `config`, the confirmed configuration or an override speaks of."""
        merged = self.merged(config, overrides) if config is not None else None
        before = self.confirmed_config
        names = {override.section for override in overrides}
        names |= set(before.sections) if before is not None else set()
        names |= set(merged.sections) if merged is not None else set()
        return {name: merged.sections.get(name) if merged is not None else None for name in names}

    # ---- ending ----

    def check_deadline(self, active: Active) -> None:
        if self.clock.now() >= active.row.deadline:
            raise DeadlineError(
                f"the deadline of transaction {active.row.id} is over",
                where=self.appliance,
                remedy="it is taken back here; commit again with a longer deadline",
            )

    def finish(self, active: Active, state: TransactionState) -> None:
        """Journal the end of a commit, release the lock, tell everybody."""
        self.journal.end(active.row, state)
        active.row.state = state
        self.last = (active.row.id, state)
        self.release()

    def release(self) -> None:
        self.active = None
        self.changed()
