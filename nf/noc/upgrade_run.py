"""The course of one upgrade: its time, its waves, what lies between them, and who comes late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from nf.clock import Clock
from nf.documents.fleet import Fleet
from nf.errors import NfError
from nf.noc.drains import Drains
from nf.noc.emptying import Emptying
from nf.noc.upgrade_admission import Admission
from nf.noc.upgrade_book import Act, UpgradeBook
from nf.noc.upgrade_member import MemberRun
from nf.noc.upgrade_plan import in_the_way
from nf.noc.upgrade_records import BAD, ENDED, Member, MemberState, Phase, UpgradeRecord
from nf.trust.roles import OperatorRole, Operators
from nf.trust.spiffe import SpiffeId

_log = logging.getLogger(__name__)

_LONGEST_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Course:
    """`doing`: what commit holds the fleet, in words; `fleet`: the current document."""

    book: UpgradeBook
    admission: Admission
    drains: Drains
    emptying: Emptying
    operators: Operators
    clock: Clock
    doing: Callable[[], str]
    fleet: Callable[[], Fleet]
    poll_s: Callable[[], float]

    async def run(self, upgrade: str) -> None:
        """To its end, or to where it is paused."""
        book = self.book
        try:
            if await self._begun(upgrade) and await self._waves(upgrade):
                await self._late(upgrade)
            record = book.get(upgrade)
            if record.phase is Phase.RUNNING:
                left = sum(member.state is MemberState.LEFT_OUT for member in record.members)
                ended = replace(
                    record,
                    phase=Phase.DONE,
                    text=f"{left} left out" if left else "",
                    wave=record.waves - 1,
                    ended_at=self.clock.now(),
                )
                await book.save(ended, Act(book.author, "upgrade.start", "done", {"left_out": left}))
        except Exception as error:  # noqa: BLE001 - whatever it stumbles on, it must not look as if it went on
            _log.exception("upgrade %s", upgrade)
            told = str(error) if isinstance(error, NfError) else f"{type(error).__name__}: {error}"
            await book.pause(upgrade, told, book.author)

    async def _begun(self, upgrade: str) -> bool:
        """Wait for its time; whether it may begin then."""
        while (record := self.book.get(upgrade)).phase is Phase.WAITING:
            if record.not_before > self.clock.now():
                await self.clock.sleep(min(_LONGEST_S, record.not_before - self.clock.now()))
                continue
            operator = await self.operators.get(SpiffeId.parse(record.author).name)
            if operator is None or operator.role < OperatorRole.ENGINEER or operator.sites:
                await self.book.pause(upgrade, f"{record.author} may no longer upgrade the fleet", self.book.author)
                return False
            await self.book.save(
                replace(record, phase=Phase.RUNNING), Act(self.book.author, "upgrade.start", "started")
            )
        return record.phase is Phase.RUNNING

    async def _waves(self, upgrade: str) -> bool:
        """Each wave to its end, then its soak. False: it is paused."""
        while (record := self.book.get(upgrade)).wave < record.waves:
            if not record.soak_until:
                await self._wave(upgrade, record.wave)
                record = self.book.get(upgrade)
                if record.phase is not Phase.RUNNING:
                    return False
                more = any(one.wave > record.wave and one.state not in ENDED for one in record.members)
                done = any(one.wave == record.wave and one.state is MemberState.GOOD for one in record.members)
                soak_until = self.clock.now() + record.soak_s if more and done and record.soak_s else 0.0
                await self.book.save(replace(record, soak_until=soak_until))
            if not await self._soaked(upgrade):
                return False
            record = self.book.get(upgrade)
            await self.book.save(replace(record, wave=record.wave + 1, soak_until=0.0, text=""))
        return True

    async def _wave(self, upgrade: str, number: int) -> None:
        names = []
        for member in self.book.get(upgrade).members:
            if member.wave != number or member.state in ENDED:
                continue
            why = self.admission.unavailable(member.appliance)
            if why and member.state is MemberState.PENDING:
                await self._not_now(upgrade, member, why)
            else:
                names.append(member.appliance)
        await asyncio.gather(*(self._member(upgrade, name) for name in names))

    async def _not_now(self, upgrade: str, member: Member, why: str) -> None:
        if self.book.get(upgrade).when_back:
            await self.book.keep_member(upgrade, replace(member, text=f"{why}; it gets it when that is over"))
        else:
            left = replace(member, state=MemberState.LEFT_OUT, text=why, ended_at=self.clock.now())
            await self.book.keep_member(upgrade, left)

    async def _member(self, upgrade: str, name: str) -> None:
        run = MemberRun(
            sessions=self.admission.sessions,
            drains=self.drains,
            emptying=self.emptying,
            clock=self.clock,
            poll_s=self.poll_s(),
            record=lambda: self.book.get(upgrade),
            tell=lambda member: self.book.keep_member(upgrade, member),
            held=self._held,
        )
        await run.run(name)
        record = self.book.get(upgrade)
        member = record.member(name)
        if member is not None and member.state in BAD and record.phase is Phase.RUNNING:
            await self.book.pause(upgrade, f"{name}: {member.text}", self.book.author)

    def _held(self, member: Member) -> str:
        """Why it may not leave now: a commit, or who is away already."""
        if doing := self.doing():
            return doing
        others = [one.appliance for _, one in self.book.away() if one.appliance != member.appliance]
        return in_the_way(self.fleet(), member.appliance, others)

    async def _soaked(self, upgrade: str) -> bool:
        """Watch those that have it until the time is over. False: it is paused, since one of them did not stay well."""
        while (record := self.book.get(upgrade)).soak_until > self.clock.now():
            if record.phase is not Phase.RUNNING:
                return False
            if bad := self._unwell(record):
                await self.book.pause(upgrade, f"after its upgrade, {bad}", self.book.author)
                return False
            left_s = record.soak_until - self.clock.now()
            await self.clock.sleep(min(max(self.poll_s(), 0.01), left_s))
        return self.book.get(upgrade).phase is Phase.RUNNING

    def _unwell(self, record: UpgradeRecord) -> str:
        sessions = self.admission.sessions
        for member in record.members:
            if member.state is not MemberState.GOOD or member.wave != record.wave:
                continue
            image = self.admission.image_of(member.appliance)
            if image is not None and image.version != record.bundle.version:
                return f"{member.appliance} runs {image.version} again: {image.fell_back}"
            away_s = self.clock.now() - sessions.last_seen.get(member.appliance, self.clock.now())
            if sessions.get(member.appliance) is None and away_s > _LONGEST_S:
                return f"{member.appliance} is offline"
        return ""

    async def _late(self, upgrade: str) -> None:
        """Those that were away in their wave, one after the other as they come."""
        while (record := self.book.get(upgrade)).phase is Phase.RUNNING:
            pending = [one for one in record.members if one.state not in ENDED]
            if not pending:
                return
            ready = [one for one in pending if not self.admission.unavailable(one.appliance)]
            if ready:
                await self._member(upgrade, ready[0].appliance)
                continue
            text = f"waits for {', '.join(one.appliance for one in pending)}"
            if record.text != text:
                await self.book.save(replace(record, text=text))
            await self.clock.sleep(self.poll_s())
