"""Bringing back who is behind: enrolled just now, returned, left out of a commit, or undone by itself.

Each gets a single-appliance transaction to the current revision. What sends comes before what passes on, before what
receives, so that a probe has something to see. A failure is an alarm and is tried again with full jitter.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.control.channel import FullJitter
from nf.errors import NfError
from nf.noc.ledger import Ledger
from nf.noc.lineups import LineUps, ranks
from nf.noc.rollout import Proposal, Rollout
from nf.noc.sessions import Sessions
from nf.noc.settlement import Settlement
from nf.noc.tasks import Tasks
from nf.noc.telemetry import Telemetry
from nf.telemetry.alarms import Severity

_log = logging.getLogger(__name__)

FAILED: Final = "catch-up-failed"
_LOOK_S: Final = 5.0
_ABSENCE_S: Final = 15.0


@dataclass(slots=True)
class _Retry:
    not_before: float = 0.0
    delays: FullJitter = field(default_factory=lambda: FullJitter(base_s=2.0, cap_s=60.0))


class CatchUp:
    def __init__(
        self,
        *,
        ledger: Ledger,
        lineups: LineUps,
        sessions: Sessions,
        settlement: Settlement,
        telemetry: Telemetry,
        clock: Clock,
        author: str,
        participates: Callable[[str], bool] = lambda _appliance: False,
    ) -> None:
        """`author`: SPIFFE id of the NOC. `participates`: bound by a held commit."""
        self._ledger = ledger
        self._lineups = lineups
        self._sessions = sessions
        self._settlement = settlement
        self._telemetry = telemetry
        self._clock = clock
        self._author = author
        self.participates = participates
        self._retries: dict[str, _Retry] = {}
        self._wakeup = asyncio.Event()
        self._quiet = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks = Tasks("catch-up")

    def wake(self) -> None:
        self._wakeup.set()

    def returned(self, appliance: str) -> None:
        """It has a new session: what failed before may work now."""
        self._retries.pop(appliance, None)
        self.wake()

    @property
    def running(self) -> bool:
        """Whether somebody catches up at this moment."""
        return not self._idle.is_set()

    @asynccontextmanager
    async def quiet(self, *, wait: bool = True) -> AsyncIterator[None]:
        """Nobody begins to catch up inside; `wait`: and those who do have come to an end."""
        self._quiet += 1
        try:
            if wait:
                await self._idle.wait()
            yield
        finally:
            self._quiet -= 1
            self.wake()

    def behind(self) -> tuple[str, ...]:
        """Who is online and not what the current revision says, and is not busy with something else."""
        wanted = self._lineups.current.record.configs
        return tuple(
            sorted(
                session.appliance
                for session in self._sessions.all()
                if session.appliance in wanted
                and session.standing.confirmed_digest != wanted[session.appliance]
                and not session.standing.in_flight
                and not self.participates(session.appliance)
            )
        )

    def start(self) -> None:
        self._tasks.start(self._run())

    async def close(self) -> None:
        await self._tasks.close()

    async def _run(self) -> None:
        while True:
            self._wakeup.clear()
            if not self._quiet:
                try:
                    await self._round()
                except Exception:  # noqa: BLE001 - one appliance's strange answer must not end this for the whole fleet
                    _log.exception("a round of catching up failed")
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._wakeup.wait()
            except TimeoutError:
                continue

    async def _round(self) -> None:
        """The first rank that has somebody behind; the next rank has the next round."""
        now = time.monotonic()
        due = [name for name in self.behind() if self._retry(name).not_before <= now]
        if not due:
            return
        order = ranks(self._lineups.current.fleet)
        first = min(order.get(name, 0) for name in due)
        self._idle.clear()
        try:
            await asyncio.gather(*(self._bring(name) for name in due if order.get(name, 0) == first))
        finally:
            self._idle.set()
        self.wake()

    def _retry(self, appliance: str) -> _Retry:
        return self._retries.setdefault(appliance, _Retry())

    async def _bring(self, appliance: str) -> None:
        try:
            config = await self._lineups.config(appliance)
            left = await self._transaction(appliance, config)
        except NfError as error:
            self._failed(appliance, error)
            return
        if not left:
            self._retries.pop(appliance, None)
            self._telemetry.clear(FAILED, appliance)

    def _failed(self, appliance: str, error: NfError) -> None:
        retry = self._retry(appliance)
        retry.not_before = time.monotonic() + 0.5 + retry.delays.next_s()
        _log.warning("%s does not catch up: %s", appliance, error)
        words = "; ".join(str(problem) for problem in error.problems) or str(error)
        self._telemetry.alarm(
            FAILED,
            appliance,
            Severity.MAJOR,
            f"not brought to revision {self._lineups.current.record.revision}: {words}"[:1000],
            error.remedy or "mend the cause; it is tried again by itself",
        )

    async def _transaction(self, appliance: str, config: JsonObject) -> frozenset[str]:
        current = self._lineups.current
        proposal = Proposal(
            transaction=uuid.uuid4().hex[:12],
            kind="catch-up",
            revision=current.record.revision,
            author=self._author,
            configs={appliance: config},
            deadline_s=current.lineup.spec.policy.deadline_ms / 1000,
            absence_s=_ABSENCE_S,
            standing_elsewhere=lambda: self._facts_elsewhere(appliance),
        )
        rollout = Rollout(
            proposal,
            sessions=self._sessions,
            clock=self._clock,
            log=self._ledger.log,
            progress=lambda _progress: None,
        )
        running = self._settlement.running
        running.add(proposal.transaction)
        try:
            record = await rollout.run(await rollout.validate())
            self._settlement.expect(record, record.participants, quietly=True)
            left = await rollout.confirm(record)
            await self._settlement.confirmed(record, left)
        except NfError:
            if rollout.reached.record is not None and not rollout.reached.record.finished:
                self._settlement.abandon(rollout.reached.record)
            raise
        finally:
            running.discard(proposal.transaction)
            self._settlement.look_again()
        return left

    async def _facts_elsewhere(self, appliance: str) -> frozenset[str]:
        """Ordering facts that hold on the others, asked by a dry run of what they are already."""
        wanted = self._lineups.current.record.configs
        others = [name for name in sorted(self._sessions.online()) if name in wanted and name != appliance]
        configs = {name: await self._lineups.config(name) for name in others}
        proposal = Proposal(
            transaction=uuid.uuid4().hex[:12],
            kind="catch-up",
            revision=self._lineups.current.record.revision,
            author=self._author,
            configs=configs,
            deadline_s=0.0,
        )
        rollout = Rollout(
            proposal, sessions=self._sessions, clock=self._clock, log=self._ledger.log, progress=lambda _progress: None
        )
        return await rollout.facts()
