"""What elements report to the ADMF by X1 (TS 103 221-1 clause 6.5): alarms, and doubt about what they hold.

Their own words are not kept: they could name a target. How much is lost our own elements tell as numbers.
"""

from __future__ import annotations

from typing import Final

from lawful_intercept.administration.alarms import Code
from lawful_intercept.administration.links import Links
from lawful_intercept.administration.office import Office
from lawful_intercept.x1 import faults
from lawful_intercept.x1.exchange import ReportDestinationIssue, ReportNEIssue, ReportTaskIssue
from lawful_intercept.x1.lost import lost_of
from lawful_intercept.x1.messages import IssueType, ReportType

_OVER: Final = frozenset({ReportType.ALL_CLEAR, ReportType.FULLY_ACTIONED_AND_SUCCESSFUL})
_ENDED: Final = frozenset(
    {
        ReportType.TERMINATING_FAULT,
        ReportType.IMPLICIT_DEACTIVATION,
        ReportType.FULLY_ACTIONED_AND_UNSUCCESSFUL,
    }
)


class Reports:
    """`lawful_intercept.x1.services.Administration`."""

    def __init__(self, office: Office, links: Links) -> None:
        self._office = office
        self._links = links

    async def task_issue(self, element: str, report: ReportTaskIssue) -> None:
        """Raises X1Fault: a loss that is not readable."""
        lost = lost_of(report.extensions)
        number = next((one.number for one in self._office.warrants.values() if one.xid == report.xid), None)
        thing = f"element/{element}" if number is None else f"warrant/{number}/{element}"
        await self._told(element, "x1.ReportTaskIssue", thing, report.report.value, report.code)
        if report.report in _OVER:
            await self._office.clear_alarm(Code.TASK, thing)
        elif lost is not None:
            await self._office.raise_loss(thing, lost)
        else:
            await self._office.raise_alarm(Code.TASK, thing, _words(report.report.value, report.code))
        if report.report in _ENDED or number is None:
            self._links.doubt(element)

    async def destination_issue(self, element: str, report: ReportDestinationIssue) -> None:
        """A destination of mediation is an agency; one of points is mediation, and the alarm is the point's."""
        number = next((one.number for one in self._office.agencies.values() if one.did == report.did), None)
        thing = f"element/{element}" if number is None else f"agency/{number}/{element}"
        await self._told(element, "x1.ReportDestinationIssue", thing, report.report.value, report.code)
        if report.report in _OVER:
            await self._office.clear_alarm(Code.DELIVERY, thing)
        else:
            text = f"it cannot be delivered to: {_words(report.report.value, report.code)}"
            await self._office.raise_alarm(Code.DELIVERY, thing, text)

    async def element_issue(self, element: str, report: ReportNEIssue) -> None:
        thing = f"element/{element}"
        await self._told(element, "x1.ReportNEIssue", thing, report.issue.value, report.code)
        if report.code == faults.Code.DATABASE_CLEARED:
            self._links.doubt(element)
        elif report.issue is IssueType.FAULT_CLEARED:
            await self._office.clear_alarm(Code.ELEMENT, thing)
        else:
            await self._office.raise_alarm(Code.ELEMENT, thing, _words(report.issue.value, report.code))

    async def _told(self, element: str, action: str, thing: str, kind: str, code: int | None) -> None:
        await self._office.note(action, thing, {"element": element, "report": kind, "code": code})


def _words(kind: str, code: int | None) -> str:
    if code is None:
        return kind
    known = faults.TEXTS.get(faults.Code(code), "") if code in faults.Code.__members__.values() else ""
    return f"{kind}, {code} {known}".strip()
