"""Who answers X1: a network element's side and an ADMF's, as what a server dispatches messages to. Pure.

An answer is a value; a refusal is an `X1Fault` that is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, assert_never
from uuid import UUID

from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import (
    DestinationDetails,
    DestinationRecord,
    ElementStatus,
    Outcome,
    TaskDetails,
    TaskRecord,
)

GENERIC_CODES: Final = {
    "ActivateTask": Code.ACTIVATE_FAILED,
    "ModifyTask": Code.MODIFY_FAILED,
    "DeactivateTask": Code.DEACTIVATE_FAILED,
    "DeactivateAllTasks": Code.DEACTIVATE_ALL_FAILED,
    "CreateDestination": Code.CREATE_DESTINATION_FAILED,
    "ModifyDestination": Code.MODIFY_DESTINATION_FAILED,
    "RemoveDestination": Code.REMOVE_DESTINATION_FAILED,
    "RemoveAllDestinations": Code.REMOVE_ALL_FAILED,
}
"""What a message is refused with when it fails for a reason that X1 has no number for."""

READING: Final = frozenset({*e.ANSWERS, "Ping", "Keepalive"})
"""Messages that change nothing: one that comes again is answered anew."""


class NetworkElement(Protocol):
    """An element's side (clauses 6.2 to 6.4, 6.6). All but the reading methods may take time. Raises X1Fault."""

    async def activate_task(self, details: TaskDetails) -> Outcome: ...
    async def modify_task(self, details: TaskDetails) -> Outcome: ...
    async def deactivate_task(self, xid: UUID) -> Outcome: ...
    async def deactivate_all_tasks(self) -> Outcome: ...
    async def create_destination(self, details: DestinationDetails) -> Outcome: ...
    async def modify_destination(self, details: DestinationDetails) -> Outcome: ...
    async def remove_destination(self, did: UUID) -> Outcome: ...
    async def remove_all_destinations(self) -> Outcome: ...
    def task(self, xid: UUID) -> TaskRecord: ...
    def tasks(self) -> Sequence[TaskRecord]: ...
    def destination(self, did: UUID) -> DestinationRecord: ...
    def destinations(self) -> Sequence[DestinationRecord]: ...
    def status(self) -> ElementStatus: ...
    def keepalive(self) -> None: ...


class Administration(Protocol):
    """An ADMF's side (clause 6.5). `element`: who reports, proved by its certificate. Raises X1Fault."""

    async def task_issue(self, element: str, report: e.ReportTaskIssue) -> None: ...
    async def destination_issue(self, element: str, report: e.ReportDestinationIssue) -> None: ...
    async def element_issue(self, element: str, report: e.ReportNEIssue) -> None: ...


class Service(Protocol):
    """What a server serves. `of_element`: it answers for an element, its peers are ADMFs; else the other way round."""

    of_element: bool

    async def answer(self, peer: str, body: e.RequestBody) -> e.ResponseBody:
        """Raises X1Fault."""


class ElementService:
    of_element = True

    def __init__(self, element: NetworkElement) -> None:
        self._element = element

    async def answer(self, peer: str, body: e.RequestBody) -> e.ResponseBody:  # noqa: ARG002, C901 - one case each
        match body:
            case e.ActivateTask():
                outcome = await self._element.activate_task(body.details)
            case e.ModifyTask():
                outcome = await self._element.modify_task(body.details)
            case e.DeactivateTask():
                outcome = await self._element.deactivate_task(body.xid)
            case e.CreateDestination():
                outcome = await self._element.create_destination(body.details)
            case e.ModifyDestination():
                outcome = await self._element.modify_destination(body.details)
            case e.RemoveDestination():
                outcome = await self._element.remove_destination(body.did)
            case e.GetTaskDetails():
                return e.TaskAnswer(self._element.task(body.xid))
            case e.GetDestinationDetails():
                return e.DestinationAnswer(self._element.destination(body.did))
            case e.Command():
                return await self._command(body)
            case e.ObjectRequest() | e.ReportTaskIssue() | e.ReportDestinationIssue() | e.ReportNEIssue():
                raise X1Fault(Code.UNSUPPORTED)
            case _:
                assert_never(body)
        return e.Done(e.name_of(body), outcome)

    async def _command(self, command: e.Command) -> e.ResponseBody:
        element, outcome = self._element, Outcome.COMPLETED
        match command:
            case e.Command.GET_NE_STATUS:
                return e.ElementStatusAnswer(element.status())
            case e.Command.GET_ALL_DETAILS:
                return e.AllDetails(element.status(), tuple(element.tasks()), tuple(element.destinations()))
            case e.Command.GET_ALL_TASK_DETAILS:
                return e.AllTaskDetails(tuple(element.tasks()))
            case e.Command.GET_ALL_DESTINATION_DETAILS:
                return e.AllDestinationDetails(tuple(element.destinations()))
            case e.Command.LIST_ALL_DETAILS:
                xids = tuple(record.details.xid for record in element.tasks())
                return e.AllIdentifiers(xids, tuple(record.details.did for record in element.destinations()))
            case e.Command.DEACTIVATE_ALL_TASKS:
                outcome = await element.deactivate_all_tasks()
            case e.Command.REMOVE_ALL_DESTINATIONS:
                outcome = await element.remove_all_destinations()
            case e.Command.KEEPALIVE:
                element.keepalive()
            case e.Command.PING:
                pass
        return e.Done(command.value, outcome)


class AdministrationService:
    """Reports, and Ping and Keepalive, which an element may send too."""

    of_element = False

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    async def answer(self, peer: str, body: e.RequestBody) -> e.ResponseBody:
        match body:
            case e.ReportTaskIssue():
                await self._administration.task_issue(peer, body)
            case e.ReportDestinationIssue():
                await self._administration.destination_issue(peer, body)
            case e.ReportNEIssue():
                await self._administration.element_issue(peer, body)
            case e.Command.PING | e.Command.KEEPALIVE:
                pass
            case _:
                raise X1Fault(Code.UNSUPPORTED)
        return e.Done(e.name_of(body))
