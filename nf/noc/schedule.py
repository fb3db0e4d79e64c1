"""Commits that begin by themselves: kept in the store, refused at their time when the fleet is no longer what it was.

A commit is scheduled for the revision that is current then. What cannot go on at its time is an alarm and stays in
the list as refused until somebody takes it out. A commit that was waiting while the NOC was down begins up to five
minutes late, not later.
"""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from nf.clock import Clock
from nf.contracts.json import JsonObject, canonical
from nf.control.errors import from_info
from nf.control.v1 import noc_pb2
from nf.errors import CommitRefused, InputError, NfError, NotFoundError, RefusedError
from nf.noc.coordinator import Coordinator, Order
from nf.noc.drain_first import DrainOrder
from nf.noc.due import Due
from nf.noc.lineups import Draft, LineUps, excluded_appliances
from nf.noc.records import SCHEDULE, Book
from nf.noc.telemetry import Telemetry
from nf.store.audit import AuditEntry
from nf.store.contract import Delete, Put
from nf.telemetry.alarms import Severity
from nf.trust.roles import OperatorRole, Operators
from nf.trust.spiffe import SpiffeId

REFUSED: Final = "scheduled-commit-refused"
LATE_S: Final = 300.0
_FARTHEST_S: Final = 366 * 86_400.0
_MOST: Final = 100
_GOOD = frozenset({noc_pb2.OUTCOME_CONFIRMED, noc_pb2.OUTCOME_HELD, noc_pb2.OUTCOME_UNCHANGED})


@dataclass(frozen=True, slots=True)
class Scheduled:
    """`at`, `scheduled_at`: seconds since the epoch. `fleet_text` empty: the fleet of the base revision.

    state  waiting, running, refused
    """

    id: str
    at: float
    author: str
    comment: str
    scheduled_at: float
    base_revision: int
    lineup_file: str
    lineup_text: str
    fleet_file: str
    fleet_text: str
    lineup_name: str
    channels: int
    without_sites: tuple[str, ...]
    hold_s: float
    accept_irreversible: bool
    state: str = "waiting"
    reason: str = ""
    drain_s: float = 0.0
    drain_drops: bool = False

    def order(self) -> Order:
        return Order(
            kind="commit",
            author=self.author,
            comment=self.comment or f"scheduled as {self.id}",
            hold_s=self.hold_s,
            without_sites=self.without_sites,
            accept_irreversible=self.accept_irreversible,
            drain=DrainOrder(self.drain_s, self.drain_drops) if self.drain_s else None,
        )


class Schedule:
    def __init__(
        self,
        *,
        book: Book,
        lineups: LineUps,
        coordinator: Coordinator,
        operators: Operators,
        telemetry: Telemetry,
        clock: Clock,
        author: str,
    ) -> None:
        """`author`: SPIFFE id of the NOC, for what it decides itself."""
        self._book = book
        self._lineups = lineups
        self._coordinator = coordinator
        self._operators = operators
        self._telemetry = telemetry
        self._clock = clock
        self._author = author
        self._commits: dict[str, Scheduled] = {}
        self._due = Due("scheduled commits", clock, self._earliest, self._run_due)

    async def start(self) -> None:
        """After the coordinator has recovered. What ran when the NOC stopped is looked up in the history."""
        for entry in await self._book.store.list(SCHEDULE):
            commit = _load(entry.value)
            self._commits[commit.id] = commit
            if commit.state == "running":
                await self._ended_by_restart(commit)
            elif commit.state == "refused":
                self._alarm(commit)
        self._due.start()

    async def close(self) -> None:
        """A commit that runs is left to the coordinator; the next start looks what became of it."""
        await self._due.close()

    def list(self) -> tuple[Scheduled, ...]:
        """The next one first. `reason` of one that waits and will be refused, as things stand: why."""
        current = self._lineups.current.record.revision
        return tuple(
            replace(commit, reason=f"will be refused: revision {current} is current now")
            if commit.state == "waiting" and commit.base_revision != current
            else commit
            for commit in self._ordered()
        )

    def _ordered(self) -> tuple[Scheduled, ...]:
        return tuple(sorted(self._commits.values(), key=lambda commit: (commit.at, commit.id)))

    async def add(self, request: noc_pb2.ScheduleLineUpRequest, order: Order) -> Scheduled:
        """Durable when it returns. Raises InputError (its time), DocumentError, CommitRefused, RefusedError."""
        now = self._clock.now()
        at = request.at or now + request.after_s
        self._check_time(at, now)
        if len(self._commits) >= _MOST:
            raise RefusedError(f"{_MOST} commits are scheduled already", where="at", remedy="nf lineup unschedule ID")
        wanted = request.commit
        fleet = wanted.fleet if wanted.HasField("fleet") else None
        base = self._lineups.current.record.revision
        draft = await self._lineups.draft(wanted.lineup, fleet)
        excluded_appliances(draft.fleet, order.without_sites)
        commit = Scheduled(
            id=uuid.uuid4().hex[:8],
            at=at,
            author=order.author,
            comment=order.comment,
            scheduled_at=now,
            base_revision=base,
            lineup_file=draft.lineup_file,
            lineup_text=draft.lineup_text,
            fleet_file=draft.fleet_file if fleet is not None else "",
            fleet_text=draft.fleet_text if fleet is not None else "",
            lineup_name=draft.lineup.metadata.name,
            channels=len(draft.lineup.spec.channels),
            without_sites=order.without_sites,
            hold_s=order.hold_s,
            accept_irreversible=order.accept_irreversible,
            drain_s=order.drain.wait_s if order.drain is not None else 0.0,
            drain_drops=order.drain is not None and order.drain.drops,
        )
        await self._save(commit, order.author, "scheduled", {"at": at, "base_revision": base})
        self._due.look_again()
        return commit

    def _check_time(self, at: float, now: float) -> None:
        if not math.isfinite(at) or at <= now:
            raise InputError(
                f"this time is in the past: it is {_utc(now)} now",
                where=f"at {_utc(at)}",
                remedy="name a later time, or commit now: without --at",
            )
        if at > now + _FARTHEST_S:
            raise InputError("more than a year ahead", where=f"at {_utc(at)}", remedy="name an earlier time")

    async def remove(self, commit_id: str, author: str) -> None:
        """Raises NotFoundError, RefusedError while it runs."""
        commit = self._commits.get(commit_id)
        if commit is None:
            raise NotFoundError("no such scheduled commit", where=commit_id, remedy="see `nf lineup scheduled`")
        if commit.state == "running":
            raise RefusedError("it runs already", where=commit_id, remedy="see `nf lineup history`")
        await self._drop(commit, author, "lineup.unschedule", "done")
        self._telemetry.clear(REFUSED, commit_id)

    # ---- its time has come ----

    def _earliest(self) -> float:
        return min((commit.at for commit in self._commits.values() if commit.state == "waiting"), default=math.inf)

    async def _run_due(self) -> None:
        now = self._clock.now()
        for commit in self._ordered():
            if commit.state == "waiting" and commit.at <= now:
                await self._run(commit)
                return  # others that are due have the next round

    async def _run(self, commit: Scheduled) -> None:
        commit = replace(commit, state="running")
        await self._save(commit, self._author, "started", {})
        try:
            await self._admit(commit)
            events = await self._coordinator.commit(commit.order(), lambda: self._draft(commit))
            last = noc_pb2.CommitEvent()
            async for event in events:
                last = event
            if last.outcome not in _GOOD:
                raise from_info(last.error) if last.HasField("error") else RefusedError(last.text or "it was not done")
        except NfError as error:
            await self._refuse(commit, error)
        else:
            await self._drop(
                commit, self._author, "lineup.schedule", noc_pb2.Outcome.Name(last.outcome)[len("OUTCOME_") :].lower()
            )

    async def _admit(self, commit: Scheduled) -> None:
        """What may have changed since it was asked for. Raises RefusedError."""
        if self._clock.now() > commit.at + LATE_S:
            raise RefusedError("its time is over: the NOC did not run then", remedy="schedule it again")
        operator = await self._operators.get(SpiffeId.parse(commit.author).name)
        if operator is None or operator.role < OperatorRole.ENGINEER or operator.sites:
            raise RefusedError(
                f"{commit.author} may no longer commit line-ups", remedy="have somebody schedule it who may"
            )

    async def _draft(self, commit: Scheduled) -> Draft:
        """Inside the coordinator, where no other commit can come between. Raises CommitRefused, DocumentError."""
        current = self._lineups.current.record.revision
        if current != commit.base_revision:
            raise CommitRefused(
                f"the fleet has changed: it was made for revision {commit.base_revision}, {current} is current",
                where="commit",
                remedy="see `nf lineup diff`; if it still fits, schedule it again",
            )
        fleet = None
        if commit.fleet_text:
            fleet = noc_pb2.DocumentText(file=commit.fleet_file, text=commit.fleet_text.encode())
        lineup = noc_pb2.DocumentText(file=commit.lineup_file, text=commit.lineup_text.encode())
        return await self._lineups.draft(lineup, fleet)

    async def _refuse(self, commit: Scheduled, error: NfError) -> None:
        told = "; ".join([error.message, *(f"{p.key}: {p.rule}" if p.key else p.rule for p in error.problems[:5])])
        refused = replace(commit, state="refused", reason=f"{told} ({error.remedy})" if error.remedy else told)
        self._commits[commit.id] = refused
        self._alarm(refused)
        await self._save(refused, self._author, "refused", {"reason": refused.reason[:2000]})

    async def _ended_by_restart(self, commit: Scheduled) -> None:
        """Whether a revision came of it says the history."""
        for number in range(await self._book.last_number(), commit.base_revision, -1):
            revision = await self._book.revision(number)
            ours = revision.author == commit.author and revision.lineup_text == commit.lineup_text
            if ours and revision.outcome in {"confirmed", "held"}:
                await self._drop(commit, self._author, "lineup.schedule", revision.outcome)
                return
        await self._refuse(
            commit, RefusedError("the NOC was restarted while it ran; it is undone", remedy="schedule it again")
        )

    def _alarm(self, commit: Scheduled) -> None:
        self._telemetry.alarm(
            REFUSED,
            commit.id,
            Severity.MAJOR,
            f"the commit of {commit.lineup_name} did not go on: {commit.reason}"[:1000],
            f"when it is looked into: nf lineup unschedule {commit.id}",
        )

    # ---- the store ----

    async def _save(self, commit: Scheduled, actor: str, outcome: str, detail: JsonObject) -> None:
        audit = AuditEntry(actor, "lineup.schedule", f"schedule/{commit.id}", outcome, detail)
        await self._book.store.write([Put(SCHEDULE, commit.id, canonical(asdict(commit)).encode())], audit)
        self._commits[commit.id] = commit

    async def _drop(self, commit: Scheduled, actor: str, action: str, outcome: str) -> None:
        audit = AuditEntry(actor, action, f"schedule/{commit.id}", outcome)
        await self._book.store.write([Delete(SCHEDULE, commit.id)], audit)
        self._commits.pop(commit.id, None)


def _utc(at: float) -> str:
    """RFC 3339, as it may be typed; a number that is no point in time stays one."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(at)


def _load(value: bytes) -> Scheduled:
    data: dict[str, Any] = json.loads(value)
    data["without_sites"] = tuple(data["without_sites"])
    return Scheduled(**data)
