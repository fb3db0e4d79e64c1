"""One commit at a time over the fleet: who has it, what is held, what a restart finds.

The store is the memory: an undecided transaction that a start finds there is undone, a decided one is carried out to
the last appliance, a held one stays held.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.control.v1 import noc_pb2
from nf.documents.fleet import Fleet
from nf.errors import BusyError, CommitRefused, NfError, RefusedError
from nf.noc.drain_first import DrainFirst, DrainFirsts, DrainOrder
from nf.noc.events import Events
from nf.noc.ledger import Ledger
from nf.noc.lineups import Draft, LineUps, absence_remedy, excluded_appliances
from nf.noc.records import Decision, RevisionRecord, TransactionRecord
from nf.noc.rollout import Progress, Proposal, Rollout, refusal
from nf.noc.sessions import Sessions
from nf.noc.settlement import Settlement
from nf.noc.tasks import Tasks

_log = logging.getLogger(__name__)

_RETURN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator asks for."""

    kind: str  # commit, rollback
    author: str
    comment: str = ""
    hold_s: float = 0.0
    without_sites: tuple[str, ...] = ()
    accept_irreversible: bool = False
    restores: int = 0
    drain: DrainOrder | None = None


@dataclass(slots=True)
class Active:
    """The transaction that holds the fleet."""

    transaction: str
    author: str
    doing: str


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a commit. `held_until`: it may be decided from then on, by others than who ran it."""

    outcome: noc_pb2.Outcome.ValueType
    text: str = ""
    held_until: float = 0.0


class Quiet(Protocol):
    def __call__(self, *, wait: bool = True) -> AbstractAsyncContextManager[None]:
        """Nobody begins to catch up inside; `wait`: and those who do have come to an end."""


class Coordinator:
    """The only one that changes what the fleet is to be."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        lineups: LineUps,
        sessions: Sessions,
        settlement: Settlement,
        drains: DrainFirsts,
        clock: Clock,
        quiet: Quiet,
        wake: Callable[[], None],
    ) -> None:
        """`wake`: look again who has to.

        `admit` may be set: it hears the fleet and the sites that are left out, and raises CommitRefused.
        """
        self._ledger = ledger
        self._lineups = lineups
        self._sessions = sessions
        self._settlement = settlement
        self._drains = drains
        self._clock = clock
        self._quiet = quiet
        self._wake = wake
        self.admit: Callable[[Fleet, tuple[str, ...]], None] = lambda _fleet, _without: None
        self._tasks = Tasks("commit")
        self._active: Active | None = None
        self._draining: DrainFirst | None = None
        self._held: TransactionRecord | None = None
        self._timer: asyncio.Task[None] | None = None

    @property
    def held(self) -> TransactionRecord | None:
        return self._held

    @property
    def draining(self) -> bool:
        return self._draining is not None

    @property
    def active(self) -> Active | None:
        return self._active

    def participates(self, appliance: str) -> bool:
        """Whether it is bound by a held transaction."""
        return self._held is not None and appliance in self._held.participants

    # ---- starting and stopping ----

    async def recover(self) -> None:
        """Finish what an earlier run of the NOC left."""
        for record in await self._ledger.unfinished():
            if record.decision is Decision.CONFIRM:
                self._settlement.expect(record, record.participants)
            elif record.decision is Decision.HELD:
                self._hold(record)
            else:
                # A held commit keeps the fleet, whatever else is undone beside it.
                self._active = self._active or Active(record.id, record.author, "being undone after a restart")
                self._settlement.running.add(record.id)
                self._tasks.start(self._undo_after_restart(record))

    async def _undo_after_restart(self, record: TransactionRecord) -> None:
        try:
            if record.decision is not Decision.UNDO:
                record = record.decide(Decision.UNDO, reason="the NOC was restarted before it was decided")
                await self._ledger.log(record)
            await self._all_back(record)
            left = await self._rollout(record, lambda _progress: None).undo(record, _last_stage(record))
            await self._undone(record, left)
        finally:
            self._settlement.running.discard(record.id)
            self._release(record.id)

    async def _all_back(self, record: TransactionRecord) -> None:
        """Wait for those who take part, so that stages can go back in order; not for ever."""
        waiting = (self._sessions.wait_online(name, _RETURN_S) for name in record.participants)
        await asyncio.gather(*waiting, return_exceptions=True)

    async def close(self) -> None:
        """Running commits are left as they stand: the next start finds them."""
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()

    # ---- commit, rollback ----

    async def commit(self, order: Order, make_draft: Callable[[], Awaitable[Draft]]) -> Events:
        """Start one. Raises BusyError, DocumentError, InputError, CommitRefused: then nothing was changed."""
        transaction = uuid.uuid4().hex[:12]
        self._occupy(Active(transaction, order.author, "being checked"))
        try:
            draft = await make_draft()
            revision = await self._ledger.next_revision()
            record = replace(
                draft.record(revision, self._clock.now(), order.author, order.comment),
                without_sites=order.without_sites,
                restores=order.restores,
                transaction=transaction,
            )
            configs = await self._participants(draft, order)
            events = Events(transaction, revision)
            asked = order.drain
            drain = await self._drains.of(asked, draft, order.author, events) if asked is not None else None
            proposal = Proposal(
                transaction=transaction,
                kind=order.kind,
                revision=revision,
                author=order.author,
                configs=configs,
                deadline_s=draft.lineup.spec.policy.deadline_ms / 1000,
                accept_irreversible=order.accept_irreversible,
                hold_s=order.hold_s,
                admit=drain.admit if drain is not None else None,
            )
        except NfError as error:
            self._release(transaction)
            await self._refused(order.kind, order.author, transaction, error)
            raise
        except BaseException:
            self._release(transaction)
            raise
        self._tasks.start(self._run(proposal, draft, record, events, drain))
        return events

    async def _participants(self, draft: Draft, order: Order) -> dict[str, JsonObject]:
        """Everybody of the fleet but the sites left out. Raises CommitRefused when one of them is offline."""
        excluded = excluded_appliances(draft.fleet, order.without_sites)
        self.admit(draft.fleet, order.without_sites)
        configs = {name: config for name, config in draft.configs.items() if name not in excluded}
        away = await asyncio.gather(*(self._sessions.wait_returned(name) for name in sorted(configs)))
        missing = [name for name, back in zip(sorted(configs), away, strict=True) if not back]
        absent = {name: self._sessions.offline(name) for name in missing}
        if absent:
            raise CommitRefused(
                f"offline: {', '.join(sorted(absent))}",
                where="commit",
                remedy=absence_remedy(draft.fleet, absent),
                problems=refusal("refused", absent).problems,
            )
        return configs

    async def _run(
        self, proposal: Proposal, draft: Draft, revision: RevisionRecord, events: Events, drain: DrainFirst | None
    ) -> None:
        self._settlement.running.add(proposal.transaction)
        rollout = Rollout(
            proposal,
            sessions=self._sessions,
            clock=self._clock,
            log=lambda record: self._ledger.log(record, revision, draft.configs),
            progress=events.progress,
        )
        ending: Ending | None = None
        try:
            async with self._drained(proposal, drain, events), self._quiet():
                ending = await self._forward(rollout, draft, events)
            if not ending.held_until:
                self._release(proposal.transaction)
            events.end(ending.outcome, text=ending.text, held_until=ending.held_until)
        except NfError as error:
            await self._failed(rollout, proposal, error, events)
        finally:
            events.close()
            if ending is None or not ending.held_until:
                self._settlement.running.discard(proposal.transaction)
                self._release(proposal.transaction)
            self._settlement.look_again()
            self._wake()

    async def _forward(self, rollout: Rollout, draft: Draft, events: Events) -> Ending:
        plan = await rollout.validate()
        if plan.empty and self._same(draft):
            await rollout.abort("nothing to change")
            events.revision = self._lineups.current.record.revision
            return Ending(noc_pb2.OUTCOME_UNCHANGED, "the fleet already is what the line-up says")
        record = await rollout.run(plan)
        if record.decision is Decision.HELD:
            self._settlement.running.discard(record.id)
            self._hold(record)
            return Ending(noc_pb2.OUTCOME_HELD, held_until=record.held_until)
        return Ending(noc_pb2.OUTCOME_CONFIRMED, await self._carry_out(rollout, record))

    @asynccontextmanager
    async def _drained(self, proposal: Proposal, drain: DrainFirst | None, events: Events) -> AsyncIterator[None]:
        """Inside, what it restarts is empty, as far as that was asked. Raises CommitRefused."""
        if drain is None:
            self._doing("being rolled out")
            yield
            return
        # Of another name: answers to the real one are told apart by it.
        dry = replace(proposal, transaction=f"drain-{proposal.transaction}", admit=None)
        look = Rollout(dry, sessions=self._sessions, clock=self._clock, log=self._ledger.log, progress=events.progress)
        self._draining = drain
        self._doing("draining what it restarts")
        try:
            async with drain.around(lambda: look.validate(dry_run=True)):
                self._draining = None
                self._doing("being rolled out")
                yield
        finally:
            self._draining = None

    def stop_drain(self, author: str) -> Events:
        """Have the commit refused that drains now. Raises RefusedError when none does."""
        drain, active = self._draining, self._active
        if drain is None or active is None:
            raise RefusedError("no commit drains anything", where="rollback")
        events = Events(active.transaction, 0)
        self._tasks.start(drain.stop(author, events))
        return events

    async def _failed(self, rollout: Rollout, proposal: Proposal, error: NfError, events: Events) -> None:
        record = rollout.reached.record
        if record is not None and record.decision is Decision.CONFIRM:
            _log.error("transaction %s is confirmed, and then: %s", record.id, error)
            self._settlement.expect(record, record.participants)
            self._release(proposal.transaction)
            events.end(noc_pb2.OUTCOME_CONFIRMED, text=f"confirmed; being carried out in spite of: {error}")
            return
        if record is not None and not record.finished:
            self._settlement.abandon(record)
        if not rollout.reached.prepared:
            await self._refused(proposal.kind, proposal.author, proposal.transaction, error)
        self._release(proposal.transaction)
        outcome = noc_pb2.OUTCOME_UNDONE if rollout.reached.prepared else noc_pb2.OUTCOME_REFUSED
        events.end(outcome, text=str(error), error=error)

    async def _refused(self, kind: str, author: str, transaction: str, error: NfError) -> None:
        """On record where that is possible; who asked hears the refusal itself in any case."""
        try:
            await self._ledger.refused(kind, author, transaction, error)
        except NfError:
            _log.exception("transaction %s: cannot write that it is refused", transaction)

    async def _carry_out(self, rollout: Rollout, record: TransactionRecord) -> str:
        """The decision is on disk: from here on the new revision is the revision."""
        await self._lineups.reload()
        self._settlement.expect(record, record.participants, quietly=True)
        left = await rollout.confirm(record)
        await self._settlement.confirmed(record, left)
        return f"confirmed; still waiting for {', '.join(sorted(left))}" if left else ""

    def _same(self, draft: Draft) -> bool:
        """Empty plans are not enough: what the probes prove, or who is to be what, may still differ."""
        digests = draft.digests
        if digests != dict(self._lineups.current.record.configs):
            return False
        standing = {session.appliance: session.standing.confirmed_digest for session in self._sessions.all()}
        return all(standing[name] == digest for name, digest in digests.items() if name in standing)

    # ---- held commits ----

    def _hold(self, record: TransactionRecord) -> None:
        self._held = record
        self._active = Active(record.id, record.author, "held: it waits for `nf lineup confirm`")
        self._settlement.held = record.id
        self._settlement.on_held_undone = self._undone_by_itself
        self._timer = asyncio.create_task(self._expire(record), name=f"hold {record.id}")

    async def _expire(self, record: TransactionRecord) -> None:
        await self._clock.sleep(record.held_until - self._clock.now())
        if (held := self._take_held()) is not None:
            self._tasks.start(self._undo_held(held, "nobody confirmed it in time", Events(held.id, held.revision)))

    def _undone_by_itself(self, appliance: str) -> None:
        if (held := self._take_held()) is not None:
            reason = f"{appliance} undid it by itself"
            self._tasks.start(self._undo_held(held, reason, Events(held.id, held.revision)))

    def _take_held(self) -> TransactionRecord | None:
        """Whoever takes it decides it."""
        held, self._held = self._held, None
        self._settlement.held = ""
        if held is not None:
            self._settlement.running.add(held.id)
        if self._timer is not None and self._timer is not asyncio.current_task():
            self._timer.cancel()
        self._timer = None
        return held

    async def confirm(self, author: str) -> Events:
        """Confirm what is held. Raises RefusedError: nothing is held, or its time is over."""
        held = self._held
        if held is None:
            raise RefusedError("no commit waits for a confirm", where="confirm", remedy="see `nf lineup history`")
        if self._clock.now() > held.held_until:
            raise RefusedError("its time is over: it is being undone", where="confirm", remedy="commit again")
        self._take_held()
        self._doing("being confirmed")
        events = Events(held.id, held.revision)
        self._tasks.start(self._confirm_held(held, author, events))
        return events

    async def _confirm_held(self, held: TransactionRecord, author: str, events: Events) -> None:
        try:
            record = held.decide(Decision.CONFIRM)
            try:
                await self._ledger.log(record, actor=author)
            except NfError as error:
                await self._undo_held(held, f"the decision could not be written: {error}", events)
                return
            # Not waiting for who catches up: the appliances that hold it undo it soon.
            async with self._quiet(wait=False):
                text = await self._carry_out(self._rollout(record, events.progress), record)
                self._release(record.id)
                events.end(noc_pb2.OUTCOME_CONFIRMED, text=text)
        finally:
            events.close()
            self._over(held.id)

    async def undo_held(self, author: str) -> Events:
        """Take a held commit back now. Raises RefusedError when nothing is held."""
        held = self._take_held()
        if held is None:
            raise RefusedError("no commit is held", where="rollback")
        events = Events(held.id, held.revision)
        self._tasks.start(self._undo_held(held, f"taken back by {author}", events, author))
        return events

    async def _undo_held(self, held: TransactionRecord, reason: str, events: Events, actor: str = "") -> None:
        self._doing("being undone")
        record = held.decide(Decision.UNDO, reason=reason)
        try:
            await self._ledger.log(record, actor=actor)
        except NfError:
            _log.exception("transaction %s: cannot write that it is undone", record.id)
        try:
            left = await self._rollout(record, events.progress).undo(record, _last_stage(record))
            await self._undone(record, left)
            text = f"{reason}; still waiting for {', '.join(sorted(left))}" if left else reason
            error = None if actor else RefusedError(text, where="commit")  # who asked for it got what was asked
            events.end(noc_pb2.OUTCOME_UNDONE, text=text, error=error)
        finally:
            events.close()
            self._over(held.id)

    async def _undone(self, record: TransactionRecord, left: frozenset[str]) -> None:
        if left:
            self._settlement.abandon(record)
            return
        try:
            await self._ledger.log(replace(record, finished=True))
        except NfError:
            _log.exception("transaction %s: cannot write that it is finished; the next start looks again", record.id)

    # ---- shared ----

    def _rollout(self, record: TransactionRecord, progress: Callable[[Progress], None]) -> Rollout:
        """To carry out a decision about a transaction of which only the record is at hand."""
        proposal = Proposal(
            transaction=record.id,
            kind=record.kind,
            revision=record.revision,
            author=record.author,
            configs={name: {} for name in record.participants},
            deadline_s=max(0.0, record.deadline - self._clock.now()),
        )
        return Rollout(proposal, sessions=self._sessions, clock=self._clock, log=self._ledger.log, progress=progress)

    def _occupy(self, active: Active) -> None:
        if doing := self.doing():
            raise BusyError(
                doing,
                where="commit",
                remedy="wait until it has ended, or confirm or roll back what is held",
            )
        self._active = active

    def doing(self) -> str:
        """Who has the fleet and for what, in words; empty when nobody has."""
        held = self._active
        return f"transaction {held.transaction} of {held.author} is {held.doing}" if held is not None else ""

    def _doing(self, what: str) -> None:
        if self._active is not None:
            self._active.doing = what

    def _release(self, transaction: str) -> None:
        if self._active is not None and self._active.transaction == transaction:
            self._active = None

    def _over(self, transaction: str) -> None:
        self._settlement.running.discard(transaction)
        self._release(transaction)
        self._settlement.look_again()
        self._wake()


def _last_stage(record: TransactionRecord) -> int:
    return max((stage for own in record.stages.values() for stage in own), default=-1)
