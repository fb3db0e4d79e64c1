"""Requests and responses of X1 as values: a header and a body (ETSI TS 103 221-1 clauses 6.2 to 6.7). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, get_args
from uuid import UUID

from lawful_intercept.x1.messages import (
    DestinationDetails,
    DestinationRecord,
    ElementStatus,
    Extension,
    Header,
    IssueType,
    Outcome,
    ReportType,
    TaskDetails,
    TaskRecord,
)


@dataclass(frozen=True, slots=True, repr=False)
class ActivateTask:
    details: TaskDetails


@dataclass(frozen=True, slots=True, repr=False)
class ModifyTask:
    """`details` replaces all that the element knew of the task."""

    details: TaskDetails


@dataclass(frozen=True, slots=True, repr=False)
class DeactivateTask:
    xid: UUID


@dataclass(frozen=True, slots=True, repr=False)
class CreateDestination:
    details: DestinationDetails


@dataclass(frozen=True, slots=True, repr=False)
class ModifyDestination:
    details: DestinationDetails


@dataclass(frozen=True, slots=True, repr=False)
class RemoveDestination:
    did: UUID


@dataclass(frozen=True, slots=True, repr=False)
class GetTaskDetails:
    xid: UUID


@dataclass(frozen=True, slots=True, repr=False)
class GetDestinationDetails:
    did: UUID


class Command(Enum):
    """Requests that say nothing but their name."""

    DEACTIVATE_ALL_TASKS = "DeactivateAllTasks"
    REMOVE_ALL_DESTINATIONS = "RemoveAllDestinations"
    GET_NE_STATUS = "GetNEStatus"
    GET_ALL_DETAILS = "GetAllDetails"
    GET_ALL_TASK_DETAILS = "GetAllTaskDetails"
    GET_ALL_DESTINATION_DETAILS = "GetAllDestinationDetails"
    LIST_ALL_DETAILS = "ListAllDetails"
    PING = "Ping"
    KEEPALIVE = "Keepalive"


class ObjectCommand(Enum):
    """Requests about generic objects (clause 6.8)."""

    CREATE = "CreateObject"
    MODIFY = "ModifyObject"
    GET = "GetObject"
    DELETE = "DeleteObject"
    LIST_OF_TYPE = "ListObjectsOfType"
    DELETE_ALL = "DeleteAllObjects"
    GET_ALL_DETAILS = "GetAllGenericObjectDetails"


@dataclass(frozen=True, slots=True, repr=False)
class ObjectRequest:
    """Generic objects are not kept here: what was asked is known, and refused with 1080. `content`: canonical XML."""

    command: ObjectCommand
    content: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class ReportTaskIssue:
    """Clause 6.5.2, from element to ADMF, as the two that follow. `code` and `text`: None = not told."""

    xid: UUID
    report: ReportType
    code: int | None = None
    text: str | None = None
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class ReportDestinationIssue:
    did: UUID
    report: ReportType
    code: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ReportNEIssue:
    issue: IssueType
    text: str
    code: int | None = None
    extensions: tuple[Extension, ...] = ()


RequestBody = (
    ActivateTask
    | ModifyTask
    | DeactivateTask
    | CreateDestination
    | ModifyDestination
    | RemoveDestination
    | GetTaskDetails
    | GetDestinationDetails
    | Command
    | ObjectRequest
    | ReportTaskIssue
    | ReportDestinationIssue
    | ReportNEIssue
)


@dataclass(frozen=True, slots=True, repr=False)
class Done:
    """`oK`: what was asked for is done, or will be. `message`: name of the request."""

    message: str
    outcome: Outcome = Outcome.COMPLETED


@dataclass(frozen=True, slots=True, repr=False)
class Refusal:
    """ErrorResponse (clause 6.7). `code`: `faults.Code`, or another's number. `message`: name of the request."""

    message: str
    code: int
    description: str


@dataclass(frozen=True, slots=True, repr=False)
class TaskAnswer:
    record: TaskRecord


@dataclass(frozen=True, slots=True, repr=False)
class DestinationAnswer:
    record: DestinationRecord


@dataclass(frozen=True, slots=True, repr=False)
class ElementStatusAnswer:
    status: ElementStatus


@dataclass(frozen=True, slots=True, repr=False)
class AllDetails:
    """GetAllDetails. `objects`: another's generic objects, as canonical XML; ours has none."""

    status: ElementStatus
    tasks: tuple[TaskRecord, ...] = ()
    destinations: tuple[DestinationRecord, ...] = ()
    objects: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class AllTaskDetails:
    tasks: tuple[TaskRecord, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class AllDestinationDetails:
    destinations: tuple[DestinationRecord, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class AllIdentifiers:
    """ListAllDetails. `objects`: ids of another's generic objects."""

    xids: tuple[UUID, ...] = ()
    dids: tuple[UUID, ...] = ()
    objects: tuple[UUID, ...] = ()


ResponseBody = (
    Done
    | Refusal
    | TaskAnswer
    | DestinationAnswer
    | ElementStatusAnswer
    | AllDetails
    | AllTaskDetails
    | AllDestinationDetails
    | AllIdentifiers
)

ANSWERS: Final[dict[str, type[ResponseBody]]] = {
    "GetTaskDetails": TaskAnswer,
    "GetDestinationDetails": DestinationAnswer,
    "GetNEStatus": ElementStatusAnswer,
    "GetAllDetails": AllDetails,
    "GetAllTaskDetails": AllTaskDetails,
    "GetAllDestinationDetails": AllDestinationDetails,
    "ListAllDetails": AllIdentifiers,
}
"""What answers which request; every other one is answered by `Done`, and each may be by `Refusal`."""

OBJECT_MESSAGES: Final = frozenset(command.value for command in ObjectCommand)
MESSAGES: Final = (
    frozenset(kind.__name__ for kind in get_args(RequestBody) if kind not in {Command, ObjectRequest})
    | frozenset(command.value for command in Command)
    | OBJECT_MESSAGES
)
"""All names that this implementation reads."""

EXTENDED: Final = "ExtendedRequestMessageType"
"""Names, in a refusal, a message that is not known here."""


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    header: Header
    body: RequestBody


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    header: Header
    body: ResponseBody


@dataclass(frozen=True, slots=True, repr=False)
class TopLevelError:
    """X1TopLevelErrorResponse: what was asked could not be read. The transaction of its header is not on the wire."""

    header: Header


def name_of(body: RequestBody) -> str:
    """The name of a request as the standard has it, without `Request`."""
    if isinstance(body, Command):
        return body.value
    return body.command.value if isinstance(body, ObjectRequest) else type(body).__name__


def answer_name(body: ResponseBody) -> str:
    """The name of the request that this answers."""
    if isinstance(body, Done | Refusal):
        return body.message
    return next(name for name, kind in ANSWERS.items() if kind is type(body))
