"""What the NOC knows of the delivery paths, for services of domains that tell it to players, partners and operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Verdict(StrEnum):
    """Of one path at one place, from its probes and counters."""

    UP = "up"
    DEGRADED = "degraded"  # it delivers, with losses or too little margin
    DOWN = "down"
    UNKNOWN = "unknown"  # nobody measures it there, or not any more


@dataclass(frozen=True, slots=True)
class PathHealth:
    """`type`: of the path, as in the line-up; `site`: where; `since`: seconds since the epoch; `reason`: one line."""

    channel: str
    path: str
    type: str
    site: str
    verdict: Verdict
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """What policy says of a channel at a site.

    paths   those that come to the site, the one to take first before the others
    active  the one that policy has chosen; empty when none can be used
    alert   whether the choice is not the line-up's first one, or may soon change: players should ask again soon
    number  grows with every change of this channel at this site, and never falls
    """

    channel: str
    site: str
    paths: tuple[str, ...]
    active: str
    alert: bool
    number: int


class Paths(Protocol):
    def health(self) -> tuple[PathHealth, ...]: ...

    def rankings(self) -> tuple[Ranking, ...]: ...

    def changes(self) -> AsyncIterator[Ranking]:
        """All rankings as they are, then each that changes, until the caller stops iterating."""
