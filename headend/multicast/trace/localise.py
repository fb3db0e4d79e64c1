"""Where packets vanish: neighbouring counters of one flow along its tree, compared. Pure.

Two appliances do not read at the same instant, and packets are under way: what is missing counts as lost only beyond
`tolerance`. Whatever the tree, each stretch between two counters is judged by itself, so that losses on several
stretches are all found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Final

SLACK_S: Final = 0.02
"""Between the instant that a reading names and the one it was made at, and for packets under way."""
SLACK_PACKETS: Final = 2
_BURSTINESS: Final = 0.25
"""How far a stream's rate may be off its mean where two readings were not made at the same time."""


@dataclass(frozen=True, slots=True)
class Count:
    """Packets within an interval that began at `at` (seconds, wall clock) and lasted `seconds`."""

    packets: int
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """Between two counters, the second one downstream. `link`: with its direction, `c1:eth2 -> pop1:eth1`; `part`:
    which part of it, in words."""

    link: str
    part: str
    before: Count
    behind: Count


@dataclass(frozen=True, slots=True)
class Vanished:
    """`of`: as many as should have come, by the counter before."""

    link: str
    part: str
    packets: int
    of: int

    @property
    def share(self) -> float:
        return self.packets / self.of if self.of else 0.0


def tolerance(before: Count, behind: Count) -> int:
    """Packets by which two readings of a lossless stretch may differ."""
    if not before.seconds or not behind.seconds:
        return SLACK_PACKETS
    rate = max(before.packets / before.seconds, behind.packets / behind.seconds)
    shift_s = abs(before.at - behind.at) + abs(before.at + before.seconds - behind.at - behind.seconds)
    return SLACK_PACKETS + ceil(rate * (SLACK_S + _BURSTINESS * shift_s))


def judge(stretch: Stretch) -> Vanished | None:
    before, behind = stretch.before, stretch.behind
    if not before.seconds or not behind.seconds:
        return None
    expected = round(before.packets * behind.seconds / before.seconds)
    missing = expected - behind.packets
    return Vanished(stretch.link, stretch.part, missing, expected) if missing > tolerance(before, behind) else None


def localise(stretches: Iterable[Stretch]) -> tuple[Vanished, ...]:
    """Every stretch that loses, the worst by share first."""
    found = [vanished for stretch in stretches if (vanished := judge(stretch)) is not None]
    return tuple(sorted(found, key=lambda one: (-one.share, one.link, one.part)))
