"""The administration's memory: officers, warrants, agencies, elements and alarms, each change sealed and audited.

What is in memory is what the store holds: a change is written first, with its record in the audit, and then seen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from lawful_intercept.administration.agencies import AGENCY, Agency
from lawful_intercept.administration.alarms import ALARM, Alarm, Code
from lawful_intercept.administration.elements import ELEMENT, Element
from lawful_intercept.administration.hi1 import Party
from lawful_intercept.administration.officers import OFFICER, Officer, Role, check
from lawful_intercept.administration.records import moment_of, spelled
from lawful_intercept.administration.store import Deed, Place, Store
from lawful_intercept.administration.tasking import Site
from lawful_intercept.administration.warrants import WARRANT, Warrant
from lawful_intercept.x1.lost import Lost
from nf.clock import Clock
from nf.contracts.json import Json, JsonObject
from nf.errors import DeniedError, NfError, NotFoundError
from nf.trust.spiffe import SpiffeId

OFFICERS: Final = "officers"
WARRANTS: Final = "warrants"
AGENCIES: Final = "agencies"
ELEMENTS: Final = "elements"
ALARMS: Final = "alarms"
MAX_UNWRITTEN: Final = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: what the certificate names, and its SHA-256 in hexadecimal ("" : typed on the ADMF's machine)."""

    identity: SpiffeId
    certificate: str = ""

    @property
    def name(self) -> str:
        return self.identity.name

    def deed(self, action: str, thing: str, detail: JsonObject | None = None) -> Deed:
        return Deed(str(self.identity), action, thing, self.certificate, detail or {})


@dataclass(frozen=True, slots=True, repr=False)
class Standing:
    """How an element stood when it was last spoken with. `answered_at`: None = never. `tasks`: what it confirmed."""

    answered_at: datetime | None = None
    tasks: frozenset[UUID] = frozenset()
    fault: str = ""


class Office:
    """`own`: the ADMF's own identity, the actor of what the clock does. `party`: how it is called at HI1.

    `changed` is set by whatever may change what elements have to hold.
    """

    def __init__(self, store: Store, clock: Clock, own: SpiffeId, party: Party) -> None:
        """Use `open`."""
        self.store = store
        self.clock = clock
        self.own = own
        self.party = party
        self.lock = asyncio.Lock()
        self.changed = asyncio.Event()
        self.officers: dict[str, Officer] = {}
        self.warrants: dict[UUID, Warrant] = {}
        self.agencies: dict[str, Agency] = {}
        self.elements: dict[str, Element] = {}
        self.alarms: dict[tuple[Code, str], Alarm] = {}
        self.standings: dict[str, Standing] = {}
        self._unwritten: deque[tuple[Deed, dict[Place, JsonObject], tuple[Place, ...]]] = deque()
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, store: Store, clock: Clock, own: SpiffeId, party: Party) -> Office:
        """Raises IntegrityError, StorageError."""
        office = cls(store, clock, own, party)
        await office.reload_officers()
        for data in (await store.all(WARRANTS)).values():
            warrant = WARRANT.stored(data)
            office.warrants[warrant.number] = warrant
        for data in (await store.all(AGENCIES)).values():
            agency = AGENCY.stored(data)
            office.agencies[agency.settings.name] = agency
        for data in (await store.all(ELEMENTS)).values():
            element = ELEMENT.stored(data)
            office.elements[element.settings.name] = element
        for data in (await store.all(ALARMS)).values():
            alarm = ALARM.stored(data)
            office.alarms[alarm.code, alarm.object] = alarm
        return office

    async def reload_officers(self) -> None:
        """The first officer is written by another process (`nf-li officer add --config`)."""
        officers = [OFFICER.stored(data) for data in (await self.store.all(OFFICERS)).values()]
        self.officers = {officer.name: officer for officer in officers}

    @property
    def now(self) -> datetime:
        return moment_of(self.clock.now())

    @property
    def site(self) -> Site:
        return Site(self.elements, self.agencies)

    @property
    def has_admin(self) -> bool:
        return any(Role.ADMIN in one.roles and one.removed_at is None for one in self.officers.values())

    def self_deed(self, action: str, thing: str, detail: JsonObject | None = None) -> Deed:
        return Deed(str(self.own), action, thing, detail=detail or {})

    async def perform(self, caller: Caller, method: str, thing: str, act: Callable[[], Awaitable[Json]]) -> Json:
        """One call of an officer: its role is checked, calls take turns, and a refusal is audited.

        Raises what `act` raises, and DeniedError.
        """
        async with self.lock:
            try:
                self.check(caller, method)
                return await act()
            except NfError as error:
                await self.store.refused(caller.deed(method, thing), error)
                raise

    def check(self, caller: Caller, method: str) -> None:
        """Raises DeniedError."""
        if caller.identity.kind != "officer" or caller.identity.domain != self.own.domain:
            raise DeniedError("officers call here, and nobody else", where=f"nf-li {method}")
        check(self.officers.get(caller.name), method)

    async def keep_warrants(self, deed: Deed, *warrants: Warrant, new: bool = False) -> None:
        places = tuple((WARRANTS, str(warrant.number)) for warrant in warrants)
        puts = {place: WARRANT.json(warrant) for place, warrant in zip(places, warrants, strict=True)}
        await self.store.write(deed, puts, new=places if new else ())
        self.warrants |= {warrant.number: warrant for warrant in warrants}
        self.changed.set()

    def warrant(self, number: str) -> Warrant:
        """By its number, or the beginning of it that is enough. Raises NotFoundError."""
        found = [one for key, one in self.warrants.items() if number and str(key).startswith(number.lower())]
        if len(found) != 1:
            what = "more than one warrant begins so" if found else "no such warrant"
            raise NotFoundError(what, where=f"warrant {number[:40]}", remedy="nf-li warrant list")
        return found[0]

    async def raise_alarm(self, code: Code, thing: str, text: str) -> None:
        """A standing alarm is written again only when it says something else."""
        known = self.alarms.get((code, thing))
        if known is not None and known.text == text:
            self.alarms[code, thing] = replace(known, count=known.count + 1)
            return
        alarm = Alarm(uuid4() if known is None else known.number, code, thing, text, self.now)
        self.alarms[code, thing] = alarm
        place = (ALARMS, str(alarm.number))
        await self._try(self.self_deed("alarm.raise", thing, {"code": code.value}), {place: ALARM.json(alarm)}, ())

    async def raise_loss(self, thing: str, lost: Lost) -> None:
        """All that was lost since an officer has cleared it is one alarm, whose numbers grow."""
        known = self.alarms.get((Code.LOST, thing))
        if known is None:
            alarm = Alarm(uuid4(), Code.LOST, thing, "", self.now)
        else:
            alarm = replace(known, count=known.count + 1)
        total = Lost(alarm.iri, alarm.cc, uncounted=alarm.uncounted) + lost
        alarm = replace(alarm, iri=total.iri, cc=total.cc, uncounted=total.uncounted, text=str(total))
        self.alarms[Code.LOST, thing] = alarm
        place = (ALARMS, str(alarm.number))
        detail: JsonObject = {"code": Code.LOST.value, "iri": lost.iri, "cc": lost.cc, "uncounted": lost.uncounted}
        await self._try(self.self_deed("alarm.raise", thing, detail), {place: ALARM.json(alarm)}, ())

    async def clear_alarm(self, code: Code, thing: str, deed: Deed | None = None) -> None:
        """Nothing when it does not stand."""
        alarm = self.alarms.pop((code, thing), None)
        if alarm is not None:
            place = (ALARMS, str(alarm.number))
            await self._try(deed or self.self_deed("alarm.clear", thing, {"code": code.value}), {}, (place,))

    async def store_failed(self) -> None:
        """An alarm, in memory: where it cannot be written either."""
        await self.note("store.failure", "store", {})

    async def note(self, action: str, thing: str, detail: JsonObject) -> None:
        """A record of what the ADMF itself did."""
        await self._try(self.self_deed(action, thing, detail), {}, ())

    async def _try(self, deed: Deed, puts: dict[Place, JsonObject], takes: Iterable[Place]) -> None:
        """Elements are tasked and stopped also when the store cannot be written: what was done is written later, in
        its order, and until then an alarm stands."""
        if len(self._unwritten) < MAX_UNWRITTEN:
            self._unwritten.append((self._late(deed) if self._unwritten else deed, puts, tuple(takes)))
        await self.flush()

    async def flush(self) -> None:
        """Write what could not be written before."""
        async with self._writing:
            while self._unwritten:
                deed, puts, takes = self._unwritten[0]
                try:
                    await self.store.write(deed, puts, tuple(takes))
                except NfError:
                    self._unwritten[0] = (self._late(deed), puts, tuple(takes))
                    text = "what the ADMF did cannot be written"
                    self.alarms.setdefault((Code.STORE, "store"), Alarm(uuid4(), Code.STORE, "store", text, self.now))
                    return
                self._unwritten.popleft()
        self.alarms.pop((Code.STORE, "store"), None)

    def _late(self, deed: Deed) -> Deed:
        """Its record comes later than what it tells of."""
        return deed if "done_at" in deed.detail else replace(deed, detail={**deed.detail, "done_at": spelled(self.now)})
