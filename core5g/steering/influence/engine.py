"""TrafficInfluence resources made true: each is an influence at some UPFs, and is followed until they have it.

The fleet operation `influence` is made good by the NOC: an appliance that was away gets it when it returns. Which of
an older addition and a newer removal comes first then is nobody's promise, so what an appliance that was away really
has is looked up (`steer-list`) before a resource counts as active or as deleted.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Final

from core5g.steering.contract import INFLUENCE, STEER_LIST, Listing
from core5g.steering.influence.catalogue import Catalogue
from core5g.steering.influence.faults import ApiError
from core5g.steering.influence.resource import Input, Resource, State
from nf.contracts.json import JsonObject
from nf.contracts.noc_client import OperationOutcome
from nf.contracts.service import Note, ServiceContext
from nf.errors import NfError, NotFoundError
from nf.telemetry.alarms import Severity

_log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"""So often another line-up, and what is due, is looked for."""
KEPT_S: Final = 86_400.0
"""So long a deleted resource can still be read."""
FAILED: Final = "traffic-influence-failed"
_SHORTEST_S, _LONGEST_S = 5.0, 300.0
_SIDE_BY_SIDE: Final = 8
_UNSETTLED: Final = frozenset({State.ORDERED, State.CREATED, State.DELETING})
_SURE: Final = 2
"""So many looks in a row say that a removed influence stays away, after an appliance was away."""

Changed = Callable[[Resource], None]
"""Hears of every change of state."""


def pause_s(tries: int) -> float:
    """Until the next look at an appliance that was away. Pure."""
    return min(_SHORTEST_S * 2.0 ** min(tries, 10), _LONGEST_S)


@dataclass(slots=True)
class _Due:
    """`at`: on the monotonic clock. `absent`: looks in a row that did not find it any more, by UPF."""

    at: float
    tries: int
    absent: dict[str, int]


class Engine:
    def __init__(self, context: ServiceContext, changed: Changed) -> None:
        self._context = context
        self._clock = context.clock
        self._changed = changed
        self._resources: dict[str, Resource] = {}
        self._work: dict[str, asyncio.Task[None]] = {}
        self._due: dict[str, _Due] = {}
        self._slots = asyncio.Semaphore(_SIDE_BY_SIDE)
        self._revision = 0
        self._catalogue: tuple[int, Catalogue] | None = None

    # ---- what the API asks ----

    def catalogue(self) -> Catalogue:
        """Of what is committed now."""
        committed = self._context.committed()
        if self._catalogue is None or self._catalogue[0] != committed.revision:
            self._catalogue = (committed.revision, Catalogue(committed.lineup, committed.fleet))
        return self._catalogue[1]

    def of(self, owner: str) -> tuple[Resource, ...]:
        """Oldest first."""
        return tuple(one for one in self._resources.values() if one.owner == owner)

    def get(self, identity: str) -> Resource | None:
        return self._resources.get(identity)

    async def make_room(self, owner: str, most: int) -> bool:
        """Whether the consumer may have one more; those that are deleted make room, the oldest first."""
        own = self.of(owner)
        for one in sorted((one for one in own if one.state is State.DELETED), key=lambda one: one.changed_at):
            if len(own) < most:
                break
            await self._context.records.remove(one.id)
            self._resources.pop(one.id, None)
            own = self.of(owner)
        return len(own) < most

    async def create(self, owner: str, given: JsonObject) -> Resource:
        """Durable when it returns; the intent was checked."""
        fresh = Resource(str(uuid.uuid4()), owner, given, State.ORDERED, self._clock.now())
        await self._keep(fresh, "create")
        self._begin(fresh.id)
        return fresh

    async def change(self, resource: Resource, given: JsonObject) -> Resource:
        """Of one that is active."""
        fresh = resource.after(Input.CHANGED, self._clock.now(), given=given, why="")
        await self._keep(fresh, "change")
        self._due.pop(fresh.id, None)
        self._begin(fresh.id)
        return fresh

    async def delete(self, resource: Resource) -> Resource:
        """One that is being deleted already stays as it is.

        Who was away when it was added is looked at: the addition may be made good after the removal.
        """
        if resource.state in {State.DELETING, State.DELETED}:
            return resource
        fresh = resource.after(Input.DELETE, self._clock.now(), why="")
        await self._keep(fresh, "delete")
        self._due.pop(fresh.id, None)
        self._begin(fresh.id)
        return fresh

    async def note(self, identity: str, **changes: Any) -> None:
        """What was told to its sink."""
        known = self._resources.get(identity)
        if known is not None:
            await self._save(replace(known, **changes))

    # ---- its life ----

    async def load(self) -> None:
        """Raises IntegrityError, StorageError."""
        records = await self._context.records.all()
        found = sorted((Resource.of_record(record) for record in records.values()), key=lambda one: one.changed_at)
        self._resources = {one.id: one for one in found}
        self._revision = self._context.committed().revision
        for one in found:
            if one.state is State.ERROR:
                self._alarm(one.id, one.why)

    async def run(self) -> None:
        """Until cancelled: begin what is to be done, look up what is due, follow the line-up, drop what is old."""
        try:
            for identity in list(self._resources):
                self._begin(identity)
            while True:
                await self._clock.sleep(LOOK_S)
                await self._follow_lineup()
                await self._forget()
                now = self._clock.monotonic()
                for identity, due in list(self._due.items()):
                    if due.at <= now:
                        self._begin(identity)
        finally:
            for task in self._work.values():
                task.cancel()
            await asyncio.gather(*self._work.values(), return_exceptions=True)

    async def _follow_lineup(self) -> None:
        """Another revision: whose orders would be others now, or who failed, is ordered anew."""
        revision = self._context.committed().revision
        if revision == self._revision:
            return
        for known in list(self._resources.values()):
            if known.state not in {State.CREATED, State.ACTIVE, State.ERROR}:
                continue
            try:
                orders = self.catalogue().orders(known.id, known.intent)
                wanted = {upf: order.to_json() for upf, order in orders.by_upf.items()}
            except ApiError:
                wanted = {}
            if wanted != dict(known.at) or (known.state is State.ERROR and wanted):
                await self._keep(known.after(Input.CHANGED, self._clock.now(), why=""), "follow")
                self._begin(known.id)
        self._revision = revision

    async def _forget(self) -> None:
        now = self._clock.now()
        for known in list(self._resources.values()):
            if known.state is State.DELETED and now - known.changed_at > KEPT_S:
                await self._context.records.remove(known.id)
                self._resources.pop(known.id, None)

    def _begin(self, identity: str) -> None:
        """Unless it is worked on already: that goes on until nothing is left to do."""
        known = self._resources.get(identity)
        if known is not None and known.state in _UNSETTLED and identity not in self._work:
            task = asyncio.create_task(self._until_settled(identity), name=f"traffic influence {identity}")
            self._work[identity] = task
            task.add_done_callback(lambda ended: self._ended(identity, ended))

    def _ended(self, identity: str, ended: asyncio.Task[None]) -> None:
        self._work.pop(identity, None)
        if ended.cancelled():
            return
        if (error := ended.exception()) is not None:
            _log.error("the traffic influence %s failed", identity, exc_info=error)
            self._postpone(identity)
        elif identity not in self._due:
            self._begin(identity)  # its consumer was quicker than the end of this task

    async def _until_settled(self, identity: str) -> None:
        """Step by step; a step that cannot be taken now is due later."""
        async with self._slots:
            while True:
                try:
                    again = await self._step(self._resources[identity])
                except NfError as error:
                    _log.warning("the traffic influence %s: %s", identity, error)
                    self._postpone(identity)
                    return
                if not again:
                    return

    async def _step(self, known: Resource) -> bool:
        """Whether there is another step to take at once."""
        if known.state is State.ORDERED:
            await self._prepare(known)
            return True
        if known.state is State.CREATED:
            return await self._apply(known)
        if known.state is State.DELETING:
            return await self._remove(known)
        self._due.pop(known.id, None)
        return False

    def _postpone(self, identity: str) -> _Due:
        due = self._due.get(identity) or _Due(0.0, 0, {})
        due.at = self._clock.monotonic() + pause_s(due.tries)
        due.tries += 1
        self._due[identity] = due
        return due

    async def _prepare(self, known: Resource) -> None:
        """From the intent to orders. Those that had it and are to have it no more lose it first."""
        try:
            orders = self.catalogue().orders(known.id, known.intent)
        except ApiError as error:
            self._alarm(known.id, error.message)
            left = await self._take_back(known, known.at)
            await self._enter(known.id, State.ORDERED, Input.FAILED, why=error.message, at=left)
            return
        wanted = {upf: order.to_json() for upf, order in orders.by_upf.items()}
        await self._take_back(known, known.at.keys() - wanted.keys())
        await self._enter(
            known.id,
            State.ORDERED,
            Input.PREPARED,
            at=wanted,
            unsettled=frozenset(),
            instances=tuple(str(one) for one in orders.instances),
            device_used=orders.device,
        )

    async def _apply(self, known: Resource) -> bool:
        """Give it to every UPF, or look up what became of it at those that were away."""
        looking = bool(known.unsettled)
        targets = sorted(known.unsettled or known.at)
        answers = await asyncio.gather(*(self._settle(known, upf, looking=looking) for upf in targets))
        outcome = dict(zip(targets, answers, strict=True))
        failed = {upf: why for upf, why in outcome.items() if why not in {_DONE, _AWAY}}
        if failed:
            why = "; ".join(f"{upf}: {text}" for upf, text in sorted(failed.items()))[:500]
            self._alarm(known.id, why)
            left = await self._take_back(known, known.at) if self._stands(known) else known.at
            await self._enter(known.id, State.CREATED, Input.FAILED, why=why, at=left, unsettled=frozenset())
            return True
        away = frozenset(upf for upf, why in outcome.items() if why == _AWAY)
        if away:
            if self._stands(known) and away != known.unsettled:
                await self._save(replace(self._resources[known.id], unsettled=away))
            self._postpone(known.id)
            return not self._stands(known)
        self._context.alarm(FAILED, known.id, Severity.CLEARED)
        await self._enter(known.id, State.CREATED, Input.APPLIED, unsettled=frozenset())
        return True

    async def _settle(self, known: Resource, upf: str, *, looking: bool) -> str:
        """Done, away, or why it failed."""
        if looking:
            listing = await self._listing(upf)
            if listing is None:
                return _AWAY
            if all(known.id in one.influences for one in listing):
                return _DONE
        return await self._order(known, upf, known.at[upf])

    async def _remove(self, known: Resource) -> bool:
        """From everybody who may have it."""
        due = self._due.get(known.id) or _Due(0.0, 0, {})
        gone = [upf for upf in sorted(known.at) if await self._removed(known, upf, due)]
        left = {upf: order for upf, order in known.at.items() if upf not in gone}
        if left:
            await self._save(replace(self._resources[known.id], at=left, unsettled=frozenset(left)))
            self._due[known.id] = due
            self._postpone(known.id)
            return False
        self._context.alarm(FAILED, known.id, Severity.CLEARED)
        await self._enter(known.id, State.DELETING, Input.REMOVED, at={}, unsettled=frozenset())
        return True

    async def _removed(self, known: Resource, upf: str, due: _Due) -> bool:
        """Whether it is gone there for good. Who was away is looked at until it is absent some times in a row."""
        away = upf in known.unsettled
        listing = await self._listing(upf) if away else None
        if listing is not None and not any(known.id in one.influences for one in listing):
            due.absent[upf] = due.absent.get(upf, 0) + 1
            return due.absent[upf] >= _SURE
        due.absent.pop(upf, None)
        answer = await self._order(known, upf, _removal(known.id))
        if answer not in {_DONE, _AWAY}:
            self._alarm(known.id, f"{upf}: {answer}")
        return answer == _DONE and not away

    async def _take_back(self, known: Resource, upfs: Collection[str]) -> dict[str, JsonObject]:
        """From these; the orders of those who may have it still."""
        asked = sorted(upfs)
        answers = await asyncio.gather(*(self._order(known, upf, _removal(known.id)) for upf in asked))
        return {upf: known.at[upf] for upf, answer in zip(asked, answers, strict=True) if answer != _DONE}

    async def _order(self, known: Resource, upf: str, order: JsonObject) -> str:
        """Run the operation at one UPF: done, away, or why it failed. One that left the line-up has nothing."""
        try:
            outcome = await self._context.run_operation(INFLUENCE, upf, order, author=known.owner)
        except NotFoundError:
            return _DONE if order["action"] == "remove" else f"the line-up has no UPF {upf} that steers any more"
        return _verdict(outcome)

    async def _listing(self, upf: str) -> tuple[Listing, ...] | None:
        """What those who answer for the UPF have; None: they are away. Empty: it left the line-up."""
        author = str(self._context.identity().spiffe_id)
        try:
            outcome = await self._context.run_operation(STEER_LIST, upf, {}, author=author)
        except NotFoundError:
            return ()
        if not outcome.complete:
            return None
        return tuple(Listing.of(node.result) for node in outcome.nodes)

    # ---- what is kept ----

    def _stands(self, known: Resource) -> bool:
        """Whether it is still in the state in which a step of it was begun."""
        now = self._resources.get(known.id)
        return now is not None and now.state is known.state and now.given == known.given

    async def _enter(self, identity: str, expected: State, entered: Input, **changes: Any) -> None:
        """Unless its consumer was quicker: then what was done here is for the next step to see to."""
        known = self._resources[identity]
        if known.state is expected:
            await self._keep(known.after(entered, self._clock.now(), **changes), entered.value)

    async def _keep(self, fresh: Resource, act: str) -> None:
        """A change of state: durable, audited, told."""
        detail: JsonObject = {"state": fresh.state.value, "upfs": [*sorted(fresh.at)], "why": fresh.why}
        note = Note(fresh.owner, f"traffic-influence.{act}", fresh.id, fresh.state.value, detail)
        await self._save(fresh, note)
        self._changed(fresh)

    async def _save(self, fresh: Resource, note: Note | None = None) -> None:
        before = self._resources.get(fresh.id)
        self._resources[fresh.id] = fresh
        try:
            await self._context.records.put(fresh.id, fresh.to_record(), note)
        except NfError:
            if before is None:
                self._resources.pop(fresh.id, None)
            elif self._resources[fresh.id] is fresh:
                self._resources[fresh.id] = before
            raise

    def _alarm(self, identity: str, why: str) -> None:
        remedy = "its consumer can delete it; another line-up, or what the UPF says put right, may help"
        self._context.alarm(FAILED, identity, Severity.WARNING, why[:500], remedy)


_DONE: Final = "done"
_AWAY: Final = "away"


def _removal(identity: str) -> JsonObject:
    return {"id": identity, "action": "remove", "prefixes": [], "ues": [], "ports": []}


def _verdict(outcome: OperationOutcome) -> str:
    if outcome.complete:
        return _DONE
    bad = [node for node in outcome.nodes if node.state != "done"]
    failed = [node for node in bad if node.state == "failed"]
    if failed:
        return "; ".join(f"{node.appliance}: {node.text}" for node in failed)[:300] or "failed"
    return _AWAY
