"""What the NOC keeps of an upgrade."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from nf.contracts.json import canonical
from nf.noc.bundles import BundleRecord


class MemberState(Enum):
    PENDING = "pending"
    TRANSFER = "transfer"
    INSTALL = "install"
    INSTALLED = "installed"  # written; waits for its turn to restart
    DRAIN = "drain"
    ACTIVATE = "activate"
    REBOOT = "reboot"
    TRIAL = "trial"
    GOOD = "good"
    FELL_BACK = "fell-back"
    FAILED = "failed"
    LEFT_OUT = "left-out"
    CANCELLED = "cancelled"


class Phase(Enum):
    WAITING = "waiting"  # for its time
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


ENDED = frozenset(
    {MemberState.GOOD, MemberState.FELL_BACK, MemberState.FAILED, MemberState.LEFT_OUT, MemberState.CANCELLED}
)
BAD = frozenset({MemberState.FELL_BACK, MemberState.FAILED})
AWAY = frozenset({MemberState.DRAIN, MemberState.ACTIVATE, MemberState.REBOOT, MemberState.TRIAL})
"""It does not serve, or may stop to at any moment."""
OPEN = frozenset({Phase.WAITING, Phase.RUNNING, Phase.PAUSED})


@dataclass(frozen=True, slots=True)
class Member:
    """`attempt` counts from 1; `ordered`: the appliance has taken this attempt's order. Times: seconds since 1970."""

    appliance: str
    site: str
    wave: int
    state: MemberState = MemberState.PENDING
    text: str = ""
    fraction: float = 0.0
    from_version: str = ""
    attempt: int = 1
    ordered: bool = False
    drained: bool = False
    began_at: float = 0.0
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class UpgradeRecord:
    """`wave`: the one that goes on, 0 = the canary; `not_before`, `soak_until`, `..._at`: seconds since the epoch."""

    id: str
    author: str
    reason: str
    created_at: float
    bundle: BundleRecord
    members: tuple[Member, ...]
    phase: Phase = Phase.RUNNING
    text: str = ""
    not_before: float = 0.0
    wave: int = 0
    soak_s: int = 0
    soak_until: float = 0.0
    hold_s: int = 60
    patience_s: int = 600
    drain: bool = False
    when_back: bool = False
    ended_at: float = 0.0

    @property
    def open(self) -> bool:
        return self.phase in OPEN

    @property
    def waves(self) -> int:
        return max((member.wave for member in self.members), default=0) + 1

    def member(self, appliance: str) -> Member | None:
        return next((one for one in self.members if one.appliance == appliance), None)

    def order(self, member: Member) -> str:
        """The update's id at the appliance: another one for each attempt."""
        return f"{self.id}.{member.attempt}"

    def with_member(self, member: Member) -> UpgradeRecord:
        members = tuple(member if one.appliance == member.appliance else one for one in self.members)
        return replace(self, members=members)


def dump(record: UpgradeRecord) -> bytes:
    data = asdict(record)
    data["phase"] = record.phase.value
    for plain, member in zip(data["members"], record.members, strict=True):
        plain["state"] = member.state.value
    return canonical(data).encode()


def load(value: bytes) -> UpgradeRecord:
    data: dict[str, Any] = json.loads(value)
    data["phase"] = Phase(data["phase"])
    data["bundle"] = BundleRecord(**data["bundle"])
    data["members"] = tuple(Member(**{**one, "state": MemberState(one["state"])}) for one in data["members"])
    return UpgradeRecord(**data)
