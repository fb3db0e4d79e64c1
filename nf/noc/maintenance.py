"""Maintenance windows: a site is worked on, so nobody repairs it, alarms about it are held, and commits leave it out.

A window ends by itself at its time and survives a restart of the NOC. What is behind then catches up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from nf.clock import Clock
from nf.contracts.json import canonical
from nf.documents.fleet import Criticality, Fleet
from nf.documents.quantities import format_duration
from nf.errors import BusyError, CommitRefused, InputError, NfError, NotFoundError, Problem, RefusedError
from nf.noc.due import Due
from nf.noc.lineups import LineUps
from nf.noc.records import MAINTENANCE, Book
from nf.noc.sessions import Session, Sessions
from nf.store.audit import AuditEntry
from nf.store.contract import Delete, Put
from nf.trust.spiffe import SpiffeId

_log = logging.getLogger(__name__)

DEFAULT_S: Final = 7_200
LONGEST_S: Final = 7 * 86_400
_TELL_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Window:
    """`opened_at`, `until`: seconds since the epoch."""

    site: str
    author: str
    reason: str
    opened_at: float
    until: float


def require_reason(reason: str) -> str:
    """What a person gave as the reason, bounded. Raises InputError when it says nothing."""
    if not reason.strip():
        raise InputError("a reason is needed", where="reason", remedy="say why; it is shown and audited")
    return reason.strip()[:500]


def bounded_s(for_s: int, default_s: int, longest_s: float) -> int:
    """Raises InputError when it is longer than `longest_s`; 0 is the default."""
    chosen = for_s or int(min(default_s, longest_s))
    if chosen > longest_s:
        raise too_long(chosen, longest_s)
    return chosen


def too_long(for_s: int, longest_s: float) -> InputError:
    """The error for a time that somebody asked for."""
    asked, longest = (format_duration(int(seconds * 1000)) for seconds in (for_s, longest_s))
    return InputError(f"longer than {longest}", where=f"for {asked}", remedy=f"choose {longest} or less")


def require_site(fleet: Fleet, site: str) -> None:
    """Raises NotFoundError."""
    known = sorted(one.id for one in fleet.spec.sites)
    if site not in known:
        raise NotFoundError("no such site", where=site, remedy=f"one of: {', '.join(known)}")


class Maintenance:
    def __init__(
        self,
        *,
        book: Book,
        lineups: LineUps,
        sessions: Sessions,
        clock: Clock,
        author: str,
        doing: Callable[[], str],
        ended: Callable[[], None],
    ) -> None:
        """`author`: the NOC. `doing`: what commit holds the fleet now, in words. `ended`: a window is over."""
        self._book = book
        self._lineups = lineups
        self._sessions = sessions
        self._clock = clock
        self._author = author
        self._doing = doing
        self._ended = ended
        self._windows: dict[str, Window] = {}
        self._due = Due("maintenance windows", clock, self._earliest, self._expire)

    async def start(self) -> None:
        for entry in await self._book.store.list(MAINTENANCE):
            self._windows[entry.key] = Window(**json.loads(entry.value))
        self._due.start()

    async def close(self) -> None:
        await self._due.close()

    # ---- asking ----

    def windows(self) -> tuple[Window, ...]:
        now = self._clock.now()
        return tuple(window for _, window in sorted(self._windows.items()) if window.until > now)

    def of_site(self, site: str) -> Window | None:
        window = self._windows.get(site)
        return window if window is not None and window.until > self._clock.now() else None

    def of_appliance(self, appliance: str) -> Window | None:
        if not self._windows:
            return None
        try:
            return self.of_site(self._lineups.current.appliance(appliance).site)
        except NotFoundError:
            return None

    def held_until(self, appliance: str) -> float:
        """Until when nothing is repaired there, seconds since the epoch; 0 = not held."""
        window = self.of_appliance(appliance)
        return window.until if window is not None else 0.0

    def appliances(self, site: str) -> tuple[str, ...]:
        return tuple(one.id for one in self._lineups.current.fleet.spec.appliances if one.site == site)

    def admit(self, fleet: Fleet, without_sites: tuple[str, ...]) -> None:
        """Whether a commit may go on. Raises CommitRefused unless it names every site that is under maintenance."""
        touched = {appliance.site for appliance in fleet.spec.appliances}
        hit = [window for window in self.windows() if window.site in touched and window.site not in without_sites]
        if not hit:
            return
        problems = [
            Problem(f"is under maintenance: {window.reason} ({_short(window.author)})", "", key=f"site {window.site}")
            for window in hit
        ]
        required = {site.id for site in fleet.spec.sites if site.criticality is Criticality.REQUIRED}
        remedy = "; ".join(_way_out(window.site, required=window.site in required) for window in hit)
        names = ", ".join(window.site for window in hit)
        raise CommitRefused(f"under maintenance: {names}", where="commit", remedy=remedy, problems=problems)

    # ---- changing ----

    async def open(self, site: str, for_s: int, reason: str, author: str) -> tuple[Window, tuple[str, ...]]:
        """The window, and who is offline and hears of it later.

        Raises NotFoundError, InputError, RefusedError (open already), BusyError (a commit holds the fleet).
        """
        require_site(self._lineups.current.fleet, site)
        reason, seconds = require_reason(reason), bounded_s(for_s, DEFAULT_S, LONGEST_S)
        if self.of_site(site) is not None:
            raise RefusedError("its window is open already", where=site, remedy=f"nf maintenance close {site}")
        if doing := self._doing():
            raise BusyError(doing, where=site, remedy="wait until it has ended, or confirm or roll back what is held")
        now = self._clock.now()
        window = Window(site, author, reason, now, now + seconds)
        # In memory first: a commit that begins while this is written must find it.
        self._windows[site] = window
        try:
            audit = AuditEntry(
                author, "maintenance.open", f"site/{site}", "done", {"reason": reason, "until": window.until}
            )
            await self._book.store.write([Put(MAINTENANCE, site, canonical(asdict(window)).encode())], audit)
        except BaseException:
            self._windows.pop(site, None)
            raise
        self._due.look_again()
        return window, await self._tell(site, window.until)

    async def end(self, site: str, author: str) -> None:
        """Raises NotFoundError when no window of it is open."""
        if self.of_site(site) is None:
            raise NotFoundError("no window is open", where=site, remedy="see `nf maintenance list`")
        await self._remove(site, author, "done")
        await self._tell(site, 0.0)

    async def _remove(self, site: str, author: str, outcome: str) -> None:
        audit = AuditEntry(author, "maintenance.close", f"site/{site}", outcome)
        await self._book.store.write([Delete(MAINTENANCE, site)], audit)
        self._windows.pop(site, None)
        self._ended()

    async def _tell(self, site: str, until: float) -> tuple[str, ...]:
        """Who could not be told; each hears it in its next welcome."""
        names = self.appliances(site)
        told = await asyncio.gather(*(self._tell_one(self._sessions.get(name), until) for name in names))
        return tuple(name for name, heard in zip(names, told, strict=True) if not heard)

    async def _tell_one(self, session: Session | None, until: float) -> bool:
        if session is None:
            return False
        try:
            await session.request("reconcile.hold", {"until": until}, _TELL_S)
        except NfError as error:
            _log.warning("%s was not told of the maintenance window: %s", session.appliance, error)
            return False
        return True

    def _earliest(self) -> float:
        return min((window.until for window in self._windows.values()), default=math.inf)

    async def _expire(self) -> None:
        now = self._clock.now()
        for site in [site for site, window in self._windows.items() if window.until <= now]:
            await self._remove(site, self._author, "expired")


def _short(author: str) -> str:
    """`operator/anna`: everybody here is of one trust domain."""
    found = SpiffeId.parse(author)
    return f"{found.kind}/{found.name}"


def _way_out(site: str, *, required: bool) -> str:
    if required:
        return f"it is required, so no commit leaves it out: nf maintenance close {site}"
    return f"leave it out by name: --without {site}"
