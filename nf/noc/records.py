"""What the NOC keeps, and where: the one place that knows the store's buckets.

    bucket         key                  value (JSON)
    revisions      number, ten digits   RevisionRecord: both documents as written, author, outcome, digests, hops
    configs        SHA-256              an appliance's configuration, canonical JSON, shared by revisions
    current        "revision"           {"revision": number}: what the fleet is to be
    transactions   transaction id       TransactionRecord: who takes part, what is decided; gone when carried out
    appliances     name                 ApplianceRecord: when it was last seen and what it said
    maintenance    site                 an open maintenance window
    schedule       id                   a commit that waits for its time, or was refused at it
    hardware       appliance            which serial took the place of which
    drains         site                 who drained it, until when
    owed           SHA-256 of what      an operation that somebody missed, or that is under way
    alarms         SHA-256 of its id    who acknowledged or shelved it
    upgrades       id                   another image for appliances: who, in which waves, how far
    policy         spot/, switch/       which path a channel takes at a site, and why (nf.noc.policy_records)
    settings       "noc", service/NAME  where the NOC listens; what was set for a hosted service: without it, it is off
    services       NAME/key             what a hosted service keeps (nf.noc.services)

Enrolment and operators keep buckets of their own (nf.trust).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any, Final, cast

from nf.contracts.image import ImageReport
from nf.contracts.json import JsonObject, canonical
from nf.errors import NotFoundError, RefusedError
from nf.store.audit import AuditEntry
from nf.store.contract import Put, Store

REVISIONS: Final = "revisions"
CONFIGS: Final = "configs"
CURRENT: Final = "current"
TRANSACTIONS: Final = "transactions"
APPLIANCES: Final = "appliances"
MAINTENANCE: Final = "maintenance"
SCHEDULE: Final = "schedule"
HARDWARE: Final = "hardware"
DRAINS: Final = "drains"
OWED: Final = "owed"
ORDERS: Final = "orders"
ALARMS: Final = "alarms"
UPGRADES: Final = "upgrades"
POLICY: Final = "policy"


class Decision(Enum):
    """What is on record for a transaction. No record of a decision means that it will be undone."""

    UNDECIDED = "undecided"
    HELD = "held"
    CONFIRM = "confirm"
    UNDO = "undo"


_DECISIONS: Final[Mapping[Decision, frozenset[Decision]]] = {
    Decision.UNDECIDED: frozenset({Decision.HELD, Decision.CONFIRM, Decision.UNDO}),
    Decision.HELD: frozenset({Decision.CONFIRM, Decision.UNDO}),
    Decision.CONFIRM: frozenset(),
    Decision.UNDO: frozenset(),
}


@dataclass(frozen=True, slots=True)
class HopRecord:
    channel: str
    path: str
    order: int
    appliance: str
    point: str


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """`outcome`: undecided, held, confirmed, undone. `configs`: appliance -> digest. `at`: seconds since the epoch."""

    revision: int
    at: float
    author: str
    comment: str
    outcome: str
    lineup_file: str
    lineup_text: str
    fleet_file: str
    fleet_text: str
    lineup_name: str
    channels: int
    configs: Mapping[str, str]
    hops: tuple[HopRecord, ...] = ()
    without_sites: tuple[str, ...] = ()
    restores: int = 0
    transaction: str = ""


@dataclass(frozen=True, slots=True)
class TransactionRecord:
    """`stages`: appliance -> the fleet's stage of each of its own stages. `deadline`: seconds since the epoch.

    `finished`: every appliance that takes part is known to have carried the decision out.
    """

    id: str
    kind: str  # commit, rollback, catch-up
    revision: int
    author: str
    started_at: float
    deadline: float
    participants: tuple[str, ...]
    stages: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    undo_budget_s: float = 0.0
    decision: Decision = Decision.UNDECIDED
    held_until: float = 0.0
    reason: str = ""
    finished: bool = False

    def decide(self, decision: Decision, **changes: Any) -> TransactionRecord:
        """Raises RefusedError when another decision stands."""
        if decision not in _DECISIONS[self.decision]:
            raise RefusedError(
                f"is decided already: {self.decision.value}",
                where=f"transaction {self.id}",
                remedy="see `nf audit show`",
            )
        return replace(self, decision=decision, **changes)


@dataclass(frozen=True, slots=True)
class ApplianceRecord:
    """What an appliance said last. `image` None: it runs from none."""

    name: str
    last_seen: float
    software_version: str = ""
    confirmed_revision: int = 0
    confirmed_digest: str = ""
    sections: tuple[str, ...] = ()
    image: ImageReport | None = None


def _dump(record: RevisionRecord | TransactionRecord | ApplianceRecord) -> bytes:
    data = asdict(record)
    if isinstance(record, TransactionRecord):
        data["decision"] = record.decision.value
    return canonical(data).encode()


def _load(value: bytes) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(value))


def _revision(value: bytes) -> RevisionRecord:
    data = _load(value)
    data["hops"] = tuple(HopRecord(**hop) for hop in data["hops"])
    data["without_sites"] = tuple(data["without_sites"])
    return RevisionRecord(**data)


def _transaction(value: bytes) -> TransactionRecord:
    data = _load(value)
    data["decision"] = Decision(data["decision"])
    data["participants"] = tuple(data["participants"])
    data["stages"] = {name: tuple(stages) for name, stages in data["stages"].items()}
    return TransactionRecord(**data)


def _appliance(value: bytes) -> ApplianceRecord:
    data = _load(value)
    data["sections"] = tuple(data["sections"])
    if data.get("image") is not None:
        data["image"] = ImageReport(**data["image"])
    return ApplianceRecord(**data)


def put_revision(record: RevisionRecord) -> Put:
    return Put(REVISIONS, f"{record.revision:010d}", _dump(record))


def put_transaction(record: TransactionRecord) -> Put:
    return Put(TRANSACTIONS, record.id, _dump(record))


def put_current(revision: int) -> Put:
    return Put(CURRENT, "revision", canonical({"revision": revision}).encode())


def put_configs(configs: Mapping[str, JsonObject], digests: Mapping[str, str]) -> list[Put]:
    unique = {digests[appliance]: config for appliance, config in configs.items()}
    return [Put(CONFIGS, key, canonical(config).encode()) for key, config in sorted(unique.items())]


class Book:
    """Typed reading and writing of those buckets."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def revisions(self, below: int = 0) -> AsyncIterator[RevisionRecord]:
        """Newest first, each read when it is asked for: all documents ever committed are many. `below`: only older."""
        for number in range((below or await self.last_number() + 1) - 1, 0, -1):
            yield await self.revision(number)

    async def revision(self, number: int) -> RevisionRecord:
        """Raises NotFoundError."""
        entry = await self.store.get(REVISIONS, f"{number:010d}")
        if entry is None:
            raise NotFoundError("no such revision", where=f"revision {number}", remedy="see `nf lineup history`")
        return _revision(entry.value)

    async def current_number(self) -> int:
        """0 = none."""
        entry = await self.store.get(CURRENT, "revision")
        return int(_load(entry.value)["revision"]) if entry else 0

    async def last_number(self) -> int:
        """Numbers have no gaps, and few revisions come after the current one: those that were undone."""
        number = await self.current_number()
        while await self.store.get(REVISIONS, f"{number + 1:010d}") is not None:
            number += 1
        return number

    async def config(self, digest: str) -> JsonObject:
        """Raises NotFoundError."""
        entry = await self.store.get(CONFIGS, digest)
        if entry is None:
            raise NotFoundError("no such configuration", where=digest)
        return _load(entry.value)

    async def transactions(self) -> tuple[TransactionRecord, ...]:
        return tuple(_transaction(entry.value) for entry in await self.store.list(TRANSACTIONS))

    async def transaction(self, transaction: str) -> TransactionRecord | None:
        entry = await self.store.get(TRANSACTIONS, transaction)
        return _transaction(entry.value) if entry else None

    async def appliances(self) -> dict[str, ApplianceRecord]:
        return {entry.key: _appliance(entry.value) for entry in await self.store.list(APPLIANCES)}

    async def save_appliance(self, record: ApplianceRecord) -> None:
        await self.store.write([Put(APPLIANCES, record.name, _dump(record))])

    async def save_transaction(self, record: TransactionRecord) -> None:
        await self.store.write([put_transaction(record)])

    async def audit(self, actor: str, action: str, target: str, outcome: str, detail: JsonObject | None = None) -> None:
        """A record of something that changed nothing here, such as a refusal."""
        await self.store.write([], AuditEntry(actor, action, target, outcome, detail or {}))
