"""The upgrades that the NOC knows: in memory, in the store, and told to those who watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.errors import InputError, NotFoundError
from nf.noc.records import UPGRADES, Book
from nf.noc.telemetry import Telemetry
from nf.noc.upgrade_records import AWAY, ENDED, Member, Phase, UpgradeRecord, dump, load
from nf.store.audit import AuditEntry
from nf.store.contract import Delete, Put
from nf.telemetry.alarms import Severity

PAUSED: Final = "upgrade-paused"
KEPT: Final = 50
"""Upgrades that have ended and are still told of."""
_TELL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Act:
    """For the audit."""

    actor: str
    action: str
    outcome: str = "done"
    detail: JsonObject = field(default_factory=dict)
    target: str = ""


class UpgradeBook:
    def __init__(self, *, book: Book, telemetry: Telemetry, clock: Clock, author: str) -> None:
        """`author`: SPIFFE id of the NOC, for what it does by itself."""
        self._book = book
        self._telemetry = telemetry
        self._clock = clock
        self.author = author
        self._records: dict[str, UpgradeRecord] = {}
        self._changed = asyncio.Event()

    async def load(self) -> None:
        for entry in await self._book.store.list(UPGRADES):
            record = load(entry.value)
            self._records[record.id] = record
            if record.phase is Phase.PAUSED:
                self._alarm(record)

    # ---- asking ----

    def all(self) -> tuple[UpgradeRecord, ...]:
        """Newest first."""
        return tuple(sorted(self._records.values(), key=lambda one: (-one.created_at, one.id)))

    def get(self, upgrade: str) -> UpgradeRecord:
        return self._records[upgrade]

    def find(self, upgrade: str, phases: frozenset[Phase]) -> UpgradeRecord:
        """By id or its beginning; empty = the one in `phases`, if it is only one.

        Raises NotFoundError, InputError when it names several.
        """
        if upgrade:
            found = [one for one in self.all() if one.id.startswith(upgrade)]
        else:
            found = [one for one in self.all() if one.phase in phases]
        if not found:
            what = "no such upgrade" if upgrade else f"no upgrade is {' or '.join(sorted(one.value for one in phases))}"
            raise NotFoundError(what, where=upgrade, remedy="see `nf upgrade history`")
        if len(found) > 1:
            ids = ", ".join(one.id for one in found)
            raise InputError(f"{len(found)} upgrades may be meant", where=upgrade, remedy=f"name one of: {ids}")
        return found[0]

    def away(self) -> list[tuple[UpgradeRecord, Member]]:
        """Who does not serve now, or may stop to at any moment."""
        return [(one, member) for one in self._records.values() for member in one.members if member.state in AWAY]

    async def watch(self, upgrade: str, moves: Callable[[UpgradeRecord], bool]) -> AsyncIterator[UpgradeRecord]:
        """As it stands, then whenever it changes, for as long as it `moves`."""
        told: UpgradeRecord | None = None
        while True:
            changed, record = self._changed, self._records[upgrade]
            goes_on = moves(record)
            if record != told:
                told = record
                yield record
            if not goes_on:
                return
            await changed.wait()
            await self._clock.sleep(_TELL_S)

    def tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ---- keeping ----

    async def save(self, record: UpgradeRecord, act: Act | None = None) -> None:
        """In memory at once: a commit that begins while this is written must find it."""
        self._records[record.id] = record
        put = Put(UPGRADES, record.id, dump(record))
        if act is None:
            await self._book.store.write([put])
        else:
            target = act.target or f"upgrade/{record.id}"
            await self._book.store.write([put], AuditEntry(act.actor, act.action, target, act.outcome, act.detail))
        self.tell()

    async def keep_member(self, upgrade: str, member: Member) -> None:
        """Progress is only told; a change of state is written down too."""
        before = self._records[upgrade].member(member.appliance)
        record = self._records[upgrade] = self._records[upgrade].with_member(member)
        if before is not None and _durable(before) == _durable(member):
            self.tell()
        elif member.state in ENDED:
            detail: JsonObject = {"upgrade": upgrade, "version": record.bundle.version, "text": member.text[:500]}
            act = Act(
                self.author, "upgrade.appliance", member.state.value, detail, target=f"appliance/{member.appliance}"
            )
            await self.save(record, act)
        else:
            await self.save(record)

    async def pause(self, upgrade: str, reason: str, actor: str) -> UpgradeRecord:
        """By the NOC itself: with an alarm."""
        record = replace(self._records[upgrade], phase=Phase.PAUSED, text=reason[:1000])
        self._records[upgrade] = record
        if actor == self.author:
            self._alarm(record)
        await self.save(record, Act(actor, "upgrade.pause", detail={"reason": reason[:1000]}))
        return record

    def _alarm(self, record: UpgradeRecord) -> None:
        self._telemetry.alarm(
            PAUSED,
            record.id,
            Severity.MAJOR,
            f"the upgrade to {record.bundle.version} is paused: {record.text}"[:1000],
            f"nf upgrade resume {record.id} tries again; nf upgrade cancel {record.id} leaves it",
        )

    def no_alarm(self, upgrade: str) -> None:
        self._telemetry.clear(PAUSED, upgrade)

    async def forget_old(self) -> None:
        for one in [one for one in self.all() if not one.open][KEPT:]:
            del self._records[one.id]
            await self._book.store.write([Delete(UPGRADES, one.id)])


def _durable(member: Member) -> tuple[object, ...]:
    return member.state, member.ordered, member.drained, member.attempt
