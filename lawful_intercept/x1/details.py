"""Task, destination and mediation details and their status, as XML and back (ETSI TS 103 221-1 clauses 6.2, 6.3, 6.4).

What would narrow or widen an interception and is not known here is refused, never passed over. Raises X1Fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from uuid import UUID

from lxml import etree

from lawful_intercept.identifiers import RULES, TargetIdentifier
from lawful_intercept.x1 import messages as m
from lawful_intercept.x1.faults import Code, X1Fault
from lawful_intercept.x1.xml import (
    COMMON,
    Reader,
    boolean,
    canonical,
    integer,
    natural,
    optional,
    put,
    put_canonical,
    syntax,
    text_of,
    value_of,
)
from nf.errors import InputError

_UUID: Final = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}(?:Z|[+-][0-9]{2}:[0-9]{2})")
_OTHER_TARGETS: Final = frozenset(
    {
        "macAddress",
        "ipv4Cidr",
        "ipv6Cidr",
        "tcpPort",
        "tcpPortRange",
        "tcpPortList",
        "udpPort",
        "udpPortRange",
        "udpPortList",
        "emailAddress",
        "internationalizedEmailAddress",
        "h323Uri",
        "impi",
        "radiusAttribute",
        "gtpuTunnelId",
        "gtpcTunnelId",
        "callPartyRole",
        "nonLocalIdentifier",
        "suci",
        "peiImeiCheckDigit",
        "eui64",
        "serviceAccessIdentifier",
        "hashedIdentifier",
        "targetIdentifierExtension",
        "vrf",
    }
)
"""Criteria of the standard that nothing here can match."""


def uuid(text: str) -> UUID:
    """Lower case with hyphens. Raises ValueError."""
    if _UUID.fullmatch(text) is None:
        raise ValueError
    return UUID(text)


def time(text: str) -> datetime:
    """QualifiedMicrosecondDateTime, as UTC. Raises ValueError."""
    if _TIME.fullmatch(text) is None:
        raise ValueError
    moment = datetime.fromisoformat(text)
    if abs(moment.utcoffset() or timedelta()) > timedelta(hours=14):
        raise ValueError
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError from None


def read_task(node: etree._Element) -> m.TaskDetails:
    reader = Reader(node)
    xid = value_of(reader.one("xId"), uuid)
    targets = _read_targets(reader.one("targetIdentifiers"))
    delivery = value_of(reader.one("deliveryType"), m.DeliveryType, exact=True)
    destinations = read_dids(reader.one("listOfDIDs"))
    mediation: tuple[m.MediationDetails, ...] = ()
    if (listed := reader.maybe("listOfMediationDetails")) is not None:
        inner = Reader(listed)
        mediation = tuple(_read_mediation(each) for each in inner.every("mediationDetails"))
        inner.end()
    correlation = optional(reader, "correlationID", natural)
    implicit = optional(reader, "implicitDeactivationAllowed", boolean)
    product = optional(reader, "productID", uuid)
    services: tuple[m.ServiceType, ...] = ()
    if (listed := reader.maybe("listOfServiceTypes")) is not None:
        inner = Reader(listed)
        services = tuple(value_of(each, m.ServiceType, exact=True) for each in inner.every("serviceType"))
        inner.end()
        if not services:
            raise syntax("listOfServiceTypes is empty")
    extensions = read_extensions(reader, "taskDetailsExtensions")
    if reader.peek("listOfTrafficPolicyReferences"):
        raise X1Fault(Code.COMBINATION, "traffic policies are not supported")
    reader.end()
    try:
        return m.TaskDetails(
            xid, targets, delivery, destinations, mediation, correlation, implicit, product, services, extensions
        )
    except InputError as error:
        raise syntax(error.message) from None


def write_task(parent: etree._Element, name: str, task: m.TaskDetails) -> None:
    node = put(parent, name)
    put(node, "xId", str(task.xid))
    targets = put(node, "targetIdentifiers")
    for target in task.targets:
        put(put(targets, "targetIdentifier"), target.form, target.value)
    put(node, "deliveryType", task.delivery.value)
    write_dids(node, "listOfDIDs", task.destinations)
    if task.mediation:
        listed = put(node, "listOfMediationDetails")
        for mediation in task.mediation:
            _write_mediation(listed, mediation)
    if task.correlation is not None:
        put(node, "correlationID", str(task.correlation))
    if task.implicit_deactivation is not None:
        put(node, "implicitDeactivationAllowed", "true" if task.implicit_deactivation else "false")
    if task.product is not None:
        put(node, "productID", str(task.product))
    if task.services:
        listed = put(node, "listOfServiceTypes")
        for service in task.services:
            put(listed, "serviceType", service.value)
    write_extensions(node, "taskDetailsExtensions", task.extensions)


def read_destination(node: etree._Element) -> m.DestinationDetails:
    reader = Reader(node)
    did = value_of(reader.one("dId"), uuid)
    named = reader.maybe("friendlyName")
    delivery = value_of(reader.one("deliveryType"), m.DeliveryType, exact=True)
    address = _read_address(reader.one("deliveryAddress"))
    extensions = read_extensions(reader, "destinationDetailsExtensions")
    reader.end()
    return m.DestinationDetails(did, delivery, address, "" if named is None else text_of(named), extensions)


def write_destination(parent: etree._Element, name: str, destination: m.DestinationDetails) -> None:
    node = put(parent, name)
    put(node, "dId", str(destination.did))
    if destination.name:
        put(node, "friendlyName", destination.name)
    put(node, "deliveryType", destination.delivery.value)
    outer = put(node, "deliveryAddress")
    if isinstance(destination.address, m.UriAddress):
        put(outer, "uri", destination.address.uri)
    else:
        inner = put(outer, "ipAddressAndPort")
        address = destination.address.address
        put(put(inner, "address", namespace=COMMON), f"IPv{address.version}Address", address.exploded, COMMON)
        put(put(inner, "port", namespace=COMMON), "TCPPort", str(destination.address.port), COMMON)
    write_extensions(node, "destinationDetailsExtensions", destination.extensions)


def read_dids(node: etree._Element) -> tuple[UUID, ...]:
    reader = Reader(node)
    found = tuple(value_of(each, uuid) for each in reader.every("dId"))
    if reader.peek("dSId"):
        raise X1Fault(Code.OBJECT_UNKNOWN, "sets of destinations are not supported")
    reader.end()
    return found


def write_dids(parent: etree._Element, name: str, dids: Iterable[UUID]) -> None:
    node = put(parent, name)
    for did in dids:
        put(node, "dId", str(did))


def read_extensions(reader: Reader, name: str) -> tuple[m.Extension, ...]:
    found = []
    for node in reader.every(name):
        inner = Reader(node)
        owner = text_of(inner.one("Owner"))
        content = tuple(canonical(each) for each in inner.foreign())
        inner.end()
        found.append(m.Extension(owner, content))
    return tuple(found)


def write_extensions(parent: etree._Element, name: str, extensions: Iterable[m.Extension]) -> None:
    for extension in extensions:
        node = put(parent, name)
        put(node, "Owner", extension.owner)
        for octets in extension.content:
            put_canonical(node, octets)


def read_task_record(node: etree._Element) -> m.TaskRecord:
    reader = Reader(node)
    record = m.TaskRecord(read_task(reader.one("taskDetails")), _read_task_status(reader.one("taskStatus")))
    reader.end()
    return record


def write_task_record(parent: etree._Element, record: m.TaskRecord) -> None:
    node = put(parent, "taskResponseDetails")
    write_task(node, "taskDetails", record.details)
    status = put(node, "taskStatus")
    put(status, "provisioningStatus", record.status.provisioning.value)
    _write_faults(status, record.status.faults)
    if record.status.last_intercept is not None:
        put(status, "timeOfLastIntercept", m.time_text(record.status.last_intercept))
    for name, number in (("amountOfX2Data", record.status.x2_octets), ("amountOfX3Data", record.status.x3_octets)):
        if number is not None:
            put(status, name, str(number))
    if record.status.last_modified is not None:
        put(status, "timeOfLastModification", m.time_text(record.status.last_modified))
    if record.status.modifications is not None:
        put(status, "numberOfModifications", str(record.status.modifications))
    write_extensions(status, "taskStatusExtensions", record.status.extensions)


def read_destination_record(node: etree._Element) -> m.DestinationRecord:
    reader = Reader(node)
    details = read_destination(reader.one("destinationDetails"))
    inner = Reader(reader.one("destinationStatus"))
    delivery = value_of(inner.one("destinationDeliveryStatus"), m.DeliveryStatus, exact=True)
    status = m.DestinationStatus(delivery, _read_faults(inner.one("listOfFaults")))
    inner.end()
    reader.end()
    return m.DestinationRecord(details, status)


def write_destination_record(parent: etree._Element, record: m.DestinationRecord) -> None:
    node = put(parent, "destinationResponseDetails")
    write_destination(node, "destinationDetails", record.details)
    status = put(node, "destinationStatus")
    put(status, "destinationDeliveryStatus", record.status.delivery.value)
    _write_faults(status, record.status.faults)


def read_element_status(node: etree._Element) -> m.ElementStatus:
    reader = Reader(node)
    condition = value_of(reader.one("neStatus"), m.ElementCondition, exact=True)
    status = m.ElementStatus(condition, _read_faults(reader.one("listOfFaults")))
    reader.end()
    return status


def write_element_status(parent: etree._Element, status: m.ElementStatus) -> None:
    node = put(parent, "neStatusDetails")
    put(node, "neStatus", status.condition.value)
    _write_faults(node, status.faults)


def _read_targets(node: etree._Element) -> tuple[TargetIdentifier, ...]:
    reader = Reader(node)
    found = tuple(_read_target(each) for each in reader.every("targetIdentifier"))
    reader.end()
    if not found:
        raise syntax("targetIdentifiers is empty")
    return found


def _read_target(node: etree._Element) -> TargetIdentifier:
    reader = Reader(node)
    for form in RULES:
        if (found := reader.maybe(form)) is not None:
            reader.end()
            return value_of(found, partial(TargetIdentifier, form))
    if any(reader.peek(form) for form in _OTHER_TARGETS):
        raise X1Fault(Code.TARGET_TYPE)
    raise syntax("targetIdentifier holds no identifier that is known")


def _read_mediation(node: etree._Element) -> m.MediationDetails:
    reader = Reader(node)
    liid = value_of(reader.one("LIID"), str, exact=True)
    delivery = value_of(reader.one("deliveryType"), m.HandoverType, exact=True)
    start = optional(reader, "StartTime", time)
    end = optional(reader, "EndTime", time)
    listed = reader.maybe("listOfDIDs")
    destinations = () if listed is None else read_dids(listed)
    extensions = read_extensions(reader, "mediationDetailsExtensions")
    if reader.peek("serviceScopingOptions") or reader.peek("listOfTrafficPolicyReferences"):
        raise X1Fault(Code.COMBINATION, "scoping of services and traffic policies are not supported")
    reader.end()
    try:
        return m.MediationDetails(liid, delivery, start, end, destinations, extensions)
    except InputError as error:
        raise syntax(error.message) from None


def _write_mediation(parent: etree._Element, mediation: m.MediationDetails) -> None:
    node = put(parent, "mediationDetails")
    put(node, "LIID", mediation.liid)
    put(node, "deliveryType", mediation.delivery.value)
    for name, instant in (("StartTime", mediation.start), ("EndTime", mediation.end)):
        if instant is not None:
            put(node, name, m.time_text(instant))
    if mediation.destinations:
        write_dids(node, "listOfDIDs", mediation.destinations)
    write_extensions(node, "mediationDetailsExtensions", mediation.extensions)


def _read_address(node: etree._Element) -> m.SocketAddress | m.UriAddress:
    reader = Reader(node)
    if reader.peek("e164Number") or reader.peek("emailAddress"):
        raise X1Fault(Code.ADDRESS_TYPE)
    found = reader.maybe("uri")
    if found is not None:
        reader.end()
        return value_of(found, m.UriAddress)
    inner = Reader(reader.one("ipAddressAndPort"))
    reader.end()
    host, port = Reader(inner.one("address", COMMON)), Reader(inner.one("port", COMMON))
    inner.end()
    address: IPv4Address | IPv6Address
    if (found := host.maybe("IPv6Address", COMMON)) is not None:
        address = value_of(found, _ipv6)
    else:
        address = value_of(host.one("IPv4Address", COMMON), IPv4Address)
    host.end()
    if port.peek("UDPPort", COMMON):
        raise X1Fault(Code.ADDRESS_TYPE, "delivery over UDP is not supported")
    number = value_of(port.one("TCPPort", COMMON), natural)
    port.end()
    try:
        return m.SocketAddress(address, number)
    except InputError as error:
        raise syntax(error.message) from None


def _ipv6(text: str) -> IPv6Address:
    if re.fullmatch(r"(?:[0-9a-f]{4}:){7}[0-9a-f]{4}", text) is None:
        raise ValueError
    return IPv6Address(text)


def _read_task_status(node: etree._Element) -> m.TaskStatus:
    reader = Reader(node)
    status = m.TaskStatus(
        provisioning=value_of(reader.one("provisioningStatus"), m.Provisioning, exact=True),
        faults=_read_faults(reader.one("listOfFaults")),
        last_intercept=optional(reader, "timeOfLastIntercept", time),
        x2_octets=optional(reader, "amountOfX2Data", integer),
        x3_octets=optional(reader, "amountOfX3Data", integer),
        last_modified=optional(reader, "timeOfLastModification", time),
        modifications=optional(reader, "numberOfModifications", integer),
        extensions=read_extensions(reader, "taskStatusExtensions"),
    )
    reader.end()
    return status


def _read_faults(node: etree._Element) -> tuple[m.UnresolvedFault, ...]:
    reader = Reader(node)
    found = []
    for each in reader.every("unresolvedFault"):
        inner = Reader(each)
        fault = m.UnresolvedFault(value_of(inner.one("errorCode"), integer), text_of(inner.one("errorDescription")))
        inner.end()
        found.append(fault)
    reader.end()
    return tuple(found)


def _write_faults(parent: etree._Element, faults: Iterable[m.UnresolvedFault]) -> None:
    node = put(parent, "listOfFaults")
    for fault in faults:
        inner = put(node, "unresolvedFault")
        put(inner, "errorCode", str(fault.code))
        put(inner, "errorDescription", fault.description)
