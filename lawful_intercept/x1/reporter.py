"""An element's reports to its ADMF: in order, each until it is acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.faults import Code, X1Fault, X1NoAnswer
from lawful_intercept.x1.messages import IssueType
from nf.clock import Clock
from nf.errors import IdentityError

Report = e.ReportTaskIssue | e.ReportDestinationIssue | e.ReportNEIssue

_FIRST_S: Final = 1.0
_LONGEST_S: Final = 60.0
_LIMIT: Final = 10_000


class Reporter:
    """`put` returns at once; `run` delivers. What waits is bounded: what does not fit is told as one warning (9010)."""

    def __init__(self, client: X1Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._waiting: deque[Report] = deque()
        self._dropped = 0
        self._there = asyncio.Event()

    def put(self, report: Report) -> None:
        if len(self._waiting) >= _LIMIT:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(report)
        self._there.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = _FIRST_S
        while True:
            await self._there.wait()
            dropped = self._dropped
            report = _dropped(dropped) if dropped else self._waiting[0]
            try:
                await self._client.report(report)
            except (X1NoAnswer, IdentityError):
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_S)
                continue
            except X1Fault:
                pass  # heard, and not wanted
            pause_s = _FIRST_S
            self._dropped -= dropped
            if not dropped and self._waiting and self._waiting[0] is report:
                self._waiting.popleft()
            if not self._waiting and not self._dropped:
                self._there.clear()


def _dropped(count: int) -> Report:
    return e.ReportNEIssue(IssueType.WARNING, f"{count} reports were dropped", Code.WARNING)
