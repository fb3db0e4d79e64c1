"""What LI officers have to know, and nobody else: kept in the state, told to the ADMF over X1 until it has taken it.

An alarm of one kind about one object is one: it counts how often, and is told again when it has gone or come back.
Its text names no target, LIID or agency; its object is an XID or DID, which the ADMF knows and nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Final
from uuid import UUID

from lawful_intercept.mediation.state import State
from lawful_intercept.x1 import exchange as x1
from lawful_intercept.x1.faults import Code as X1Code
from lawful_intercept.x1.faults import X1Fault
from lawful_intercept.x1.lost import Lost, lost_extension
from lawful_intercept.x1.messages import IssueType, ReportType
from nf.clock import Clock
from nf.errors import NfError

_TELL_AGAIN_S: Final = 60.0
_TRY_AGAIN_S: Final = 10.0
_LOOK_S: Final = 0.5
_KEPT: Final = 1000
Report = x1.ReportTaskIssue | x1.ReportDestinationIssue | x1.ReportNEIssue


class Code(Enum):
    """The first eight stand until they are over; the others happened, and are counted."""

    AWAY = "agency-away"
    REFUSED = "agency-not-authentic"
    FULL = "disk-full"
    CLOCK = "clock-not-synchronised"
    SPOOL = "spool-damaged"
    STATE = "state-not-written"
    INTAKE = "intake-closed"
    FAILED = "failure"
    GAP = "gap"
    DROPPED = "spool-bound-hit"
    OUTSIDE = "outside-of-warrant"
    UNKNOWN_TASK = "unknown-task"
    UNREADABLE = "not-convertible"


_OF_DESTINATION: Final = frozenset({Code.AWAY, Code.REFUSED, Code.DROPPED, Code.SPOOL})
_OF_TASK: Final = frozenset({Code.GAP, Code.OUTSIDE, Code.UNREADABLE})


@dataclass(slots=True, repr=False)
class Alarm:
    """about  an XID, a DID or ""; `standing`: it is not over; times in seconds since the epoch
    iri, cc, uncounted  what was lost with it and the ADMF does not know yet (`x1.lost`)
    told     how much of `count` and `standing` the ADMF knows, and since when
    """

    code: Code
    about: str
    text: str
    since: float
    last: float
    count: int = 1
    standing: bool = True
    told: int = 0
    told_standing: bool | None = None
    told_at: float = 0.0
    iri: int = 0
    cc: int = 0
    uncounted: bool = False

    @property
    def lost(self) -> Lost:
        return Lost(self.iri, self.cc, uncounted=self.uncounted)

    @property
    def name(self) -> str:
        return f"{self.code.value}/{self.about}"

    def due(self, now: float) -> bool:
        """To be told: it is another one, or it happened again and that was not told a minute ago."""
        return self.told_standing is not self.standing or (
            self.told < self.count and now - self.told_at >= _TELL_AGAIN_S
        )

    def packed(self) -> bytes:
        return json.dumps({**asdict(self), "code": self.code.value}).encode()


class Alarms:
    def __init__(self, state: State, clock: Clock) -> None:
        self._clock = clock
        self._alarms: dict[str, Alarm] = {}
        self._dirty: dict[str, Alarm | None] = {}
        for name, value in state.rows("alarm"):
            read = json.loads(value)
            self._alarms[name] = Alarm(**{**read, "code": Code(read["code"])})

    def happened(self, code: Code, about: str, text: str, lost: Lost | None = None) -> None:
        """Something that is over at once."""
        self._put(code, about, text, standing=False, lost=lost)

    def stands(self, code: Code, about: str, text: str) -> None:
        """Until `over`. Nothing new when it stands already."""
        found = self._alarms.get(f"{code.value}/{about}")
        if found is None or not found.standing:
            self._put(code, about, text, standing=True)

    def over(self, code: Code, about: str) -> None:
        found = self._alarms.get(f"{code.value}/{about}")
        if found is not None and found.standing:
            found.standing = False
            self._mark(found)

    def all(self) -> list[Alarm]:
        return list(self._alarms.values())

    def standing(self, *codes: Code, about: str | None = None) -> list[Alarm]:
        """Those that stand, of these codes or of all."""
        return [
            one
            for one in self._alarms.values()
            if one.standing and (not codes or one.code in codes) and about in (None, one.about)
        ]

    def forget(self, about: str) -> None:
        """Its object is gone."""
        for name in [name for name, one in self._alarms.items() if one.about == about]:
            del self._alarms[name]
            self._dirty[f"alarm/{name}"] = None

    def collect(self) -> dict[str, bytes | None]:
        """Rows that are others since the last time, for the next commit."""
        found = {name: None if one is None else one.packed() for name, one in self._dirty.items()}
        self._dirty.clear()
        return found

    async def report(self, send: Callable[[Report], Awaitable[object]]) -> None:
        """For ever: tells the ADMF. `send` raises NfError when it could not be told; then it is told later."""
        while True:
            pause = _LOOK_S
            for alarm in [one for one in self.all() if one.due(self._clock.now())]:
                count, standing, lost = alarm.count, alarm.standing, alarm.lost
                try:
                    await send(_body(alarm))
                except X1Fault:
                    pass  # it has heard it, and does not know the object any more
                except NfError:
                    pause = _TRY_AGAIN_S
                    break
                alarm.told, alarm.told_standing, alarm.told_at = count, standing, self._clock.now()
                alarm.iri, alarm.cc = alarm.iri - lost.iri, alarm.cc - lost.cc
                alarm.uncounted = alarm.uncounted and not lost.uncounted
                self._mark(alarm)
            await self._clock.sleep(pause)

    def _put(self, code: Code, about: str, text: str, *, standing: bool, lost: Lost | None = None) -> None:
        now = self._clock.now()
        name = f"{code.value}/{about}"
        found = self._alarms.get(name)
        if found is None:
            self._make_room()
            found = self._alarms[name] = Alarm(code, about, text, now, now, standing=standing)
        else:
            found.since = now if standing else found.since
            found.count += 1
            found.text, found.last, found.standing = text, now, standing
        if lost is not None:
            total = found.lost + lost
            found.iri, found.cc, found.uncounted = total.iri, total.cc, total.uncounted
        self._mark(found)

    def _make_room(self) -> None:
        past = [one for one in self._alarms.values() if not one.standing]
        if past and len(self._alarms) >= _KEPT:
            oldest = min(past, key=lambda one: one.last)
            del self._alarms[oldest.name]
            self._dirty[f"alarm/{oldest.name}"] = None

    def _mark(self, alarm: Alarm) -> None:
        self._dirty[f"alarm/{alarm.name}"] = alarm


def _body(alarm: Alarm) -> Report:
    """As X1 tells it (TS 103 221-1 clause 6.5)."""
    text = alarm.text if alarm.count == 1 else f"{alarm.text} ({alarm.count} times)"
    text = f"{alarm.code.value}: {text}"
    if alarm.code in _OF_DESTINATION and alarm.about:
        report = ReportType.NON_TERMINATING_FAULT if alarm.standing else ReportType.ALL_CLEAR
        code = X1Code.NON_TERMINATING_FAULT if alarm.standing else X1Code.FAULT_CLEARED
        if alarm.code is Code.DROPPED:
            report, code = ReportType.WARNING, X1Code.WARNING
        return x1.ReportDestinationIssue(UUID(alarm.about), report, code, text)
    if alarm.code in _OF_TASK and alarm.about:
        lost = () if alarm.lost == Lost() else (lost_extension(alarm.lost),)
        return x1.ReportTaskIssue(UUID(alarm.about), ReportType.WARNING, X1Code.WARNING, text, lost)
    if alarm.standing:
        return x1.ReportNEIssue(IssueType.FAULT_REPORT, text, X1Code.NON_TERMINATING_FAULT)
    if alarm.told_standing:
        return x1.ReportNEIssue(IssueType.FAULT_CLEARED, text, X1Code.FAULT_CLEARED)
    return x1.ReportNEIssue(IssueType.WARNING, text, X1Code.WARNING)
