"""The driver contract: one network function (a daemon, or a device behind SNMP), observed, planned, changed, proved.

A driver is any object with these members; there is no base class. The transaction engine is its only caller.

Order of calls in a transaction: `observe`, `plan`, `check`; then for each step `prepare`, `apply`; then `verify`.
On failure or at the deadline: `undo` for every prepared step, last first. All of it may be repeated after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nf.clock import Clock
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import Units
from nf.documents.model import DocumentModel
from nf.telemetry.alarms import AlarmEvent
from nf.telemetry.samples import Sample


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a driver alone may change on its appliance. Two drivers that overlap are refused at start.

    Paths are absolute prefixes; ports are "udp/5000"; rule and route ranges name a table or protocol number.
    """

    nft_tables: frozenset[str] = frozenset()
    route_protocols: frozenset[int] = frozenset()
    rule_priorities: frozenset[int] = frozenset()
    ports: frozenset[str] = frozenset()
    paths: frozenset[Path] = frozenset()
    units: frozenset[str] = frozenset()
    oids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class State:
    """What the live thing is now, read and never believed.

    `value` is the section as it stands (same shape as the wanted section, JSON), restricted to what the driver owns;
    None when the function is not there at all. `facts` are the ordering facts that hold right now.
    """

    value: JsonObject | None
    facts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """One change to one network function. `kind` and `arguments` are versioned JSON: recovery replays them.

    id            unique within its appliance and transaction, stable between two plans of the same change
    requires      facts that must hold before; provides: facts that hold afterwards (compared exactly)
    budget_s      longest time `apply` may take; `undo_budget_s` likewise for `undo`
    disruption    what it costs, in an operator's words; empty = nothing a viewer would notice
    reversible    False = runs after CONFIRM, retried under alarm, and needs `--accept`
    """

    id: str
    kind: str
    arguments: JsonObject
    version: int = 1
    requires: frozenset[str] = frozenset()
    provides: frozenset[str] = frozenset()
    budget_s: float = 5.0
    undo_budget_s: float = 5.0
    disruption: str = ""
    reversible: bool = True
    summary: str = ""

    def to_json(self) -> JsonObject:
        return {
            "id": self.id,
            "kind": self.kind,
            "version": self.version,
            "arguments": self.arguments,
            "requires": [*sorted(self.requires)],
            "provides": [*sorted(self.provides)],
            "budget_s": self.budget_s,
            "undo_budget_s": self.undo_budget_s,
            "disruption": self.disruption,
            "reversible": self.reversible,
            "summary": self.summary,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Step:
        arguments = data["arguments"]
        requires, provides = data["requires"], data["provides"]
        if not isinstance(arguments, dict) or not isinstance(requires, list) or not isinstance(provides, list):
            raise ValueError("a step's arguments are an object and its facts are lists")  # noqa: TRY004 - bad data
        return cls(
            id=str(data["id"]),
            kind=str(data["kind"]),
            version=int(str(data["version"])),
            arguments=arguments,
            requires=frozenset(map(str, requires)),
            provides=frozenset(map(str, provides)),
            budget_s=float(str(data["budget_s"])),
            undo_budget_s=float(str(data["undo_budget_s"])),
            disruption=str(data["disruption"]),
            reversible=bool(data["reversible"]),
            summary=str(data["summary"]),
        )


@dataclass(frozen=True, slots=True)
class Undo:
    """Everything needed to take a step back, as plain data; journalled before `apply` runs."""

    kind: str
    data: JsonObject


@dataclass(frozen=True, slots=True)
class Drift:
    """How the live thing differs from what is wanted, one line each in an operator's words. Empty = effective."""

    differences: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.differences)


def _no_progress(_fraction: float, _text: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """What a call may use: its deadline (on `clock.monotonic()`), progress reports and the cancel signal."""

    clock: Clock
    deadline: float
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    progress: Callable[[float, str], None] = _no_progress
    resolve_secret: Callable[[str], str] | None = None

    def remaining(self) -> float:
        return max(0.0, self.deadline - self.clock.monotonic())

    async def again(self, poll_s: float) -> bool:
        """Wait until the live thing is to be looked at once more; False when time is over or the call is cancelled."""
        if self.remaining() <= 0 or self.cancel.is_set():
            return False
        await self.clock.sleep(min(poll_s, self.remaining()))
        return True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where an operation stood when it was last saved, and how to save anew (durable when it returns)."""

    data: JsonObject
    save: Callable[[JsonObject], None]


class Operation(Protocol):
    """Long work (drain, purge, import, test call): resumable from its checkpoint, cancellable, with progress."""

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject: ...


Event = Sample | AlarmEvent


class Driver(Protocol):
    @property
    def name(self) -> str:
        """Unique on the appliance; equals the name of its entry point."""

    @property
    def section(self) -> str:
        """The ApplianceConfig section that this driver alone makes true."""

    @property
    def owns(self) -> Ownership: ...

    @property
    def operations(self) -> Mapping[str, Operation]: ...

    async def observe(self) -> State:
        """Read the live thing. Raises DriverError when it cannot be read."""

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        """Pure. The steps from `have` to `want` (None: the section is to be absent); empty = converged."""

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Ask the real thing whether it would take this; changes nothing. Raises DriverError or RefusedError."""

    async def prepare(self, step: Step) -> Undo:
        """Everything needed to take `step` back, read from the live thing. Changes nothing."""

    async def apply(self, step: Step, context: Context) -> None:
        """Idempotent: a crash can repeat it."""

    async def undo(self, undo: Undo, context: Context) -> None:
        """Idempotent, also when `apply` never ran or ran half."""

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """Poll the live thing until it is effective or `context.deadline` is over; what still differs then.

        It comes before irreversible steps: what only those take away is no drift. The engine observes and plans anew
        after it, and takes reversible steps that are still to do for a difference.
        """

    def events(self) -> AsyncIterator[Event]:
        """Samples, state changes and alarms, for as long as the caller iterates."""


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What an agent gives the factory of a driver.

    `run_dir` is emptied at boot (sockets, pid files); `state_dir` survives it.
    """

    appliance: str
    run_dir: Path
    state_dir: Path
    units: Units
    clock: Clock


DriverFactory = Callable[[DriverContext], Driver]
"""What an entry point of the group `nf.drivers` names."""
