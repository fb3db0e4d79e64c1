"""One link for each element: it is made to hold what it has to hold, told that the ADMF lives, and asked what it holds.

A step goes to an element as soon as it is due, without asking first. What the element really holds is asked at the
beginning, after every failure, when it reports that it has lost its memory, and every `reconcile_s` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol
from uuid import UUID

from lawful_intercept.administration.alarms import Code
from lawful_intercept.administration.elements import ElementSettings, Kind
from lawful_intercept.administration.office import Office, Standing
from lawful_intercept.administration.reconcile import Given, Request, Step, Why, applied, done_already, steps
from lawful_intercept.administration.tasking import Wanted
from lawful_intercept.x1.exchange import AllDetails, name_of
from lawful_intercept.x1.faults import X1Fault
from nf.clock import Clock
from nf.contracts.json import Json, JsonObject
from nf.errors import IdentityError, NfError, UnavailableError

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 15.0
HEAD_START_S: Final = 2.0
"""How long points wait, before a new task, for mediation to have its own."""


class Asker(Protocol):
    """X1 to one element. All raise X1Fault (it refuses), UnavailableError (no answer), IdentityError (another one)."""

    async def all_details(self) -> AllDetails: ...
    async def do(self, request: Request) -> None: ...
    async def keepalive(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds."""

    reconcile_s: float = 60.0
    keepalive_s: float = 10.0


class Link:
    def __init__(self, settings: ElementSettings, asker: Asker, office: Office, pace: Pace) -> None:
        self.settings = settings
        self.wanted = Wanted()
        self.settled = asyncio.Event()
        self._asker = asker
        self._office = office
        self._pace = pace
        self._held: AllDetails | None = None
        self._given: frozenset[UUID] = frozenset()
        self._ever: set[UUID] = set()
        self._wake = asyncio.Event()
        self._retry_s = FIRST_RETRY_S
        self._answers = False

    def want(self, wanted: Wanted) -> None:
        """From now on."""
        self.wanted = wanted
        self._ever |= wanted.destinations.keys()
        self.settled.clear()
        self._wake.set()

    def doubt(self) -> None:
        """What it holds is to be asked anew."""
        self._held = None
        self._wake.set()

    async def check(self) -> JsonObject:
        """What it holds, now, in numbers, and what is otherwise than it has to be. Raises what `Asker` does."""
        held = await self._asker.all_details()
        differ: list[Json] = [
            f"{name_of(step.request)} ({step.why.value})"
            for step in steps(held, self.wanted, Given(self._given, self._known()))
        ]
        faults: list[Json] = [fault.code for fault in held.status.faults]
        return {
            "element": self.settings.name,
            "status": held.status.condition.value,
            "faults": faults,
            "tasks": len(held.tasks),
            "destinations": len(held.destinations),
            "to_do": differ,
        }

    async def run(self) -> None:
        """For ever; cancel it."""
        clock, pace = self._office.clock, self._pace
        asked = spoken = clock.monotonic()
        while True:
            self._wake.clear()
            now = clock.monotonic()
            if now - asked >= pace.reconcile_s:
                self._held = None
            if self._held is None:
                asked = now
            self._answers = True
            good = await self._sync()
            # Also while it refuses something: else it would end what it does take.
            if self._answers and now - spoken >= pace.keepalive_s:
                good, spoken = await self._keepalive() and good, now
            self._retry_s = FIRST_RETRY_S if good else min(LAST_RETRY_S, self._retry_s * 2)
            due = min(pace.keepalive_s, pace.reconcile_s if good else self._retry_s)
            await wait(self._wake, clock, due)

    async def _keepalive(self) -> bool:
        try:
            await self._asker.keepalive()
        except X1Fault:
            return True  # an element need not know keepalives
        except (UnavailableError, IdentityError) as error:
            await self._silent(error)
            return False
        return True

    async def _sync(self) -> bool:
        """Whether it holds what it has to hold now."""
        wanted = self.wanted
        fault = ""
        try:
            if self._held is None:
                self._held = await self._asker.all_details()
            for step in steps(self._held, wanted, Given(self._given, self._known())):
                fault = await self._step(step) or fault
        except X1Fault as error:
            fault = f"X1 error {error.code}"
        except (UnavailableError, IdentityError) as error:
            await self._silent(error)
            return False
        thing = f"element/{self.settings.name}"
        await self._office.clear_alarm(Code.SILENT, thing)
        if fault:
            await self._office.raise_alarm(Code.REFUSES, thing, f"it answered {fault}")
        else:
            await self._office.clear_alarm(Code.REFUSES, thing)
        self._stand(fault)
        if fault:
            self._held = None
        elif wanted is self.wanted:
            self.settled.set()
        return not fault

    async def _step(self, step: Step) -> str:
        """ "" when it is done, else how it was refused."""
        fault = ""
        try:
            await self._asker.do(step.request)
        except X1Fault as error:
            fault = "" if done_already(step.request, error.code) else f"X1 error {error.code}"
        if not fault and self._held is not None:
            self._held = applied(self._held, step.request)
            self._given = frozenset(record.details.xid for record in self._held.tasks) & self.wanted.tasks.keys()
        await self._record(step, fault or "done")
        return fault

    async def _record(self, step: Step, outcome: str) -> None:
        office, name = self._office, self.settings.name
        number = next((one.number for one in office.warrants.values() if one.xid == step.task), None)
        thing = f"element/{name}" if number is None else f"warrant/{number}"
        detail: JsonObject = {"element": name, "why": step.why.value, "outcome": outcome}
        await office.note(f"x1.{name_of(step.request)}", thing, detail)
        if step.why is Why.UNKNOWN:
            await office.raise_alarm(Code.UNKNOWN_TASK, f"element/{name}", "what this ADMF never gave it was removed")
        elif step.why is Why.LOST:
            await office.raise_alarm(Code.LOST_TASK, f"element/{name}", "it no longer held what it was given")

    async def _silent(self, error: NfError) -> None:
        self._answers = False
        self._held = None
        self._stand(error.message)
        await self._office.raise_alarm(Code.SILENT, f"element/{self.settings.name}", error.message)

    def _stand(self, fault: str) -> None:
        name, now = self.settings.name, self._office.now
        if self._held is None:
            known = self._office.standings.get(name, Standing())
            self._office.standings[name] = replace(known, fault=fault)
        else:
            tasks = frozenset(record.details.xid for record in self._held.tasks)
            self._office.standings[name] = Standing(now, tasks, fault)

    def _known(self) -> set[UUID]:
        office = self._office
        dids = {did for one in office.elements.values() for did in (one.x2_did, one.x3_did)}
        dids |= {one.did for one in office.agencies.values()}
        return self._ever | dids | {one.xid for one in office.warrants.values()}


class Links:
    """`connect` makes the asker of an element; `failed` is told of what nobody foresaw, and the link begins anew."""

    def __init__(
        self,
        office: Office,
        connect: Callable[[ElementSettings], Asker],
        pace: Pace,
        failed: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._failed = failed
        self._office = office
        self._connect = connect
        self._pace = pace
        self._links: dict[str, tuple[Link, asyncio.Task[None], Asker]] = {}
        self._plan: Mapping[str, Wanted] = {}
        self._beginning: asyncio.Task[None] | None = None

    async def want(self, plan: Mapping[str, Wanted]) -> None:
        """Tasks that end, end at once everywhere; tasks that begin, begin at mediation. Returns at once."""
        await self._follow()
        self._plan = plan
        begins = False
        for link in self._of(Kind.MEDIATION):
            _tell(link, plan[link.settings.name])
        for link in self._of(Kind.POINT):
            wanted = plan[link.settings.name]
            stay = {xid: task for xid, task in wanted.tasks.items() if xid in link.wanted.tasks}
            begins = begins or len(stay) < len(wanted.tasks)
            _tell(link, Wanted(wanted.destinations, stay))
        if begins and self._beginning is None:
            self._beginning = asyncio.create_task(self._begin())

    async def _begin(self) -> None:
        try:
            async with asyncio.timeout(HEAD_START_S):
                await asyncio.gather(*(link.settled.wait() for link in self._of(Kind.MEDIATION)))
        except TimeoutError:
            pass  # a mediation element that is silent does not keep points from their tasks: they keep their product
        self._beginning = None
        for link in self._of(Kind.POINT):
            _tell(link, self._plan.get(link.settings.name, link.wanted))

    def _of(self, kind: Kind) -> list[Link]:
        return [link for link, _, _ in self._links.values() if link.settings.kind is kind]

    def doubt(self, name: str) -> None:
        """An element reports that it may not hold what it was given."""
        if name in self._links:
            self._links[name][0].doubt()

    async def check(self, name: str) -> JsonObject:
        """As `Link.check`."""
        if name not in self._links:
            raise UnavailableError("this element is not spoken with yet", where=f"element/{name}", remedy="try again")
        return await self._links[name][0].check()

    async def settled(self) -> None:
        """When every element holds what it has to hold."""
        while self._beginning is not None:
            await asyncio.gather(self._beginning)
        await asyncio.gather(*(link.settled.wait() for link, _, _ in self._links.values()))

    async def close(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.gather(self._beginning, return_exceptions=True)
        for name in tuple(self._links):
            await self._end(name)

    async def _follow(self) -> None:
        """A link for each element, by its present settings."""
        elements = self._office.elements
        for name, (link, _, _) in tuple(self._links.items()):
            if name not in elements or elements[name].settings != link.settings:
                await self._end(name)
        for name, element in elements.items():
            if name not in self._links:
                asker = self._connect(element.settings)
                link = Link(element.settings, asker, self._office, self._pace)
                self._links[name] = link, asyncio.create_task(self._keep(link)), asker

    async def _keep(self, link: Link) -> None:
        while True:
            try:
                await link.run()
            except Exception as error:  # noqa: BLE001 - one element's trouble is not another's
                self._failed(error)
                link.doubt()
            await self._office.clock.sleep(LAST_RETRY_S)

    async def _end(self, name: str) -> None:
        _, task, asker = self._links.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asker.close()


def _tell(link: Link, wanted: Wanted) -> None:
    if link.wanted != wanted or not link.settled.is_set():
        link.want(wanted)


async def wait(event: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Until the event is set, at most that long."""
    waiting = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
