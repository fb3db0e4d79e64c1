"""Upgrades: another image for appliances, the canary first, then wave after wave; paused when one comes not through.

The store is the memory: a NOC that is started again goes on with what runs. What an appliance has activated it ends by
itself, with or without the NOC.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

from nf.clock import Clock
from nf.contracts.image import ImageReport
from nf.contracts.json import JsonObject
from nf.documents.fleet import Fleet
from nf.errors import BusyError, CommitRefused, DeniedError, NfError, Problem, RefusedError
from nf.noc.bundles import BundleRecord, Bundles
from nf.noc.drains import Drains
from nf.noc.emptying import Emptying
from nf.noc.lineups import LineUps
from nf.noc.maintenance import Maintenance
from nf.noc.records import Book
from nf.noc.sessions import Sessions
from nf.noc.tasks import Tasks
from nf.noc.telemetry import Telemetry
from nf.noc.upgrade_admission import Admission, Request
from nf.noc.upgrade_book import Act, UpgradeBook
from nf.noc.upgrade_plan import choose_canary, plan_waves
from nf.noc.upgrade_records import AWAY, BAD, ENDED, OPEN, Member, MemberState, Phase, UpgradeRecord
from nf.noc.upgrade_run import Course
from nf.trust.roles import Operators

_log = logging.getLogger(__name__)

POLL_S: Final = 1.0
_MOVING: Final = frozenset({Phase.WAITING, Phase.RUNNING})


class Upgrades:
    def __init__(
        self,
        *,
        book: Book,
        bundles: Bundles,
        lineups: LineUps,
        sessions: Sessions,
        drains: Drains,
        emptying: Emptying,
        maintenance: Maintenance,
        operators: Operators,
        telemetry: Telemetry,
        clock: Clock,
        author: str,
        doing: Callable[[], str],
        image_of: Callable[[str], ImageReport | None],
    ) -> None:
        """`author`: SPIFFE id of the NOC. `doing`: what commit holds the fleet, in words. `image_of`: as last said."""
        self.bundles = bundles
        self._book = UpgradeBook(book=book, telemetry=telemetry, clock=clock, author=author)
        self._lineups = lineups
        self._sessions = sessions
        self._clock = clock
        self._doing = doing
        self._admission = Admission(sessions, maintenance, image_of)
        self.poll_s = POLL_S
        self._course = Course(
            book=self._book,
            admission=self._admission,
            drains=drains,
            emptying=emptying,
            operators=operators,
            clock=clock,
            doing=doing,
            fleet=lambda: lineups.current.fleet,
            poll_s=lambda: self.poll_s,
        )
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._tasks = Tasks("upgrade")

    async def start(self) -> None:
        await self._book.load()
        for record in self._book.all():
            if record.phase in _MOVING:
                self._go(record.id)

    async def close(self) -> None:
        """What runs is left as it stands in the store."""
        await self._tasks.close()

    def _go(self, upgrade: str) -> None:
        self._running[upgrade] = task = self._tasks.start(self._course.run(upgrade))
        task.add_done_callback(lambda _task: self._book.tell())

    # ---- asking ----

    def all(self) -> tuple[UpgradeRecord, ...]:
        """Newest first."""
        return self._book.all()

    def find(self, upgrade: str, phases: frozenset[Phase] = OPEN) -> UpgradeRecord:
        """See `UpgradeBook.find`."""
        return self._book.find(upgrade, phases)

    def watch(self, upgrade: str) -> AsyncIterator[UpgradeRecord]:
        """As it stands, then whenever it changes, until it has ended, or is paused and nobody is away any more."""
        return self._book.watch(upgrade, self._moves)

    def _moves(self, record: UpgradeRecord) -> bool:
        task = self._running.get(record.id)
        return record.phase in _MOVING or (task is not None and not task.done())

    def needing(self, sha256: str) -> tuple[str, ...]:
        return tuple(one.id for one in self.all() if one.open and one.bundle.sha256 == sha256)

    def away(self, appliance: str) -> bool:
        """Whether it restarts, or is about to: nobody changes it then."""
        leaving = {MemberState.ACTIVATE, MemberState.REBOOT}
        return any(member.appliance == appliance and member.state in leaving for _, member in self._book.away())

    # ---- what others ask ----

    def admit(self, fleet: Fleet, without_sites: tuple[str, ...]) -> None:
        """Whether a commit may go on. Raises CommitRefused naming who is away for an upgrade."""
        sites = {appliance.id: appliance.site for appliance in fleet.spec.appliances}
        hit = [
            (record, member)
            for record, member in self._book.away()
            if member.appliance in sites and sites[member.appliance] not in without_sites
        ]
        if not hit:
            return
        problems = [
            Problem(
                f"is being upgraded to {record.bundle.version}: {member.state.value}",
                "",
                key=f"appliance {member.appliance}",
            )
            for record, member in hit
        ]
        names = ", ".join(member.appliance for _, member in hit)
        remedy = "wait until they are back (nf upgrade status), or leave their sites out: --without SITE"
        raise CommitRefused(f"being upgraded: {names}", where="commit", remedy=remedy, problems=problems)

    def require_fetcher(self, appliance: str, sha256: str) -> None:
        """Raises DeniedError unless an upgrade brings this bundle to it."""
        for record in self.all():
            member = record.member(appliance)
            if record.open and record.bundle.sha256 == sha256 and member is not None and member.state not in ENDED:
                return
        raise DeniedError("no upgrade brings you this bundle", where=appliance, remedy="nf upgrade, to have it brought")

    def remove_bundle(self, sha256: str) -> BundleRecord:
        """Raises NotFoundError, RefusedError while an upgrade needs it."""
        bundle = self.bundles.get(sha256)
        if needing := self.needing(bundle.sha256):
            raise RefusedError(f"upgrade {needing[0]} needs it", where=sha256[:12], remedy="cancel that first")
        self.bundles.remove(bundle)
        return bundle

    # ---- what operators do ----

    async def begin(self, request: Request) -> UpgradeRecord:
        """Durable when it returns.

        Raises InputError, NotFoundError, RefusedError, BusyError (a commit has the fleet).
        """
        if doing := self._doing():
            remedy = "wait until it has ended, or confirm or roll back what is held"
            raise BusyError(doing, where="upgrade", remedy=remedy)
        fleet = self._lineups.current.fleet
        named, left_out = self._admission.admit(fleet, request, self.all())
        canary = request.canary or choose_canary(fleet, named, self._sessions.online())
        waves = plan_waves(fleet, named, canary, max(1, request.wave))
        now = self._clock.now()
        record = UpgradeRecord(
            id=uuid.uuid4().hex[:8],
            author=request.author,
            reason=request.reason.strip()[:500],
            created_at=now,
            bundle=request.bundle,
            members=self._members(fleet, waves, left_out, now),
            phase=Phase.WAITING if request.not_before > now else Phase.RUNNING,
            not_before=request.not_before,
            soak_s=request.soak_s,
            hold_s=request.hold_s,
            patience_s=request.patience_s,
            drain=request.drain,
            when_back=request.when_back,
        )
        detail: JsonObject = {
            "version": request.bundle.version,
            "bundle": request.bundle.sha256,
            "waves": [[*wave] for wave in waves],
            "reason": record.reason,
            "not_before": record.not_before,
        }
        await self._book.save(record, Act(request.author, "upgrade.start", "begun", detail))
        await self._book.forget_old()
        self._go(record.id)
        return record

    def _members(
        self, fleet: Fleet, waves: tuple[tuple[str, ...], ...], left_out: dict[str, str], now: float
    ) -> tuple[Member, ...]:
        sites = {appliance.id: appliance.site for appliance in fleet.spec.appliances}
        version = self._admission.version
        going = [
            Member(name, sites[name], number, from_version=version(name))
            for number, wave in enumerate(waves)
            for name in wave
        ]
        staying = [
            Member(name, sites[name], 0, MemberState.LEFT_OUT, why, from_version=version(name), ended_at=now)
            for name, why in sorted(left_out.items())
        ]
        return (*going, *staying)

    async def pause(self, upgrade: str, author: str, reason: str) -> UpgradeRecord:
        """Nobody new begins, nobody restarts; who is away comes through. Raises NotFoundError, RefusedError."""
        record = self.find(upgrade, _MOVING)
        if record.phase not in _MOVING:
            raise RefusedError(f"it is {record.phase.value}", where=record.id, remedy="see `nf upgrade status`")
        return await self._book.pause(record.id, reason or "somebody paused it", author)

    async def resume(self, upgrade: str, author: str) -> UpgradeRecord:
        """Who failed is tried again. Raises NotFoundError, RefusedError, BusyError."""
        record = self.find(upgrade, frozenset({Phase.PAUSED}))
        if record.phase is not Phase.PAUSED:
            raise RefusedError(f"it is {record.phase.value}", where=record.id, remedy="see `nf upgrade status`")
        if self._moves(record):
            raise BusyError("some are away still", where=record.id, remedy="wait until they are back")
        members = tuple(_anew(member) if member.state in BAD else member for member in record.members)
        first = min((member.wave for member in members if member.state not in ENDED), default=record.wave)
        phase = Phase.WAITING if record.not_before > self._clock.now() else Phase.RUNNING
        wave = min(first, record.wave)
        soak_until = record.soak_until if wave == record.wave else 0.0
        resumed = replace(record, phase=phase, text="", members=members, wave=wave, soak_until=soak_until)
        await self._book.save(resumed, Act(author, "upgrade.resume"))
        self._book.no_alarm(record.id)
        self._go(record.id)
        return resumed

    async def cancel(self, upgrade: str, author: str, reason: str) -> UpgradeRecord:
        """Who has not restarted does not; who has comes through by itself. Raises NotFoundError, RefusedError."""
        record = self.find(upgrade)
        if not record.open:
            raise RefusedError(f"it is {record.phase.value}", where=record.id, remedy="see `nf upgrade status`")
        if (task := self._running.pop(record.id, None)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        record = self._book.get(record.id)
        for member in record.members:
            if member.state not in ENDED | AWAY:
                await self._cancel_at(record, member)
        now = self._clock.now()
        members = tuple(
            member
            if member.state in ENDED
            else replace(member, state=MemberState.CANCELLED, ended_at=now, text=_left_as(member))
            for member in record.members
        )
        ended = replace(record, phase=Phase.CANCELLED, members=members, text=reason.strip()[:500], ended_at=now)
        await self._book.save(ended, Act(author, "upgrade.cancel", detail={"reason": reason[:500]}))
        self._book.no_alarm(record.id)
        return ended

    async def _cancel_at(self, record: UpgradeRecord, member: Member) -> None:
        """One that is offline finds out when it asks for the rest of the bundle."""
        session = self._sessions.get(member.appliance)
        if session is None or not member.ordered:
            return
        try:
            await session.request("image.cancel", {"id": record.order(member)})
        except NfError as error:
            _log.warning("%s does not cancel its update: %s", member.appliance, error)


def _anew(member: Member) -> Member:
    return replace(
        member,
        state=MemberState.PENDING,
        attempt=member.attempt + 1,
        ordered=False,
        text="",
        fraction=0.0,
        ended_at=0.0,
    )


def _left_as(member: Member) -> str:
    if member.state in AWAY:
        return f"left while it was at {member.state.value}: it comes through or falls back by itself"
    return f"it was at {member.state.value}"
