"""An agent in memory with the bad habits of real ones, and a clock that never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headend.devices.device import Device
from headend.devices.model import Model
from headend.devices.modelfile import load_model
from headend.snmp.errors import AgentSilentError, SnmpError
from headend.snmp.target import Community, Target
from headend.snmp.values import Quality, Reading, Syntax, Varbind, Wire

TARGET = Target("127.0.0.1", 161, Community("lab"))


class InstantClock:
    """Sleeping is what makes its time pass."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return 1_700_000_000.0 + self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)
        await asyncio.sleep(0)


@dataclass
class Agent:
    """Objects by instance OID. What it does with a SET can be bent, one PDU after the other.

    ignore     OIDs whose SET is answered without an error, and nothing happens
    refuse     OID -> error-status
    rounds     OID -> what it makes of a value
    late       OID -> seconds until a value that was set shows
    reverts    OID -> seconds after which it goes back to what it had
    on_set     runs after each SET that changed something: effects in the world
    dies_after number of SETs after which it answers nothing any more
    lose_answer of SETs: it does what was asked and its answer is lost
    garbled    OIDs whose value cannot be made out
    """

    clock: InstantClock
    objects: dict[str, Wire] = field(default_factory=dict)
    ignore: set[str] = field(default_factory=set)
    refuse: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, Callable[[Wire], Wire]] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)
    reverts: dict[str, float] = field(default_factory=dict)
    on_set: Callable[[Agent], None] | None = None
    dies_after: int | None = None
    lose_answer: bool = False
    silent: bool = False
    garbled: set[str] = field(default_factory=set)
    sets: list[list[Varbind]] = field(default_factory=list)
    gets: list[tuple[str, ...]] = field(default_factory=list)
    _coming: list[tuple[float, str, Wire]] = field(default_factory=list)

    def _pass_time(self) -> None:
        due = [item for item in self._coming if item[0] <= self.clock.monotonic()]
        self._coming = [item for item in self._coming if item[0] > self.clock.monotonic()]
        for _, oid, value in sorted(due, key=lambda item: item[0]):
            self.objects[oid] = value
        if due and self.on_set is not None:
            self.on_set(self)

    async def get(self, oids: Sequence[str]) -> Mapping[str, Reading]:
        self._pass_time()
        self.gets.append(tuple(oids))
        now = self.clock.monotonic()
        if self.silent:
            return {oid: Reading(None, Quality.UNREACHABLE, now) for oid in oids}
        return {oid: self._reading(oid, now) for oid in oids}

    def _reading(self, oid: str, now: float) -> Reading:
        if oid in self.garbled:
            return Reading(None, Quality.UNREADABLE, now)
        if oid not in self.objects:
            return Reading(None, Quality.MISSING, now)
        return Reading(self.objects[oid], Quality.GOOD, now)

    async def walk(self, root: str) -> Sequence[Varbind]:
        self._pass_time()
        if self.silent:
            raise AgentSilentError("no answer", where="fake")
        found = [oid for oid in self.objects if oid.startswith(root + ".")]
        found.sort(key=lambda oid: tuple(map(int, oid.split("."))))
        return [Varbind(oid, self.objects[oid], Syntax.OCTETS) for oid in found]

    async def set(self, target: Target, varbinds: Sequence[Varbind], timeout_s: float | None = None) -> None:
        if self.silent:
            raise AgentSilentError("no answer", where="fake")
        self.sets.append(list(varbinds))
        for index, varbind in enumerate(varbinds, 1):
            if varbind.oid in self.refuse:
                raise SnmpError(self.refuse[varbind.oid], index, varbind.oid)
        for varbind in varbinds:
            self._take(varbind)
        if self.on_set is not None:
            self.on_set(self)
        if self.dies_after is not None and len(self.sets) >= self.dies_after:
            self.silent = True
        if self.silent or self.lose_answer:
            raise AgentSilentError("no answer", where="fake")

    def _take(self, varbind: Varbind) -> None:
        oid, now = varbind.oid, self.clock.monotonic()
        value = self.rounds[oid](varbind.value) if oid in self.rounds else varbind.value
        if oid in self.ignore:
            return
        if oid in self.reverts:
            self._coming.append((now + self.reverts[oid], oid, self.objects.get(oid)))
        if oid in self.late:
            self._coming.append((now + self.late[oid], oid, value))
        else:
            self.objects[oid] = value


def device(model: Model | str, agent: Agent, **more: object) -> Device:
    loaded = load_model(model, file="model.yaml") if isinstance(model, str) else model
    return Device(loaded, TARGET, agent, agent, agent.clock, name="dev1", **more)  # type: ignore[arg-type]
