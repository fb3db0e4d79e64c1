"""Draining a site: its routers tell the others to go round it, by overrides that end by themselves.

Each router-to-router link of the site gets the OSPF cost 65535 (MaxLinkMetric, RFC 6987 section 2): transit leaves
where there is another way, and what ends at the site is still reached. Nothing else moves.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from nf.clock import Clock
from nf.contracts.json import Json, JsonObject, canonical
from nf.documents.fleet import Role
from nf.errors import NfError, RefusedError, UnavailableError
from nf.noc.due import Due
from nf.noc.lineups import LineUps
from nf.noc.maintenance import DEFAULT_S, bounded_s, require_reason, require_site
from nf.noc.records import DRAINS, Book
from nf.noc.sessions import Session, Sessions
from nf.store.audit import AuditEntry
from nf.store.contract import Delete, Put

SECTION: Final = "frr"
"""The section that holds a router's OSPF costs."""
MAX_LINK_METRIC: Final = 65_535
_ASK_S: Final = 60.0
_PENDING: Final = "pending"


@dataclass(frozen=True, slots=True)
class Drain:
    """`at`, `until`: seconds since the epoch. `appliances`: the routers whose cost is raised."""

    site: str
    author: str
    reason: str
    at: float
    until: float
    appliances: tuple[str, ...]

    @property
    def tag(self) -> str:
        """Begins the reason of its overrides: by it they are found again, whatever the NOC remembers."""
        return f"drain of {self.site}: "


@dataclass(frozen=True, slots=True)
class Event:
    """Progress; `drain` in the last one."""

    state: str
    appliance: str = ""
    done: int = 0
    total: int = 0
    text: str = ""
    drain: Drain | None = None


def drained(section: JsonObject) -> JsonObject | None:
    """The merge patch that raises the cost of every link to another router; None when there is none. Pure.

    A merge patch replaces an array as a whole (RFC 7396), so every interface is in it.
    """
    interfaces = section.get("interfaces")
    entries = [entry for entry in interfaces if isinstance(entry, dict)] if isinstance(interfaces, list) else []
    if all(entry.get("passive") for entry in entries):
        return None
    raised: list[Json] = [entry if entry.get("passive") else {**entry, "cost": MAX_LINK_METRIC} for entry in entries]
    return {"interfaces": raised}


class Drains:
    def __init__(self, *, book: Book, lineups: LineUps, sessions: Sessions, clock: Clock, author: str) -> None:
        """`author`: SPIFFE id of the NOC, for what ends by itself."""
        self._book = book
        self._lineups = lineups
        self._sessions = sessions
        self._clock = clock
        self._author = author
        self._drains: dict[str, Drain] = {}
        self._changing = asyncio.Lock()
        self._due = Due("drained sites", clock, self._earliest, self._expire)

    async def start(self) -> None:
        for entry in await self._book.store.list(DRAINS):
            data: dict[str, Any] = json.loads(entry.value)
            self._drains[entry.key] = Drain(**{**data, "appliances": tuple(data["appliances"])})
        self._due.start()

    async def close(self) -> None:
        await self._due.close()

    def list(self) -> tuple[Drain, ...]:
        now = self._clock.now()
        return tuple(drain for _, drain in sorted(self._drains.items()) if drain.until > now)

    # ---- draining ----

    async def drain(self, site: str, for_s: int, reason: str, author: str) -> AsyncIterator[Event]:
        """One router after the other; a refusal of one takes all back.

        Raises NotFoundError, InputError, RefusedError (drained already; no router), UnavailableError (one is offline).
        """
        reason = require_reason(reason)
        async with self._changing:
            patches = await self._patches(site)
            drain = self._begin(site, for_s, reason, author, tuple(patches))
            await self._save(drain, author, "site.drain", "begun", {"reason": reason, "until": drain.until})
            try:
                for number, (name, patch) in enumerate(patches.items()):
                    state, text = await self._raise_cost(drain, name, patch)
                    yield Event(state, name, number + 1, len(patches), text)
            except NfError as error:
                await self._take_back(drain, author, str(error))
                raise
            await self._audit(author, "site.drain", site, "done", {"appliances": [*drain.appliances]})
        yield Event("drained", done=len(patches), total=len(patches), text=self._honest(site), drain=drain)

    async def _patches(self, site: str) -> dict[str, JsonObject]:
        current = self._lineups.current
        require_site(current.fleet, site)
        patches: dict[str, JsonObject] = {}
        for appliance in current.fleet.spec.appliances:
            if appliance.site != site or appliance.id not in current.record.configs:
                continue
            sections = (await self._lineups.config(appliance.id)).get("sections")
            section = sections.get(SECTION) if isinstance(sections, dict) else None
            patch = drained(section) if isinstance(section, dict) else None
            if patch is not None:
                patches[appliance.id] = patch
        if not patches:
            raise RefusedError(
                "no router of this site has a link to another router: no transit goes through it",
                where=site,
                remedy="work on it without a drain; `nf maintenance open` holds its alarms",
            )
        for name in patches:
            self._session(name)
        return patches

    def _begin(self, site: str, for_s: int, reason: str, author: str, appliances: tuple[str, ...]) -> Drain:
        known = self._drains.get(site)
        now = self._clock.now()
        if known is not None and known.until > now:
            raise RefusedError("it is drained already", where=site, remedy=f"nf appliance return {site}")
        longest_s = self._lineups.current.lineup.spec.policy.overrides.max_ttl_ms / 1000
        return Drain(site, author, reason, now, now + bounded_s(for_s, DEFAULT_S, longest_s), appliances)

    async def _raise_cost(self, drain: Drain, name: str, patch: JsonObject) -> tuple[str, str]:
        arguments: JsonObject = {
            "section": SECTION,
            "patch": patch,
            "reason": drain.tag + drain.reason,
            "author": drain.author,
            "ttl_s": max(1.0, drain.until - self._clock.now()),
        }
        answer = await self._session(name).request("override.add", arguments, _ASK_S)
        if isinstance(answer, dict) and answer.get("state") == _PENDING:
            return "waiting", "a commit is going on there; its cost is raised when that has ended"
        return "drained", f"its links to other routers have OSPF cost {MAX_LINK_METRIC}"

    async def _take_back(self, drain: Drain, author: str, why: str) -> None:
        for name in drain.appliances:
            session = self._sessions.get(name)
            if session is not None:
                try:
                    await _lower_cost(session, drain)
                except NfError:
                    continue  # it ends there by itself at its time
        await self._drop(drain, author, "site.drain", "failed", {"error": why[:1000]})

    def _honest(self, site: str) -> str:
        """What has moved, and what has not."""
        roles = {one.role for one in self._lineups.current.fleet.spec.appliances if one.site == site}
        told = "the other routers are told to go round it; that transit has left is not measured here"
        if Role.POP in roles:
            told += "; receivers behind its PoP stay where they are: nothing moves them yet"
        return told

    # ---- bringing it back ----

    async def bring_back(self, site: str, author: str) -> AsyncIterator[Event]:
        """Raises NotFoundError, RefusedError (not drained); at the end UnavailableError for those that are offline."""
        require_site(self._lineups.current.fleet, site)
        async with self._changing:
            drain = self._drains.get(site)
            if drain is None:
                raise RefusedError("it is not drained", where=site, remedy="see `nf appliance drained`")
            total, left = len(drain.appliances), []
            for number, name in enumerate(drain.appliances):
                session = self._sessions.get(name)
                if session is None:
                    left.append(name)
                    yield Event("offline", name, number + 1, total, "its cost goes back by itself at the drain's end")
                    continue
                await _lower_cost(session, drain)
                yield Event("returned", name, number + 1, total)
            if left:
                await self._save(replace(drain, appliances=tuple(left)), author, "site.return", "partial", {})
                raise UnavailableError(
                    f"offline: {', '.join(left)}", where=site, remedy=f"nf appliance return {site}, when they are back"
                )
            await self._drop(drain, author, "site.return", "done", {})
        yield Event("returned", done=total, total=total, text="its links have their own cost again", drain=drain)

    def _session(self, appliance: str) -> Session:
        session = self._sessions.get(appliance)
        if session is None:
            raise self._sessions.offline(appliance)
        return session

    # ---- the store ----

    async def _save(self, drain: Drain, actor: str, action: str, outcome: str, detail: JsonObject) -> None:
        audit = AuditEntry(actor, action, f"site/{drain.site}", outcome, detail)
        await self._book.store.write([Put(DRAINS, drain.site, canonical(asdict(drain)).encode())], audit)
        self._drains[drain.site] = drain
        self._due.look_again()

    async def _drop(self, drain: Drain, actor: str, action: str, outcome: str, detail: JsonObject) -> None:
        audit = AuditEntry(actor, action, f"site/{drain.site}", outcome, detail)
        await self._book.store.write([Delete(DRAINS, drain.site)], audit)
        self._drains.pop(drain.site, None)

    async def _audit(self, actor: str, action: str, site: str, outcome: str, detail: JsonObject) -> None:
        await self._book.audit(actor, action, f"site/{site}", outcome, detail)

    def _earliest(self) -> float:
        return min((drain.until for drain in self._drains.values()), default=math.inf)

    async def _expire(self) -> None:
        """The overrides have ended by themselves."""
        now = self._clock.now()
        for drain in tuple(self._drains.values()):
            if drain.until <= now:
                await self._drop(drain, self._author, "site.return", "expired", {})


async def _lower_cost(session: Session, drain: Drain) -> None:
    """End the drain's overrides there, those too that an interrupted drain has left."""
    answer = await session.request("override.list", {}, _ASK_S)
    for override in answer if isinstance(answer, list) else ():
        if isinstance(override, dict) and str(override.get("reason", "")).startswith(drain.tag):
            await session.request("override.end", {"id": override["id"]}, _ASK_S)
