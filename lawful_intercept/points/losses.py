"""What was not delivered, as the ADMF hears it over X1: a fault (9020) of a task, or of the element. Sans-IO.

The first is told at once, what follows within a while is summed up: a point that loses a thousand packets a second must
not lose X1 as well. Nothing of it names a target. What can be counted is in an extension, as a number (`x1.lost`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from lawful_intercept.x1.exchange import ReportNEIssue, ReportTaskIssue
from lawful_intercept.x1.faults import Code
from lawful_intercept.x1.lost import Lost, lost_extension
from lawful_intercept.x1.messages import IssueType, ReportType
from nf.contracts.interception import LossPlace

EVERY_S: Final = 10.0
"""Between two reports of one task and cause."""

CAUSES: Final = {
    LossPlace.KERNEL: "copies did not fit the kernel's buffer",
    LossPlace.QUEUE: "what was observed was not taken in time",
    LossPlace.POINT: "what passed could not be observed",
}
SPOOL: Final = "what was observed did not fit the spool"
CUT: Final = "messages were longer than can be observed, and are cut"
RESTARTED: Final = "this element has started again, and what was on the way is lost"
AWAY: Final = "an observation point is not there"
DAMAGED: Final = "the spool was damaged"
UNWRITABLE: Final = "what was observed could not be written as a PDU"
REFUSED: Final = "an observation point does not take the order"
_NO_LOSS: Final = frozenset({CUT, AWAY, REFUSED})
"""What was cut is there; the others last, and what they cost is told as a loss of its own."""


@dataclass(slots=True, repr=False)
class _Sum:
    """events and copies since the last report; `uncounted`: some that nobody can count; `told`: when that was"""

    events: int = 0
    copies: int = 0
    uncounted: bool = False
    waiting: bool = False
    told: float | None = None


class Losses:
    """`now` everywhere: seconds on a clock that never goes back."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._sums: dict[tuple[UUID | None, str], _Sum] = {}
        self._cleared: list[ReportTaskIssue | ReportNEIssue] = []

    def add(self, xid: UUID | None, cause: str, *, events: int | None = 0, copies: int | None = 0) -> None:
        """`xid` None: of which task cannot be told. Else None: nobody can count them."""
        one = self._sums.setdefault((xid, cause), _Sum())
        one.events += events or 0
        one.copies += copies or 0
        one.uncounted = one.uncounted or events is None or copies is None
        one.waiting = True

    def clear(self, xid: UUID | None, cause: str) -> None:
        """It is over, if it was told."""
        one = self._sums.pop((xid, cause), None)
        if one is None:
            return
        if one.waiting:
            self._cleared.append(_report(xid, cause, one))
        if xid is None:
            self._cleared.append(ReportNEIssue(IssueType.FAULT_CLEARED, cause, Code.FAULT_CLEARED))
        else:
            self._cleared.append(ReportTaskIssue(xid, ReportType.ALL_CLEAR, Code.FAULT_CLEARED, cause))

    def forget(self, xid: UUID) -> None:
        """The task is over."""
        for key in [key for key in self._sums if key[0] == xid]:
            del self._sums[key]

    def reports(self, now: float) -> list[ReportTaskIssue | ReportNEIssue]:
        """Those that are due."""
        found, self._cleared = self._cleared, []
        for (xid, cause), one in list(self._sums.items()):
            if one.told is not None and now - one.told < self._every_s:
                continue
            if not one.waiting:
                if cause != AWAY:  # that one is over when it is cleared
                    del self._sums[xid, cause]
                continue
            found.append(_report(xid, cause, one))
            self._sums[xid, cause] = _Sum(told=now)
        return found


def _text(cause: str, one: _Sum) -> str:
    counts = [f"{count} {what}" for count, what in ((one.events, "events"), (one.copies, "packets")) if count]
    if one.uncounted:
        counts.append("an unknown number" if not counts else "others")
    return f"{cause}: {', '.join(counts)}" if counts else cause


def _report(xid: UUID | None, cause: str, one: _Sum) -> ReportTaskIssue | ReportNEIssue:
    text = _text(cause, one)
    if xid is None:
        return ReportNEIssue(IssueType.FAULT_REPORT, text, Code.NON_TERMINATING_FAULT)
    lost = () if cause in _NO_LOSS else (lost_extension(Lost(one.events, one.copies, uncounted=one.uncounted)),)
    return ReportTaskIssue(xid, ReportType.NON_TERMINATING_FAULT, Code.NON_TERMINATING_FAULT, text, lost)
