"""Of one stream (LIID, CIN, IRI or CC): which numbers came, which are missing, which came again. Pure, bounded."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

RANGES_KEPT: Final = 1000
"""Gaps that are known one by one; of more than these the oldest are only counted."""


class Verdict(Enum):
    """NEXT: the one that was due; GAP: it is further on, those between are missing; LATE: it was missing; AGAIN: it has
    been here (or is older than what is remembered of gaps)."""

    NEXT = "next"
    GAP = "gap"
    LATE = "late"
    AGAIN = "again"


@dataclass(slots=True)
class Sequence:
    """Numbers begin at 0 (TS 102 232-1 clause 5.2.5). `missing`: ranges, both ends included, in order.

    epoch      how often the sender said that it starts anew (cINReset)
    forgotten  numbers that were missing in ranges that are no longer kept
    """

    due: int = 0
    received: int = 0
    again: int = 0
    late: int = 0
    epoch: int = 0
    forgotten: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)

    @property
    def missing_count(self) -> int:
        return self.forgotten + sum(last - first + 1 for first, last in self.missing)

    def take(self, number: int) -> Verdict:
        if number == self.due:
            self.due += 1
            self.received += 1
            return Verdict.NEXT
        if number > self.due:
            self._miss(self.due, number - 1)
            self.due = number + 1
            self.received += 1
            return Verdict.GAP
        if self._fill(number):
            self.received += 1
            self.late += 1
            return Verdict.LATE
        self.again += 1
        return Verdict.AGAIN

    def reset(self) -> None:
        """cINReset: numbers begin at 0 again. What was missing before stays counted."""
        self.epoch += 1
        self.due = 0
        self.forgotten += sum(last - first + 1 for first, last in self.missing)
        self.missing.clear()

    def _miss(self, first: int, last: int) -> None:
        self.missing.append((first, last))
        while len(self.missing) > RANGES_KEPT:
            oldest = self.missing.pop(0)
            self.forgotten += oldest[1] - oldest[0] + 1

    def _fill(self, number: int) -> bool:
        at = bisect.bisect_right(self.missing, (number, 1 << 33)) - 1
        if at < 0:
            return False
        first, last = self.missing[at]
        if not first <= number <= last:
            return False
        self.missing[at : at + 1] = [pair for pair in ((first, number - 1), (number + 1, last)) if pair[0] <= pair[1]]
        return True
