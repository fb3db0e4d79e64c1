"""One transaction across the fleet: VALIDATE, PREPARE, APPLY stage by stage, VERIFY, decide, CONFIRM; or all back.

There is a barrier after each phase and each stage. The decision is on disk before anybody hears of it: an appliance
that hears nothing undoes at its deadline, and one that missed a logged CONFIRM catches up later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from nf.clock import Clock
from nf.contracts.driver import Step
from nf.contracts.json import JsonObject, canonical
from nf.control.convert import step_from_proto
from nf.control.v1 import common_pb2
from nf.control.v1 import fleet_pb2 as pb
from nf.errors import CommitRefused, NfError, Problem, RefusedError
from nf.noc.phases import Answer, Phases, failures, milliseconds, same
from nf.noc.records import Decision, TransactionRecord
from nf.noc.sessions import RETURN_S, Sessions
from nf.transaction.ordering import order_stages

_log = logging.getLogger(__name__)

VALIDATE_S: Final = 120.0
"""Longest time for an appliance's checks: a slow one starts daemons' own checkers for each of its sections."""
MARGIN_S: Final = 2.0
"""What a commit's own messages and fsyncs may take, on top of the budgets of its steps."""
_ABSENCE_S: Final = 5.0
_CONFIRM_S: Final = 60.0
_HOLD_GRACE_S: Final = 3.0
"""Appliances undo by themselves that long after a hold is over: until then the NOC takes stages back in their order."""

Stages = tuple[Mapping[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be made true. `configs`: every appliance that takes part.

    absence_s           how long one that goes away is waited for, at most; the deadline bounds it in any case
    standing_elsewhere  asked when a step requires a fact that nobody who takes part provides
    admit               hears what VALIDATE found, and raises CommitRefused when it may not be carried out now
    """

    transaction: str
    kind: str
    revision: int
    author: str
    configs: Mapping[str, JsonObject]
    deadline_s: float
    accept_irreversible: bool = False
    hold_s: float = 0.0
    absence_s: float = float("inf")
    standing_elsewhere: Callable[[], Awaitable[frozenset[str]]] | None = None
    admit: Callable[[Plan], None] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One event of a running transaction. `appliance` empty = the whole fleet; `text`: what a step of it is at."""

    phase: str
    appliance: str = ""
    stage: int = 0
    stages: int = 0
    done: int = 0
    total: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What VALIDATE found. `budget_s`: the longest the whole may take, taking it back included."""

    steps: Mapping[str, tuple[common_pb2.Step, ...]]
    stages: Stages
    budget_s: float
    undo_budget_s: float

    @property
    def empty(self) -> bool:
        return not any(self.steps.values())


@dataclass(slots=True)
class Reached:
    """How far a run came: what must be taken back."""

    prepared: bool = False
    stage: int = -1
    record: TransactionRecord | None = None
    local: dict[str, tuple[int, ...]] = field(default_factory=dict)


Log = Callable[[TransactionRecord], Awaitable[None]]
"""Puts a record on disk, with all that belongs to it, before it returns."""


def budget(stages: Stages, steps: Mapping[str, Sequence[Step]], verify_s: float) -> tuple[float, float]:
    """(whole, undo) in seconds: in each stage the slowest appliance counts; its steps run one by one. Pure."""
    known = {(appliance, step.id): step for appliance, own in steps.items() for step in own}
    apply_s = undo_s = 0.0
    for stage in stages:
        apply_s += max((sum(known[a, i].budget_s for i in ids) for a, ids in stage.items()), default=0.0)
        undo_s += max((sum(known[a, i].undo_budget_s for i in ids) for a, ids in stage.items()), default=0.0)
    return apply_s + verify_s + undo_s + MARGIN_S, undo_s


def local_stages(stages: Stages, appliances: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """For each appliance, the fleet's stage of each of its own: it numbers only those in which it does something.

    One with nothing to do has one empty stage, the first: it walks through the same states as the others. Pure.
    """
    own = {a: tuple(n for n, stage in enumerate(stages) if stage.get(a)) for a in appliances}
    return {appliance: numbers or (0,) for appliance, numbers in own.items()}


def refusal(what: str, errors: Mapping[str, NfError]) -> CommitRefused:
    """One error that tells every appliance's own."""
    problems: list[Problem] = []
    for appliance, error in sorted(errors.items()):
        found = error.problems or [Problem(error.message, error.remedy, key=error.where)]
        problems += [replace(one, key=_placed(appliance, one.key)) for one in found]
    names = ", ".join(sorted(errors))
    return CommitRefused(f"{what} by {names}", where="commit", remedy="see the problems", problems=problems)


def _placed(appliance: str, key: str) -> str:
    return key if key.startswith(appliance) else ": ".join(part for part in (appliance, key) if part)


class Rollout:
    """Runs one proposal. `log` makes each record durable; `progress` hears what happens."""

    def __init__(
        self, proposal: Proposal, *, sessions: Sessions, clock: Clock, log: Log, progress: Callable[[Progress], None]
    ) -> None:
        self.proposal = proposal
        self._clock = clock
        self._log = log
        self._progress = progress
        self._stage = 0
        self._stages = 0
        self._deadline = 0.0
        self._phases = Phases(proposal.transaction, sessions, self._report)
        self.reached = Reached()

    async def validate(self, *, dry_run: bool = False) -> Plan:
        """Ask everybody. Raises CommitRefused with every refusal; nothing is changed, locks are given back."""
        until = time.monotonic() + VALIDATE_S
        commands = {
            appliance: (self._validate_message(config, dry_run=dry_run), 0)
            for appliance, config in self.proposal.configs.items()
        }
        absent_until = time.monotonic() + RETURN_S
        answers = await self._phases.everywhere("validate", commands, answer_by=until, absent_until=absent_until)
        try:
            if refused := failures(answers):
                raise refusal("refused", refused)
            plan = await self._order(answers)
            if self.proposal.admit is not None:
                self.proposal.admit(plan)
        except NfError as error:
            if not dry_run:
                await self.abort(str(error))
            raise
        return plan

    async def facts(self) -> frozenset[str]:
        """Ordering facts that hold on those who answer; nothing is kept and nobody is locked."""
        until = time.monotonic() + VALIDATE_S
        commands = {a: (self._validate_message(c, dry_run=True), 0) for a, c in self.proposal.configs.items()}
        answers = await self._phases.everywhere("validate", commands, answer_by=until, absent_until=time.monotonic())
        return frozenset(f for answer in answers.values() if isinstance(answer, pb.PhaseResult) for f in answer.facts)

    def _validate_message(self, config: JsonObject, *, dry_run: bool) -> pb.NocMessage:
        return pb.NocMessage(
            validate=pb.Validate(
                transaction=self.proposal.transaction,
                revision=self.proposal.revision,
                config_json=canonical(config).encode(),
                accept_irreversible=self.proposal.accept_irreversible,
                dry_run=dry_run,
                lock_ms=milliseconds(VALIDATE_S * 2),
            )
        )

    async def _order(self, answers: Mapping[str, Answer]) -> Plan:
        results = {a: answer for a, answer in answers.items() if isinstance(answer, pb.PhaseResult)}
        steps = {a: tuple(step_from_proto(step) for step in r.steps if step.reversible) for a, r in results.items()}
        facts = frozenset(fact for result in results.values() for fact in result.facts)
        elsewhere = self.proposal.standing_elsewhere
        if elsewhere is not None:
            provided = facts | {fact for own in steps.values() for step in own for fact in step.provides}
            if any(step.requires - provided for own in steps.values() for step in own):
                facts |= await elsewhere()
        stages = tuple({a: tuple(ids) for a, ids in stage.items() if ids} for stage in order_stages(steps, facts))
        verify_s = max((result.verify_budget_ms / 1000 for result in results.values()), default=0.0)
        whole, undo = budget(stages, steps, verify_s)
        if whole > self.proposal.deadline_s:
            raise CommitRefused(
                f"takes up to {whole:.1f} s, taking it back included, but the policy's deadline is "
                f"{self.proposal.deadline_s:.1f} s",
                where="spec.policy.deadline",
                remedy="raise the deadline or commit in smaller parts",
            )
        return Plan({a: tuple(r.steps) for a, r in results.items()}, stages, whole, undo)

    async def run(self, plan: Plan) -> TransactionRecord:
        """From PREPARE to the decision. A failure takes all back and is raised; `confirm` fans the decision out."""
        self._deadline = time.monotonic() + self.proposal.deadline_s
        decide_by = self._deadline - plan.undo_budget_s - MARGIN_S / 2
        self._stages = len(plan.stages)
        record = TransactionRecord(
            id=self.proposal.transaction,
            kind=self.proposal.kind,
            revision=self.proposal.revision,
            author=self.proposal.author,
            started_at=self._clock.now(),
            deadline=self._clock.now() + self.proposal.deadline_s,
            participants=tuple(sorted(self.proposal.configs)),
            stages=local_stages(plan.stages, tuple(self.proposal.configs)),
            undo_budget_s=plan.undo_budget_s,
        )
        self.reached.local = dict(record.stages)
        try:
            await self._log(record)
        except NfError as error:
            await self.abort(str(error))
            raise
        self.reached.record = record
        try:
            await self._forward(plan, record, decide_by)
            if self.proposal.hold_s:
                return await self._hold(record, decide_by)
            confirmed = record.decide(Decision.CONFIRM)
            await self._log(confirmed)
        except NfError as error:
            # Not on cancellation: a NOC that stops decides nothing; at its next start it finds no decision and undoes.
            await self._take_back(record, str(error))
            raise
        self.reached.record = confirmed
        return confirmed

    async def _forward(self, plan: Plan, record: TransactionRecord, decide_by: float) -> None:
        self.reached.prepared = True
        deadline_ms = milliseconds(record.deadline)
        prepare = {
            a: (
                pb.NocMessage(
                    prepare=pb.Prepare(
                        transaction=record.id,
                        deadline_unix_ms=deadline_ms,
                        stages=[
                            pb.Stage(stage=n, steps=plan.stages[fleet].get(a, ()) if plan.stages else ())
                            for n, fleet in enumerate(own)
                        ],
                    )
                ),
                0,
            )
            for a, own in record.stages.items()
        }
        await self._barrier("prepare", prepare, decide_by)
        for number in range(max(1, len(plan.stages))):
            self._stage = self.reached.stage = number
            await self._barrier("apply", self._of_stage(number, undo=False), decide_by)
        await self._barrier(
            "verify", same(record.participants, pb.NocMessage(verify=pb.Verify(transaction=record.id))), decide_by
        )

    def _of_stage(self, number: int, *, undo: bool) -> dict[str, tuple[pb.NocMessage, int]]:
        transaction = self.proposal.transaction
        commands: dict[str, tuple[pb.NocMessage, int]] = {}
        for appliance, own in self.reached.local.items():
            if number in own:
                stage = own.index(number)
                commands[appliance] = (
                    pb.NocMessage(undo=pb.Undo(transaction=transaction, stage=stage))
                    if undo
                    else pb.NocMessage(apply=pb.Apply(transaction=transaction, stage=stage)),
                    stage,
                )
        return commands

    async def _barrier(self, phase: str, commands: Mapping[str, tuple[pb.NocMessage, int]], until: float) -> None:
        absent_until = min(until, time.monotonic() + self.proposal.absence_s)
        answers = await self._phases.everywhere(phase, commands, answer_by=until, absent_until=absent_until)
        if failed := failures(answers):
            raise failure(phase, failed)

    async def _hold(self, record: TransactionRecord, decide_by: float) -> TransactionRecord:
        held_until = self._clock.now() + self.proposal.hold_s
        message = pb.NocMessage(
            hold=pb.Hold(transaction=record.id, deadline_unix_ms=milliseconds(held_until + _HOLD_GRACE_S))
        )
        await self._barrier("hold", same(record.participants, message), decide_by)
        held = record.decide(Decision.HELD, held_until=held_until)
        await self._log(held)
        self.reached.record = held
        return held

    async def confirm(self, record: TransactionRecord) -> frozenset[str]:
        """Fan the logged decision out. Who has not confirmed when it returns; they are settled when they come back."""
        now = time.monotonic()
        message = pb.NocMessage(confirm=pb.Confirm(transaction=record.id))
        answers = await self._phases.everywhere(
            "confirm", same(record.participants, message), answer_by=now + _CONFIRM_S, absent_until=now + _ABSENCE_S
        )
        return frozenset(failures(answers))

    async def _take_back(self, record: TransactionRecord, reason: str) -> None:
        undo = record.decide(Decision.UNDO, reason=reason)
        await self._note(undo)
        if not await self.undo(undo, self.reached.stage):
            await self._note(replace(undo, finished=True))

    async def _note(self, record: TransactionRecord) -> None:
        """Undoing goes on when it cannot be written: no decision on record means the same."""
        self.reached.record = record
        try:
            await self._log(record)
        except NfError:
            _log.exception("transaction %s: cannot write that it is undone", record.id)

    async def undo(self, record: TransactionRecord, last_stage: int) -> frozenset[str]:
        """Take the stages back, last first, with the same barriers. Who is not known to have ended it.

        Who is away is waited for a little; it undoes at its own deadline, or when it comes back and is told.
        """
        self.reached.local = dict(record.stages)
        absent_until = time.monotonic() + _ABSENCE_S
        for number in range(last_stage, -1, -1):
            self._stage = number
            commands = self._of_stage(number, undo=True)
            answer_by = time.monotonic() + record.undo_budget_s + 2 * _ABSENCE_S
            await self._phases.everywhere("undo", commands, answer_by=answer_by, absent_until=absent_until)
        return await self.abort(record.reason, record.participants, absent_until)

    async def abort(self, reason: str, appliances: Sequence[str] = (), absent_until: float = 0.0) -> frozenset[str]:
        """End it everywhere. Who has not acknowledged."""
        message = pb.NocMessage(abort=pb.Abort(transaction=self.proposal.transaction, reason=reason[:1000]))
        who = appliances or tuple(self.proposal.configs)
        answers = await self._phases.everywhere(
            "abort", same(who, message), answer_by=time.monotonic() + VALIDATE_S, absent_until=absent_until
        )
        return frozenset(failures(answers))

    def _report(self, phase: str, appliance: str, done: int, total: int, text: str) -> None:
        self._progress(Progress(phase, appliance, self._stage, self._stages, done, total, text))


def failure(phase: str, errors: Mapping[str, NfError]) -> NfError:
    """Why a phase failed, with every appliance's own words."""
    told = refusal(f"{phase} failed", errors)
    return RefusedError(
        told.message.replace(" by ", " on "),
        where="commit",
        remedy="everything is taken back; mend the cause and commit again",
        problems=told.problems,
    )
