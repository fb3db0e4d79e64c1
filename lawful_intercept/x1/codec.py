"""X1 documents: requests and responses as XML and back (ETSI TS 103 221-1 clauses 6 and 7.2). Sans-IO.

A container holds one message or more. Where one of them is at fault, its header is told with the fault, so that it
alone is refused; where that cannot be read either, all of the document is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

from lxml import etree

from lawful_intercept.x1 import details as d
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1 import xml
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.messages import (
    DestinationRecord,
    Header,
    IssueType,
    Outcome,
    ReportType,
    TaskRecord,
    time_text,
)
from lawful_intercept.x1.xml import Reader, optional, put, syntax, text_of, value_of
from nf.errors import InputError

T = TypeVar("T")

MESSAGE_LIMIT: Final = 1000
"""Messages of one document."""
NEWEST_MINOR: Final = 22
_NO_TRANSACTION: Final = UUID(int=0)
_TYPED: Final = frozenset({xml.XSI_TYPE})
_COMMANDS: Final = {each.value: each for each in e.Command}
_OBJECT_COMMANDS: Final = {each.value: each for each in e.ObjectCommand}


@dataclass(frozen=True, slots=True, repr=False)
class Unreadable:
    """A message whose header can be read and the rest not, or not here. `message`: its name, or `exchange.EXTENDED`."""

    header: Header
    message: str
    fault: X1Fault


def encode_requests(requests: Sequence[e.Request]) -> bytes:
    """X1Request. Raises InputError where a text holds what XML cannot."""
    root = xml.root_element("X1Request")
    for request in requests:
        node = _start(root, "x1RequestMessage", f"{e.name_of(request.body)}Request", request.header)
        _write_request(node, request.body)
    return xml.serialise(root)


def encode_responses(responses: Sequence[e.Response]) -> bytes:
    """X1Response. Raises InputError as `encode_requests`."""
    root = xml.root_element("X1Response")
    for response in responses:
        body = response.body
        kind = "ErrorResponse" if isinstance(body, e.Refusal) else f"{e.answer_name(body)}Response"
        _write_response(_start(root, "x1ResponseMessage", kind, response.header), body)
    return xml.serialise(root)


def encode_top_level_error(header: Header) -> bytes:
    root = xml.root_element("X1TopLevelErrorResponse")
    _write_header(root, header, transaction=False)
    return xml.serialise(root)


def decode_requests(octets: bytes, limit: int = xml.REQUEST_LIMIT) -> tuple[e.Request | Unreadable, ...]:
    """Raises X1Fault where no answer to single messages is possible: the document is not one, or a header is not."""
    root = xml.parse(octets, limit)
    if root.tag != f"{{{xml.X1}}}X1Request":
        raise syntax("the document is no X1Request")
    return tuple(_read_request(node) for node in _messages(root, "x1RequestMessage"))


def decode_responses(octets: bytes, limit: int = xml.RESPONSE_LIMIT) -> tuple[e.Response, ...] | e.TopLevelError:
    """Raises X1Fault where the document is not what the schema says."""
    root = xml.parse(octets, limit)
    if root.tag == f"{{{xml.X1}}}X1TopLevelErrorResponse":
        reader = Reader(root, xml.SCHEMA_HINTS)
        header = _read_header(reader, transaction=False)
        reader.end()
        return e.TopLevelError(header)
    if root.tag != f"{{{xml.X1}}}X1Response":
        raise syntax("the document is no X1Response")
    return tuple(_read_response(node) for node in _messages(root, "x1ResponseMessage"))


def check_version(version: str) -> None:
    """Raises X1Fault (1020) for another major version, and for a minor one newer than what is known here."""
    major, minor, _ = version.removeprefix("v").split(".")
    if int(major) != 1 or int(minor) > NEWEST_MINOR:
        raise X1Fault(Code.VERSION)


def _messages(root: etree._Element, name: str) -> list[etree._Element]:
    reader = Reader(root, xml.SCHEMA_HINTS)
    found = list(reader.every(name))
    reader.end()
    if not found:
        raise syntax("the document holds no message")
    if len(found) > MESSAGE_LIMIT:
        raise syntax("the document holds too many messages")
    return found


def _start(root: etree._Element, name: str, kind: str, header: Header) -> etree._Element:
    node = put(root, name)
    node.set(xml.XSI_TYPE, f"x1:{kind}")
    _write_header(node, header)
    return node


def _write_header(node: etree._Element, header: Header, *, transaction: bool = True) -> None:
    put(node, "admfIdentifier", header.admf)
    put(node, "neIdentifier", header.element)
    put(node, "messageTimestamp", time_text(header.at))
    put(node, "version", header.version)
    if transaction:
        put(node, "x1TransactionId", str(header.transaction))


def _read_header(reader: Reader, *, transaction: bool = True) -> Header:
    try:
        return Header(
            admf=value_of(reader.one("admfIdentifier"), str),
            element=value_of(reader.one("neIdentifier"), str),
            at=value_of(reader.one("messageTimestamp"), d.time),
            version=value_of(reader.one("version"), str, exact=True),
            transaction=value_of(reader.one("x1TransactionId"), d.uuid) if transaction else _NO_TRANSACTION,
        )
    except InputError as error:
        raise syntax(error.message) from None


def _kind(node: etree._Element) -> str:
    """The local name of xsi:type, whose prefix is resolved; "" where there is none of X1."""
    written = str(node.get(xml.XSI_TYPE, "")).strip()
    prefix, colon, name = written.rpartition(":")
    namespace = node.nsmap.get(prefix if colon else None)
    return name if namespace == xml.X1 else ""


def _read_request(node: etree._Element) -> e.Request | Unreadable:
    kind = _kind(node)
    name = kind.removesuffix("Request") if kind.endswith("Request") else ""
    reader = Reader(node, _TYPED)
    header = _read_header(reader)
    known = name in e.MESSAGES
    try:
        check_version(header.version)
        if not known:
            raise X1Fault(Code.UNSUPPORTED) if name else syntax("a message has no type of X1")
        body = _read_request_body(reader, name)
        reader.end()
    except X1Fault as fault:
        return Unreadable(header, name if known else e.EXTENDED, fault)
    return e.Request(header, body)


def _read_request_body(reader: Reader, name: str) -> e.RequestBody:
    if name in _COMMANDS:
        return _COMMANDS[name]
    if name in _OBJECT_COMMANDS:
        return e.ObjectRequest(_OBJECT_COMMANDS[name], reader.rest())
    return _REQUESTS[name](reader)


def _read_task_report(reader: Reader) -> e.ReportTaskIssue:
    return e.ReportTaskIssue(
        value_of(reader.one("xId"), d.uuid),
        value_of(reader.one("taskReportType"), ReportType, exact=True),
        optional(reader, "taskIssueErrorCode", xml.integer),
        _text(reader, "taskIssueDetails"),
        d.read_extensions(reader, "taskIssueExtensions"),
    )


def _read_destination_report(reader: Reader) -> e.ReportDestinationIssue:
    return e.ReportDestinationIssue(
        value_of(reader.one("dId"), d.uuid),
        value_of(reader.one("destinationReportType"), ReportType, exact=True),
        optional(reader, "destinationIssueErrorCode", xml.integer),
        _text(reader, "destinationIssueDetails"),
    )


def _read_element_report(reader: Reader) -> e.ReportNEIssue:
    return e.ReportNEIssue(
        value_of(reader.one("typeOfNeIssueMessage"), IssueType, exact=True),
        text_of(reader.one("description")),
        optional(reader, "issueCode", xml.integer),
        d.read_extensions(reader, "nEIssueExtensions"),
    )


_REQUESTS: Final[dict[str, Callable[[Reader], e.RequestBody]]] = {
    "ActivateTask": lambda reader: e.ActivateTask(d.read_task(reader.one("taskDetails"))),
    "ModifyTask": lambda reader: e.ModifyTask(d.read_task(reader.one("taskDetails"))),
    "DeactivateTask": lambda reader: e.DeactivateTask(value_of(reader.one("xId"), d.uuid)),
    "CreateDestination": lambda reader: e.CreateDestination(d.read_destination(reader.one("destinationDetails"))),
    "ModifyDestination": lambda reader: e.ModifyDestination(d.read_destination(reader.one("destinationDetails"))),
    "RemoveDestination": lambda reader: e.RemoveDestination(value_of(reader.one("dId"), d.uuid)),
    "GetTaskDetails": lambda reader: e.GetTaskDetails(value_of(reader.one("xId"), d.uuid)),
    "GetDestinationDetails": lambda reader: e.GetDestinationDetails(value_of(reader.one("dId"), d.uuid)),
    "ReportTaskIssue": _read_task_report,
    "ReportDestinationIssue": _read_destination_report,
    "ReportNEIssue": _read_element_report,
}


def _write_request(node: etree._Element, body: e.RequestBody) -> None:  # noqa: C901 - one line for each message
    match body:
        case e.ActivateTask() | e.ModifyTask():
            d.write_task(node, "taskDetails", body.details)
        case e.CreateDestination() | e.ModifyDestination():
            d.write_destination(node, "destinationDetails", body.details)
        case e.DeactivateTask() | e.GetTaskDetails():
            put(node, "xId", str(body.xid))
        case e.RemoveDestination() | e.GetDestinationDetails():
            put(node, "dId", str(body.did))
        case e.ObjectRequest():
            for octets in body.content:
                xml.put_canonical(node, octets)
        case e.ReportTaskIssue():
            put(node, "xId", str(body.xid))
            put(node, "taskReportType", body.report.value)
            _put_some(node, taskIssueErrorCode=body.code, taskIssueDetails=body.text)
            d.write_extensions(node, "taskIssueExtensions", body.extensions)
        case e.ReportDestinationIssue():
            put(node, "dId", str(body.did))
            put(node, "destinationReportType", body.report.value)
            _put_some(node, destinationIssueErrorCode=body.code, destinationIssueDetails=body.text)
        case e.ReportNEIssue():
            put(node, "typeOfNeIssueMessage", body.issue.value)
            put(node, "description", body.text)
            _put_some(node, issueCode=body.code)
            d.write_extensions(node, "nEIssueExtensions", body.extensions)
        case e.Command():
            pass


def _put_some(node: etree._Element, **fields: int | str | None) -> None:
    for name, value in fields.items():
        if value is not None:
            put(node, name, str(value))


def _write_response(node: etree._Element, body: e.ResponseBody) -> None:  # noqa: C901, PLR0912 - one line for each message
    match body:
        case e.Done():
            put(node, "oK", body.outcome.value)
        case e.Refusal():
            put(node, "requestMessageType", body.message)
            inner = put(node, "errorInformation")
            put(inner, "errorCode", str(body.code))
            put(inner, "errorDescription", body.description)
        case e.TaskAnswer():
            d.write_task_record(node, body.record)
        case e.DestinationAnswer():
            d.write_destination_record(node, body.record)
        case e.ElementStatusAnswer():
            d.write_element_status(node, body.status)
        case e.AllDetails():
            d.write_element_status(node, body.status)
            _write_tasks(node, body.tasks)
            _write_destinations(node, body.destinations)
            if body.objects:
                listed = put(node, "listOfGenericObjectResponseDetails")
                for octets in body.objects:
                    xml.put_canonical(listed, octets)
        case e.AllTaskDetails():
            _write_tasks(node, body.tasks)
        case e.AllDestinationDetails():
            _write_destinations(node, body.destinations)
        case e.AllIdentifiers():
            listed = put(node, "ListOfXIDs")
            for xid in body.xids:
                put(listed, "xId", str(xid))
            d.write_dids(node, "ListOfDIDs", body.dids)
            if body.objects:
                listed = put(node, "ListOfGenericObjectIDs")
                for each in body.objects:
                    put(listed, "objectId", str(each))


def _write_tasks(node: etree._Element, tasks: Sequence[TaskRecord]) -> None:
    listed = put(node, "listOfTaskResponseDetails")
    for record in tasks:
        d.write_task_record(listed, record)


def _write_destinations(node: etree._Element, destinations: Sequence[DestinationRecord]) -> None:
    listed = put(node, "listOfDestinationResponseDetails")
    for record in destinations:
        d.write_destination_record(listed, record)


def _read_response(node: etree._Element) -> e.Response:
    kind = _kind(node)
    reader = Reader(node, _TYPED)
    header = _read_header(reader)
    if not kind.endswith("Response"):
        raise syntax("a response has no type of X1")
    name = kind.removesuffix("Response")
    body: e.ResponseBody
    if name == "Error":
        body = _read_refusal(reader)
    elif name in e.ANSWERS:
        body = _ANSWERS[name](reader)
    elif name in e.MESSAGES:
        body = e.Done(name, value_of(reader.one("oK"), Outcome, exact=True))
    else:
        raise syntax("the type of a response is not known")
    reader.end()
    return e.Response(header, body)


def _read_refusal(reader: Reader) -> e.Refusal:
    message = value_of(reader.one("requestMessageType"), str, exact=True)
    if message not in e.MESSAGES and message != e.EXTENDED:
        raise syntax("requestMessageType is not one")
    inner = Reader(reader.one("errorInformation"))
    refusal = e.Refusal(message, value_of(inner.one("errorCode"), xml.integer), text_of(inner.one("errorDescription")))
    inner.end()
    if (extension := reader.maybe("extensionInformation")) is not None:
        inner = Reader(extension)
        text_of(inner.one("extensionSpecification"))
        text_of(inner.one("extendedRequestMessageType"))
        inner.end()
    return refusal


def _read_all(reader: Reader) -> e.AllDetails:
    status = d.read_element_status(reader.one("neStatusDetails"))
    tasks = _read_tasks(reader.one("listOfTaskResponseDetails"))
    destinations = _read_destinations(reader.one("listOfDestinationResponseDetails"))
    listed = reader.maybe("listOfGenericObjectResponseDetails")
    return e.AllDetails(status, tasks, destinations, () if listed is None else Reader(listed).rest())


def _read_tasks(node: etree._Element | None) -> tuple[TaskRecord, ...]:
    return _list(node, "taskResponseDetails", d.read_task_record)


def _read_destinations(node: etree._Element | None) -> tuple[DestinationRecord, ...]:
    return _list(node, "destinationResponseDetails", d.read_destination_record)


def _list(node: etree._Element | None, name: str, read: Callable[[etree._Element], T]) -> tuple[T, ...]:
    if node is None:
        return ()
    reader = Reader(node)
    found = tuple(read(each) for each in reader.every(name))
    reader.end()
    return found


def _read_identifiers(reader: Reader) -> e.AllIdentifiers:
    xids = _list(reader.one("ListOfXIDs"), "xId", lambda node: value_of(node, d.uuid))
    dids = d.read_dids(reader.one("ListOfDIDs"))
    objects = _list(reader.maybe("ListOfGenericObjectIDs"), "objectId", lambda node: value_of(node, d.uuid))
    return e.AllIdentifiers(xids, dids, objects)


_ANSWERS: Final[dict[str, Callable[[Reader], e.ResponseBody]]] = {
    "GetTaskDetails": lambda reader: e.TaskAnswer(d.read_task_record(reader.one("taskResponseDetails"))),
    "GetDestinationDetails": lambda reader: e.DestinationAnswer(
        d.read_destination_record(reader.one("destinationResponseDetails"))
    ),
    "GetNEStatus": lambda reader: e.ElementStatusAnswer(d.read_element_status(reader.one("neStatusDetails"))),
    "GetAllDetails": _read_all,
    "GetAllTaskDetails": lambda reader: e.AllTaskDetails(_read_tasks(reader.maybe("listOfTaskResponseDetails"))),
    "GetAllDestinationDetails": lambda reader: e.AllDestinationDetails(
        _read_destinations(reader.maybe("listOfDestinationResponseDetails"))
    ),
    "ListAllDetails": _read_identifiers,
}


def _text(reader: Reader, name: str) -> str | None:
    node = reader.maybe(name)
    return None if node is None else text_of(node)
