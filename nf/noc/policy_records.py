"""What the policy keeps in the store, so that a NOC that starts anew decides as if it had not stopped.

spot/CHANNEL/SITE   the engine's state, whom it follows, who holds it
switch/NUMBER       one switch of the last ones, for `nf path history`
number              no ranking has been told with this number or a higher one
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from nf.contracts.json import JsonObject, canonical
from nf.errors import IntegrityError, NfError
from nf.noc.policy_places import Pair
from nf.noc.records import POLICY, Book
from nf.policy.model import Phase, State
from nf.store.audit import AuditEntry
from nf.store.contract import Change, Delete, Put

_log = logging.getLogger(__name__)

SWITCHES: Final = 1_000
"""So many are kept."""
BLOCK: Final = 10_000
"""Numbers of rankings are reserved so many at a time."""

_SPOT, _SWITCH, _NUMBER = "spot/", "switch/", "number"


@dataclass(frozen=True, slots=True)
class Hold:
    """Times are seconds since the epoch."""

    author: str
    reason: str
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class SpotRecord:
    """`state` None: nothing was decided yet. `follows`: the path whose fallback an appliance has taken by itself, while
    the NOC goes with it. `reason`: of the last switch. `approver`: who approved a return that has not happened yet."""

    state: State | None = None
    follows: str = ""
    reason: str = ""
    hold: Hold | None = None
    approver: str = ""

    def lasting(self) -> tuple[object, ...]:
        """What a restart must not lose; the rest begins anew, which is never too early."""
        state = self.state
        known = None if state is None else (state.active, state.switches, state.approved, state.number)
        return known, self.follows, self.reason, self.hold, self.approver


@dataclass(frozen=True, slots=True)
class Switch:
    """`kind`: failover, failback, restart, or of a whole site: site-out (no `target`), site-back (no `source`); `tier`:
    T0, an appliance by itself, T1, the NOC, T2, the NOC for a whole site. `at`: seconds since the epoch; `author`: who
    approved it, or the NOC."""

    number: int
    at: float
    channel: str
    site: str
    source: str
    target: str
    kind: str
    tier: str
    reason: str
    author: str


class PolicyRecords:
    """In memory, and in the store. Methods that write raise StorageError, BusyError."""

    def __init__(self, book: Book) -> None:
        self._store = book.store
        self.spots: dict[Pair, SpotRecord] = {}
        self.switches: deque[Switch] = deque()
        self.number = 0
        self._reserved = 0
        self._next_switch = 1

    async def load(self) -> None:
        for entry in await self._store.list(POLICY):
            data = json.loads(entry.value)
            if entry.key.startswith(_SPOT):
                channel, site = entry.key.removeprefix(_SPOT).split("/")
                try:
                    self.spots[channel, site] = _spot(data)
                except IntegrityError as error:
                    _log.warning("%s: %s", entry.key, error)
            elif entry.key.startswith(_SWITCH):
                self.switches.append(Switch(**data))
            else:
                self.number = self._reserved = int(data["number"])
        if self.switches:
            self._next_switch = self.switches[-1].number + 1

    def switch(self, **facts: Any) -> Switch:
        number, self._next_switch = self._next_switch, self._next_switch + 1
        return Switch(number=number, **facts)

    async def keep(self, key: Pair, record: SpotRecord, made: Sequence[Switch]) -> None:
        """With the switches that led to it, and their audit. Raises StorageError, BusyError; then nothing is kept."""
        changes: list[Change] = [Put(POLICY, f"{_SPOT}{key[0]}/{key[1]}", _dump(record))]
        changes += [Put(POLICY, _switch_key(one.number), canonical(asdict(one)).encode()) for one in made]
        surplus = [*self.switches, *made][: max(0, len(self.switches) + len(made) - SWITCHES)]
        changes += [Delete(POLICY, _switch_key(one.number)) for one in surplus]
        await self._store.write(changes, _audit(made))
        self.switches.extend(made)
        for _ in surplus:
            self.switches.popleft()
        self.spots[key] = record

    async def drop(self, key: Pair) -> None:
        """It is not in the line-up any more. What cannot be removed now is removed after the next line-up."""
        try:
            await self._store.write([Delete(POLICY, f"{_SPOT}{key[0]}/{key[1]}")])
        except NfError as error:
            _log.warning("what the policy kept of %s at %s stays: %s", *key, error)
        else:
            self.spots.pop(key, None)

    async def next_number(self) -> int:
        """Higher than all before, also those of lives before this one."""
        if self.number + 1 >= self._reserved:
            reserved = self.number + BLOCK
            try:
                await self._store.write([Put(POLICY, _NUMBER, canonical({"number": reserved}).encode())])
                self._reserved = reserved
            except NfError as error:
                _log.warning("numbers of rankings cannot be reserved: %s; it is tried again with the next", error)
        self.number += 1
        return self.number


def _audit(made: Sequence[Switch]) -> AuditEntry | None:
    """Of the last one; there are several when an appliance's own led to another, or the store could not be written."""
    if not made:
        return None
    last = made[-1]
    detail: JsonObject = {"from": made[0].source, "to": last.target, "tier": last.tier, "reason": last.reason}
    return AuditEntry(last.author, f"path.{last.kind}", f"path/{last.channel}/{last.site}", "done", detail)


def _switch_key(number: int) -> str:
    return f"{_SWITCH}{number:012d}"


def _dump(record: SpotRecord) -> bytes:
    state = None if record.state is None else record.state.to_json()
    hold = None if record.hold is None else asdict(record.hold)
    rest = {"follows": record.follows, "reason": record.reason, "approver": record.approver}
    return canonical({"state": state, "hold": hold, **rest}).encode()


def _spot(data: Mapping[str, Any]) -> SpotRecord:
    """The phase is found anew, so that what is told on entering it is told again."""
    state = None if data["state"] is None else State.from_json({**data["state"], "phase": Phase.SETTLED.value})
    hold = None if data["hold"] is None else Hold(**data["hold"])
    return SpotRecord(state, data["follows"], data["reason"], hold, data["approver"])
