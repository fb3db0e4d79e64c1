"""The policy of the NOC (T1, T2): verdicts of all paths at all sites, the switches that follow, rankings for who asks.

What an appliance has done by itself (T0) is taken as fact: while it says that it is on a path's fallback, the channel
is taken to be on that there, and goes back when the appliance does; the NOC decides nothing against it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from nf.clock import Clock
from nf.contracts.paths import PathHealth, Ranking
from nf.errors import NfError, NotFoundError
from nf.noc.lineups import LineUps
from nf.noc.policy_alarms import SITE_OUT, PolicyAlarms
from nf.noc.policy_measure import Measurements
from nf.noc.policy_places import Pair, Places, Spot, places
from nf.noc.policy_rankings import Rankings
from nf.noc.policy_records import Hold, PolicyRecords, SpotRecord, Switch
from nf.noc.policy_view import candidates, order_of
from nf.noc.records import Book
from nf.noc.sessions import Sessions
from nf.noc.telemetry import Telemetry
from nf.policy.documents import rules_of
from nf.policy.engine import Action, Kind, adopt, next_due, step
from nf.policy.health import judge
from nf.telemetry.alarms import Severity

_log = logging.getLogger(__name__)

UNKEPT: Final = "policy-not-kept"
SITE_BACK: Final = "site-back"
_LOOK_S: Final = 1.0
"""What changes by time alone is looked for so often."""
_SHORTEST_S: Final = 0.1
"""Between two evaluations: what comes meanwhile is taken together."""
_SLICE: Final = 4_000
"""Channels at sites that are looked at anew in one look; others wait for the next, or for something new of them."""


@dataclass(frozen=True, slots=True)
class Look:
    """A channel at a site as it stands. `barred`: why the active path stays although it is bad."""

    spot: Spot
    health: tuple[PathHealth, ...]
    ranking: Ranking
    record: SpotRecord
    barred: str


class Policy:
    """Implements `nf.contracts.paths.Paths`."""

    def __init__(
        self, *, book: Book, lineups: LineUps, sessions: Sessions, telemetry: Telemetry, clock: Clock, author: str
    ) -> None:
        """`author`: SPIFFE id of the NOC."""
        self.records = PolicyRecords(book)
        self._rankings = Rankings(self.records)
        self._measurements = Measurements(telemetry, sessions, clock, self._changed)
        self._alarms = PolicyAlarms(telemetry, self._measurements)
        self._lineups = lineups
        self._telemetry = telemetry
        self._clock = clock
        self._author = author
        self._origin = clock.now() - clock.monotonic()
        self._places = Places(0, {}, {}, {})
        self._health: dict[Pair, dict[str, PathHealth]] = {}
        self._barred: dict[Pair, str] = {}
        self._due: dict[Pair, float] = {}
        self._dirty: set[Pair] = set()
        self._rest: list[Pair] = []
        self._unkept: dict[Pair, list[Switch]] = {}
        self._wake = asyncio.Event()
        self._changing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """What was kept; from now on it hears what the fleet measures."""
        await self.records.load()
        self._telemetry.listeners.append(self._measurements)

    async def start(self) -> None:
        await self.load()
        self._task = asyncio.create_task(self._run(), name="policy")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._rankings.close()

    # ---- nf.contracts.paths.Paths ----

    def health(self) -> tuple[PathHealth, ...]:
        return tuple(one for found in self._health.values() for one in found.values())

    def rankings(self) -> tuple[Ranking, ...]:
        return self._rankings.all()

    def changes(self) -> AsyncIterator[Ranking]:
        return self._rankings.changes()

    # ---- for who shows and changes it ----

    def look(self, key: Pair) -> Look | None:
        """None: it is not in the line-up, or not evaluated yet."""
        spot, ranking = self._places.spots.get(key), self._rankings.get(key)
        if spot is None or ranking is None:
            return None
        health = tuple(self._health[key][at.path.id] for at in spot.paths)
        return Look(spot, health, ranking, self.records.spots.get(key, SpotRecord()), self._barred.get(key, ""))

    def looks(self) -> tuple[Look, ...]:
        return tuple(found for key in self._places.spots if (found := self.look(key)) is not None)

    def require(self, channel: str, site: str) -> Look:
        """Raises NotFoundError."""
        found = self.look((channel, site))
        if found is not None:
            return found
        sites = sorted(known for name, known in self._places.spots if name == channel)
        remedy = f"sites of {channel}: {', '.join(sites)}" if sites else "see `nf path list`"
        raise NotFoundError("no path of this channel comes to the site", where=f"{channel}/{site}", remedy=remedy)

    def on_fallback(self, spot: Spot) -> str:
        """The path whose fallback an appliance of the site has taken by itself; "" when there is none."""
        find = self._measurements.fallback
        return next((at.path.id for at in spot.paths if find(spot.channel, at) is not None), "")

    async def approve(self, key: Pair, path: str, author: str) -> Look:
        """Let `path` return, as far as the limits allow; what is then. Raises NotFoundError."""
        async with self._changing:
            known = self.require(*key)
            await self._one(known.spot, replace(known.record, approver=author), frozenset({path}))
            return self.require(*key)

    async def hold(self, key: Pair, hold: Hold | None) -> Look:
        """Nothing is switched there until then; None: no longer held. Raises NotFoundError."""
        async with self._changing:
            known = self.require(*key)
            await self._one(known.spot, replace(known.record, hold=hold))
            return self.require(*key)

    # ---- when ----

    def _now(self) -> float:
        """In seconds since the epoch; it goes on evenly while the NOC runs, whatever is done to the clock."""
        return self._origin + self._clock.monotonic()

    def _changed(self, appliance: str) -> None:
        keys = self._places.by_appliance.get(appliance)
        if keys:
            self._dirty |= keys
            self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self.evaluate()
            except Exception:  # noqa: BLE001 - what cannot be judged must not end the policy of all others
                _log.exception("the policy could not be evaluated")
            await self._clock.sleep(_SHORTEST_S)
            if not self._wake.is_set():
                await self._wait()

    async def _wait(self) -> None:
        due = min(self._due.values(), default=float("inf")) - self._now()
        woken = asyncio.ensure_future(self._wake.wait())
        slept = asyncio.ensure_future(self._clock.sleep(max(0.0, min(_LOOK_S, due))))
        try:
            await asyncio.wait({woken, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()

    async def evaluate(self) -> None:
        """What is new since the last time, what is due, and of the rest so much that everything comes round."""
        async with self._changing:
            self._wake.clear()
            await self._follow_lineup()
            for appliance in self._measurements.look(frozenset(self._places.by_appliance)):
                self._dirty |= self._places.by_appliance[appliance]
            now = self._now()
            keys = self._dirty | {key for key, due in self._due.items() if due <= now} | set(self._slice())
            self._dirty = set()
            for key in self._places.spots.keys() & keys:
                await self._one(self._places.spots[key], self.records.spots.get(key, SpotRecord()))
            await self._tell_sites()

    async def _tell_sites(self) -> None:
        """Steering sends the viewers of a site that is out to others: that is a switch of each of its channels."""
        gone, back = self._alarms.tell_sites(self._rankings.all())
        if not gone | back:
            return
        newest = {(one.channel, one.site): one.kind for one in self.records.switches}
        for key, spot in self._places.spots.items():
            state = self.records.spots.get(key, SpotRecord()).state
            if state is None or spot.site not in gone | back or (spot.site in gone and newest.get(key) == SITE_OUT):
                continue  # a NOC that starts anew finds what it has told already
            kind, source, target, reason = (
                (SITE_OUT, state.active, "", "no channel has a path left at the site: its viewers are sent elsewhere")
                if spot.site in gone
                else (SITE_BACK, "", state.active, "the site has a path again: its viewers come back")
            )
            made = self._switched(spot, source, target, kind=kind, tier="T2", reason=reason, author=self._author)
            await self._keep(key, self.records.spots[key], [made])

    def _slice(self) -> list[Pair]:
        """Every one comes round: a verdict may change because nothing comes any more."""
        if not self._rest:
            self._rest = list(self._places.spots)
        taken, self._rest = self._rest[:_SLICE], self._rest[_SLICE:]
        return taken

    async def _follow_lineup(self) -> None:
        current = self._lineups.current
        if current.record.revision == self._places.revision:
            return
        before, self._places = self._places, places(current)
        for key in (before.spots.keys() | self.records.spots.keys()) - self._places.spots.keys():
            self._alarms.drop(key)
            self._rankings.drop(key)
            for kept in (self._health, self._barred, self._due):
                kept.pop(key, None)
            self._unkept.pop(key, None)
            await self.records.drop(key)
        self._measurements.forget(frozenset(before.site_of.keys() - self._places.site_of.keys()))
        self._rest = []
        self._dirty |= self._places.spots.keys()

    # ---- what ----

    async def _one(self, spot: Spot, record: SpotRecord, approvals: frozenset[str] = frozenset()) -> None:
        key, health, now = spot.key, self._judge(spot), self._now()
        if record.hold is not None and record.hold.until <= self._clock.now():
            record = replace(record, hold=None)
        record, made = self._go_along(spot, record, now)
        rules, held = rules_of(spot.failover), record.hold is not None
        state, actions = step(record.state, rules, candidates(spot, health), now, approvals=approvals, held=held)
        for action in actions:
            if action.switches:
                by = record.approver if action.kind is Kind.FAILBACK and record.approver else self._author
                made.append(self._switch(spot, action, "T1", by))
                record = replace(record, reason=action.reason)
            elif action.kind in {Kind.BARRED, Kind.FREED}:
                self._barred[key] = action.reason if action.target and action.kind is Kind.BARRED else ""
        record = replace(record, state=state, approver=record.approver if state.approved else "")
        await self._keep(key, record, made)
        self._due.pop(key, None)
        if (due := next_due(state, rules)) is not None:
            self._due[key] = due
        await self._rankings.put(key, order_of(spot, health, record))
        self._alarms.tell(spot, health, record, self._clock.now(), barred=self._barred.get(key, ""))

    def _judge(self, spot: Spot) -> Mapping[str, PathHealth]:
        kept, measured = self._health.setdefault(spot.key, {}), self._measurements
        for name in kept.keys() - {at.path.id for at in spot.paths}:
            del kept[name]
        for at in spot.paths:
            name = at.path.id
            found = judge(measured.readings(at), measured.facts(spot.channel, at), measured.thresholds)
            before = kept.get(name)
            if before is None or before.verdict is not found.verdict:
                since = self._clock.now()
                kept[name] = PathHealth(spot.channel, name, at.path.type, spot.site, found.verdict, found.reason, since)
            elif before.reason != found.reason:
                kept[name] = replace(before, reason=found.reason)
        return kept

    def _go_along(self, spot: Spot, record: SpotRecord, now: float) -> tuple[SpotRecord, list[Switch]]:
        """With an appliance that has taken a path's fallback by itself, and back."""
        state = record.state
        if state is None:
            return record, []
        by_id = {at.path.id: at for at in spot.paths}
        at = by_id.get(record.follows or state.active)
        alarm = None if at is None else self._measurements.fallback(spot.channel, at)
        if not record.follows:
            if at is None or alarm is None or at.fallback not in by_id:
                return record, []
            action = Action(Kind.FAILOVER, state.active, at.fallback, alarm.text)
            record = replace(record, follows=at.path.id, reason=alarm.text)
        elif at is None or state.active != at.fallback:
            return replace(record, follows=""), []
        elif alarm is not None or not at.here <= self._measurements.told:
            return record, []  # who has not listed its alarms since this NOC began may still be there
        else:
            action = Action(Kind.FAILBACK, state.active, at.path.id, "the appliance has gone back by itself")
            record = replace(record, follows="", reason=action.reason)
        made = self._switch(spot, action, "T0", self._author)
        return replace(record, state=adopt(state, action.target, now)), [made]

    def _switch(self, spot: Spot, action: Action, tier: str, author: str) -> Switch:
        kind, reason = action.kind.value, action.reason
        return self._switched(spot, action.source, action.target, kind=kind, tier=tier, reason=reason, author=author)

    def _switched(
        self, spot: Spot, source: str, target: str, *, kind: str, tier: str, reason: str, author: str
    ) -> Switch:
        return self.records.switch(
            at=self._clock.now(),
            channel=spot.channel,
            site=spot.site,
            source=source,
            target=target,
            kind=kind,
            tier=tier,
            reason=reason,
            author=author,
        )

    async def _keep(self, key: Pair, record: SpotRecord, made: list[Switch]) -> None:
        """It counts from now on, also when it cannot be written: viewers do not wait for the NOC's disk."""
        before = self.records.spots.get(key)
        self.records.spots[key] = record
        if before is not None and before.lasting() == record.lasting() and not made and key not in self._unkept:
            return
        self._unkept.setdefault(key, []).extend(made)
        try:
            await self.records.keep(key, record, self._unkept[key])
        except NfError as error:
            text = f"decisions of the policy are not written down: {error}"
            self._telemetry.alarm(UNKEPT, self._author, Severity.CRITICAL, text, error.remedy)
            return
        del self._unkept[key]
        if not self._unkept:
            self._telemetry.clear(UNKEPT, self._author)
