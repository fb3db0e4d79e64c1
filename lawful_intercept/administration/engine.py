"""The clock's part: warrants begin and end to the second, and elements are told at once.

Nothing begins while this machine's clock is not known to be right; what is over ends in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from lawful_intercept.administration import warrants
from lawful_intercept.administration.alarms import Code
from lawful_intercept.administration.elements import ElementSettings
from lawful_intercept.administration.links import Links, wait
from lawful_intercept.administration.office import Office
from lawful_intercept.administration.tasking import Wanted, plan, tasks_of
from lawful_intercept.administration.warrants import ENDED, Act, State, Warrant
from nf.errors import NfError, RefusedError

LOOK_S: Final = 1.0
"""The longest sleep: a clock that is set forward is noticed."""
CLOCK_AGAIN_S: Final = 5.0


class Synchronised(Protocol):
    """As `lawful_intercept.timesync.TimeSync`."""

    async def require(self) -> object:
        """How the clock stands, as text. Raises RefusedError."""


class Engine:
    """`linger`: how long mediation keeps the task of a warrant that has ended."""

    def __init__(self, office: Office, links: Links, timesync: Synchronised, linger: timedelta) -> None:
        self._office = office
        self._links = links
        self._timesync = timesync
        self._linger = linger
        self._clock_asked: datetime | None = None

    async def run(self) -> None:
        """For ever; cancel it."""
        office = self._office
        told: tuple[Mapping[str, Wanted], Mapping[str, ElementSettings]] | None = None
        boundary = office.now
        while True:
            changed = office.changed.is_set()
            office.changed.clear()
            await self.due()
            if changed or office.changed.is_set() or office.now >= boundary:
                office.changed.clear()
                boundary = self._boundary(office.now)
                wanted = plan(office.warrants.values(), office.site, office.now, self._linger)
                settings = {name: one.settings for name, one in office.elements.items()}
                if (wanted, settings) != told:
                    await self._links.want(wanted)
                    told = wanted, settings
                await self._complain()
            await office.flush()
            await wait(office.changed, office.clock, self._next(boundary))

    def _boundary(self, now: datetime) -> datetime:
        """When elements have to hold something else next, without anybody doing anything."""
        ends = [one.content.stop for one in self._office.warrants.values() if one.state is State.ACTIVE]
        ends += [one.stopped_at + self._linger for one in self._office.warrants.values() if one.was_active]
        return min((at for at in ends if at > now), default=now + timedelta(days=1))

    async def due(self) -> None:
        """What the clock asks for now."""
        office = self._office
        found = [(one, warrants.due(one, office.now)) for one in tuple(office.warrants.values())]
        for warrant, act in found:
            if act is Act.EXPIRE:
                await self._change(warrant, warrants.expire, "warrant.expire", "")
        beginning = [warrant for warrant, act in found if act is Act.ACTIVATE]
        if beginning:
            state = await self._clock_state()
            for warrant in beginning if state else ():
                await self._change(warrant, warrants.activate, "warrant.activate", state)

    async def _change(
        self, seen: Warrant, change: Callable[[Warrant, datetime], Warrant], action: str, clock: str
    ) -> None:
        office = self._office
        async with office.lock:
            warrant = office.warrants[seen.number]
            if warrant.state is not seen.state:
                return
            deed = office.self_deed(action, f"warrant/{warrant.number}", {"clock": clock} if clock else {})
            try:
                await office.keep_warrants(deed, change(warrant, office.now))
            except NfError:  # it is tried again; what is over is over all the same (`plan`)
                await office.store_failed()

    async def _clock_state(self) -> str:
        """How the clock stands, "" when nothing may begin by it."""
        office = self._office
        if self._clock_asked is not None and office.now < self._clock_asked + timedelta(seconds=CLOCK_AGAIN_S):
            return ""
        try:
            state = str(await self._timesync.require())
        except RefusedError as error:
            self._clock_asked = office.now
            await office.raise_alarm(Code.CLOCK, "clock", error.where or error.message)
            return ""
        self._clock_asked = None
        await office.clear_alarm(Code.CLOCK, "clock")
        return state

    async def _complain(self) -> None:
        """Of warrants that stand and cannot be tasked; what was told of those that have ended is over."""
        office = self._office
        for warrant in tuple(office.warrants.values()):
            thing = f"warrant/{warrant.number}"
            fault = ""
            if warrant.state is State.ACTIVE:
                try:
                    tasks_of(warrant, office.site)
                except RefusedError as error:
                    fault = error.message
            if fault:
                await office.raise_alarm(Code.NOT_TASKED, thing, fault)
            else:
                await office.clear_alarm(Code.NOT_TASKED, thing)

        ended = {str(one.number) for one in office.warrants.values() if one.state in ENDED}
        for code, thing in tuple(office.alarms):
            if code is Code.TASK and thing.startswith("warrant/") and thing.split("/")[1] in ended:
                await office.clear_alarm(code, thing)

    def _next(self, boundary: datetime) -> float:
        """Seconds until the next change, at most `LOOK_S`."""
        office = self._office
        now = office.now
        changes = [at for one in office.warrants.values() if (at := warrants.next_change(one)) is not None and at > now]
        least = min((*changes, boundary, now + timedelta(seconds=LOOK_S))) - now
        return max(0.001, least.total_seconds())
