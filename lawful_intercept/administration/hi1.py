"""Warrants as XML in the shape of HI1 (ETSI TS 103 120): an Authorisation and an LITask for each. Pure.

Read: HI1Message with a RequestPayload whose actions CREATE such objects. Everything else is refused as a whole, never
read past: an element that is not understood could be a limit. Written: the same, element by element in its order, and
nothing that would be read as another warrant.

Services follow from the targets. Where they do not (a number is of either), a task names them itself, in a
dictionary of our own.

Answers, and the actions UPDATE, DELETE, GET and LIST, are not exchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from lxml import etree

from lawful_intercept.administration.records import spelled
from lawful_intercept.administration.warrants import Content, Scope, Service
from lawful_intercept.identifiers import TargetIdentifier
from nf.errors import InputError

CORE: Final = "http://uri.etsi.org/03120/common/2019/10/Core"
COMMON: Final = "http://uri.etsi.org/03120/common/2016/02/Common"
TASK: Final = "http://uri.etsi.org/03120/common/2020/09/Task"
AUTHORISATION: Final = "http://uri.etsi.org/03120/common/2020/09/Authorisation"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
ETSI_VERSION: Final = "V1.13.1"

MAX_OCTETS: Final = 1 << 20
MAX_ELEMENTS: Final = 20_000
MAX_WARRANTS: Final = 100

FORMATS: Final[Mapping[str, str]] = {
    "InternationalE164": "e164Number",
    "IMSI": "imsi",
    "IMEI": "imei",
    "SIPURI": "sipUri",
    "TELURI": "telUri",
    "IMPU": "impu",
    "NAI": "nai",
    "SUPIIMSI": "supiimsi",
    "SUPINAI": "supinai",
    "GPSIMSISDN": "gpsiMsisdn",
    "GPSINAI": "gpsiNai",
    "PEIIMEI": "peiImei",
    "PEIIMEISV": "peiImeisv",
    "IPv4Address": "ipv4Address",
    "IPv6Address": "ipv6Address",
}
"""FormatName of a target's format (owner ETSI) to X1's element name."""
_NAMES: Final = {form: name for name, form in FORMATS.items()}
_DELIVERIES: Final = {"IRIOnly": Scope.IRI, "IRIandCC": Scope.IRI_AND_CC}
_ETSI: Final = "ETSI"
_OWNER: Final = "StreamVerse"
_VOICE: Final = frozenset({"sipUri", "telUri", "impu"})
_EITHER: Final = frozenset({"e164Number"})

_NS: Final = {None: CORE, "xsi": XSI, "common": COMMON, "task": TASK, "auth": AUTHORISATION}


@dataclass(frozen=True, slots=True)
class Party:
    """Sender or receiver of a message: an ISO 3166 country code and a name that both sides agreed."""

    country: str
    identifier: str


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    sender: Party
    contents: tuple[Content, ...]


def read(octets: bytes, *, agency: str = "", services: frozenset[Service] = frozenset()) -> Message:
    """`agency`: our name of it; else the sender's identifier. `services`: of tasks that name none; else those of their
    targets. Raises InputError, which quotes nothing of it.
    """
    root = _parsed(octets)
    if root.tag != _name(CORE, "HI1Message"):
        raise _wrong("the root is not HI1Message", root)
    header, payload = _children(root, CORE, ("Header", "Payload"))
    sender = _party(_first(header, CORE, "SenderIdentifier"))
    objects = [_created(action) for action in _actions(payload)]
    identifiers = [_identifier(one) for one in objects]
    if len(set(identifiers)) < len(objects):
        raise _wrong("an object is there twice", payload)
    authorisations = {
        identifier: one
        for identifier, one in zip(identifiers, objects, strict=True)
        if _kind(one) == (AUTHORISATION, "AuthorisationObject")
    }
    tasks = [one for one in objects if _kind(one) == (TASK, "LITaskObject")]
    if len(authorisations) + len(tasks) != len(objects):
        raise _wrong("an object is neither AuthorisationObject nor LITaskObject", payload)
    used: set[UUID] = set()
    contents = tuple(_content(task, authorisations, used, agency or sender.identifier, services) for task in tasks)
    if not contents or used != authorisations.keys():
        raise _wrong("each authorisation and each task need one another", payload)
    if len(contents) > MAX_WARRANTS:
        raise _wrong(f"there are more than {MAX_WARRANTS} warrants", payload)
    return Message(sender, contents)


def write(contents: Mapping[UUID, Content], sender: Party, receiver: Party, now: datetime) -> bytes:
    """`contents`: by the identifier that its task object gets. Raises InputError for what no message can say."""
    root = etree.Element(_name(CORE, "HI1Message"), nsmap=_NS)
    _header(root, sender, receiver, now)
    request = _add(_add(root, CORE, "Payload"), CORE, "RequestPayload")
    actions = _add(request, CORE, "ActionRequests")
    try:
        for identifier, content in contents.items():
            authorisation = uuid4()
            _authorisation(_create(actions), content, authorisation, sender)
            _task(_create(actions), content, identifier, authorisation, sender)
    except ValueError:
        raise InputError("a warrant has characters that XML has not", where="HI1") from None
    octets = bytes(etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True))
    said = [replace(content, agency=sender.identifier) for content in contents.values()]
    if [*read(octets, agency=sender.identifier).contents] != said:
        raise InputError("a warrant would be read as another one", where="HI1")
    return octets


def _parsed(octets: bytes) -> etree._Element:
    if len(octets) > MAX_OCTETS:
        raise InputError("the message is longer than 1 MiB", where="HI1", remedy="split it")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(octets, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise InputError("not XML", where="HI1", remedy="send well-formed XML in UTF-8, without a DTD") from None
    if root.getroottree().docinfo.doctype:
        raise InputError("the message has a document type", where="HI1", remedy="send it without a DTD")
    if sum(1 for _ in root.iter()) > MAX_ELEMENTS:
        raise InputError("the message has too many elements", where="HI1", remedy="split it")
    return root


def _actions(payload: etree._Element) -> Iterator[etree._Element]:
    (request,) = _children(payload, CORE, ("RequestPayload",))
    (actions,) = _children(request, CORE, ("ActionRequests",))
    for action in actions:
        if action.tag != _name(CORE, "ActionRequest"):
            raise _wrong("among the actions is something else", action)
        yield action


def _created(action: etree._Element) -> etree._Element:
    _, create = _children(action, CORE, ("ActionIdentifier", "CREATE"))
    (made,) = _children(create, CORE, ("HI1Object",))
    return made


def _content(
    task: etree._Element,
    authorisations: Mapping[UUID, etree._Element],
    used: set[UUID],
    agency: str,
    services: frozenset[Service],
) -> Content:
    known = _fields(
        task,
        {
            **dict.fromkeys(("ObjectIdentifier", "CountryCode", "OwnerIdentifier", "AssociatedObjects"), CORE),
            **dict.fromkeys(("Reference", "DesiredStatus", "Timespan", "TargetIdentifier", "DeliveryType"), TASK),
        },
    )
    (associated,) = _children(_field(known, "AssociatedObjects", task), CORE, ("AssociatedObject",))
    identifier = _uuid(associated)
    authorisation = authorisations.get(identifier)
    if authorisation is None or identifier in used:
        raise _wrong("a task is of no authorisation of its own in this message", task)
    used.add(identifier)
    allowed = _fields(
        authorisation,
        {
            **dict.fromkeys(("ObjectIdentifier", "CountryCode", "OwnerIdentifier"), CORE),
            **dict.fromkeys(
                ("AuthorisationReference", "AuthorisationDesiredStatus", "AuthorisationTimespan"), AUTHORISATION
            ),
        },
    )
    _desired(known.get("DesiredStatus"), "TaskDesiredStatus", {"Active"})
    _desired(allowed.get("AuthorisationDesiredStatus"), "AuthorisationDesiredStatus", {"Approved", "Active"})
    start, stop = _timespan(_field(allowed, "AuthorisationTimespan", authorisation), AUTHORISATION)
    if "Timespan" in known:
        inner_start, inner_stop = _timespan(known["Timespan"], TASK)
        if inner_start < start or inner_stop > stop:
            raise _wrong("a task reaches beyond its authorisation", task)
        start, stop = inner_start, inner_stop
    named = _field(known, "TargetIdentifier", task)
    targets, ordered = _identified(named)
    services = ordered or services or _services_of(targets)
    if not services:
        what = "the targets do not tell whether voice or data is ordered: nf-li warrant import --service does"
        raise _wrong(what, named)
    return Content(
        liid=_text(_field(known, "Reference", task)),
        reference=_text(_field(allowed, "AuthorisationReference", authorisation)),
        agency=agency,
        targets=targets,
        services=services,
        scope=_scope(_field(known, "DeliveryType", task)),
        start=start,
        stop=stop,
    )


def _identified(named: etree._Element) -> tuple[tuple[TargetIdentifier, ...], frozenset[Service]]:
    """Targets, and the services that are named."""
    fields = _fields(named, dict.fromkeys(("TargetIdentifierValues", "ServiceType"), TASK))
    targets = tuple(_targets(_field(fields, "TargetIdentifierValues", named)))
    if (entry := fields.get("ServiceType")) is None:
        return targets, frozenset()
    words = _entry(entry, "ServiceType", _OWNER).split()
    if not words or not set(words) <= {service.value for service in Service}:
        raise _wrong("a service is neither voice nor data", entry)
    return targets, frozenset(map(Service, words))


def _services_of(targets: Iterable[TargetIdentifier]) -> frozenset[Service]:
    """None where a target could be meant for either."""
    forms = {target.form for target in targets}
    if forms & _EITHER:
        return frozenset()
    return frozenset(Service.VOICE if form in _VOICE else Service.DATA for form in forms)


def _targets(values: etree._Element) -> Iterator[TargetIdentifier]:
    for value in values:
        kind, text = _children(value, TASK, ("FormatType", "Value"))
        owner, name = _children(kind, TASK, ("FormatOwner", "FormatName"))
        form = FORMATS.get(_text(name)) if _text(owner) == _ETSI else None
        if value.tag != _name(TASK, "TargetIdentifierValue") or form is None:
            raise _wrong("the format of a target is not known", value)
        yield TargetIdentifier(form, _text(text))


def _scope(entry: etree._Element) -> Scope:
    scope = _DELIVERIES.get(_entry(entry, "TaskDeliveryType"))
    if scope is None:
        raise _wrong("the delivery type is neither IRIOnly nor IRIandCC", entry)
    return scope


def _desired(entry: etree._Element | None, name: str, wanted: set[str]) -> None:
    if entry is not None and _entry(entry, name) not in wanted:
        raise _wrong("a new object is wanted in another status than to be active", entry)


def _entry(entry: etree._Element, expected: str, whose: str = _ETSI) -> str:
    """Value of a dictionary entry."""
    owner, name, value = _children(entry, COMMON, ("Owner", "Name", "Value"))
    if _text(owner) != whose or _text(name) != expected:
        raise _wrong("a dictionary entry is of another dictionary", entry)
    return _text(value)


def _timespan(span: etree._Element, namespace: str) -> tuple[datetime, datetime]:
    start, stop = (_moment(one) for one in _children(span, namespace, ("StartTime", "EndTime")))
    return start, stop


def _moment(element: etree._Element) -> datetime:
    try:
        at = datetime.fromisoformat(_text(element))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise _wrong("a time is none, or without its offset", element)
    return at.astimezone(UTC)


def _party(element: etree._Element) -> Party:
    country, identifier = _children(element, CORE, ("CountryCode", "UniqueIdentifier"))
    return Party(_text(country), _text(identifier))


def _kind(made: etree._Element) -> tuple[str, str]:
    """What xsi:type names, its prefix resolved."""
    prefix, _, local = made.get(_name(XSI, "type"), "").rpartition(":")
    return made.nsmap.get(prefix or None, ""), local


def _identifier(made: etree._Element) -> UUID:
    return _uuid(_first(made, CORE, "ObjectIdentifier"))


def _uuid(element: etree._Element) -> UUID:
    try:
        return UUID(_text(element))
    except ValueError:
        raise _wrong("an identifier is no UUID", element) from None


def _children(parent: etree._Element, namespace: str, names: tuple[str, ...]) -> list[etree._Element]:
    """Exactly these, in this order."""
    found = list(parent)
    if [one.tag for one in found] != [_name(namespace, name) for name in names]:
        raise _wrong(f"it has to hold {', '.join(names)}, and nothing else", parent)
    return found


def _fields(parent: etree._Element, allowed: Mapping[str, str]) -> dict[str, etree._Element]:
    """By local name, each once, none but `allowed`."""
    fields: dict[str, etree._Element] = {}
    for one in parent:
        local = etree.QName(one).localname
        if local in fields or allowed.get(local) != etree.QName(one).namespace:
            raise _wrong("it is not understood here, or is there twice", one)
        fields[local] = one
    return fields


def _field(fields: Mapping[str, etree._Element], name: str, parent: etree._Element) -> etree._Element:
    if name not in fields:
        raise _wrong(f"{name} is missing", parent)
    return fields[name]


def _first(parent: etree._Element, namespace: str, name: str) -> etree._Element:
    found: etree._Element | None = parent.find(_name(namespace, name))
    if found is None:
        raise _wrong(f"{name} is missing", parent)
    return found


def _text(element: etree._Element) -> str:
    if len(element):
        raise _wrong("text is expected here", element)
    return (element.text or "").strip()


def _wrong(what: str, element: etree._Element) -> InputError:
    local = etree.QName(element).localname
    return InputError(
        what, where=f"HI1 line {element.sourceline}, {local}", remedy="see docs/interception-administration.md"
    )


def _name(namespace: str, local: str) -> str:
    return f"{{{namespace}}}{local}"


def _add(parent: etree._Element, namespace: str, local: str, text: str | None = None) -> etree._Element:
    made = etree.SubElement(parent, _name(namespace, local))
    made.text = text
    return made


def _create(actions: etree._Element) -> etree._Element:
    """The object of one more action; actions are numbered from 0."""
    number = len(actions)
    action = _add(actions, CORE, "ActionRequest")
    _add(action, CORE, "ActionIdentifier", str(number))
    return _add(_add(action, CORE, "CREATE"), CORE, "HI1Object")


def _header(root: etree._Element, sender: Party, receiver: Party, now: datetime) -> None:
    header = _add(root, CORE, "Header")
    for name, party in (("SenderIdentifier", sender), ("ReceiverIdentifier", receiver)):
        made = _add(header, CORE, name)
        _add(made, CORE, "CountryCode", party.country)
        _add(made, CORE, "UniqueIdentifier", party.identifier)
    _add(header, CORE, "TransactionIdentifier", str(uuid4()))
    _add(header, CORE, "Timestamp", now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    version = _add(header, CORE, "Version")
    _add(version, CORE, "ETSIVersion", ETSI_VERSION)
    _add(version, CORE, "NationalProfileOwner", sender.country)
    _add(version, CORE, "NationalProfileVersion", "v1.0")


def _object(made: etree._Element, kind: str, identifier: UUID, owner: Party) -> None:
    made.set(_name(XSI, "type"), kind)
    _add(made, CORE, "ObjectIdentifier", str(identifier))
    _add(made, CORE, "CountryCode", owner.country)
    _add(made, CORE, "OwnerIdentifier", owner.identifier)


def _dictionary(
    parent: etree._Element, namespace: str, local: str, name: str, value: str, *, owner: str = _ETSI
) -> None:
    entry = _add(parent, namespace, local)
    _add(entry, COMMON, "Owner", owner)
    _add(entry, COMMON, "Name", name)
    _add(entry, COMMON, "Value", value)


def _span(parent: etree._Element, namespace: str, local: str, content: Content) -> None:
    span = _add(parent, namespace, local)
    _add(span, namespace, "StartTime", spelled(content.start))
    _add(span, namespace, "EndTime", spelled(content.stop))


def _authorisation(made: etree._Element, content: Content, identifier: UUID, owner: Party) -> None:
    _object(made, "auth:AuthorisationObject", identifier, owner)
    _add(made, AUTHORISATION, "AuthorisationReference", content.reference)
    _dictionary(made, AUTHORISATION, "AuthorisationDesiredStatus", "AuthorisationDesiredStatus", "Approved")
    _span(made, AUTHORISATION, "AuthorisationTimespan", content)


def _task(made: etree._Element, content: Content, identifier: UUID, authorisation: UUID, owner: Party) -> None:
    _object(made, "task:LITaskObject", identifier, owner)
    _add(_add(made, CORE, "AssociatedObjects"), CORE, "AssociatedObject", str(authorisation))
    _add(made, TASK, "Reference", content.liid)
    _dictionary(made, TASK, "DesiredStatus", "TaskDesiredStatus", "Active")
    _span(made, TASK, "Timespan", content)
    named = _add(made, TASK, "TargetIdentifier")
    values = _add(named, TASK, "TargetIdentifierValues")
    for target in content.targets:
        value = _add(values, TASK, "TargetIdentifierValue")
        kind = _add(value, TASK, "FormatType")
        _add(kind, TASK, "FormatOwner", _ETSI)
        _add(kind, TASK, "FormatName", _NAMES[target.form])
        _add(value, TASK, "Value", target.value)
    if content.services != _services_of(content.targets):
        words = " ".join(sorted(service.value for service in content.services))
        _dictionary(named, TASK, "ServiceType", "ServiceType", words, owner=_OWNER)
    delivery = next(name for name, scope in _DELIVERIES.items() if scope is content.scope)
    _dictionary(made, TASK, "DeliveryType", "TaskDeliveryType", delivery)
