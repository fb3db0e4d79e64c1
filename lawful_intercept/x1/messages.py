"""The messages of X1 as values (ETSI TS 103 221-1 clause 6). Pure; `codec` writes and reads them as XML.

    Request = Header + one of REQUESTS          Response = Header + one of RESPONSES (Done, Refusal, ...Answer)

A message's name is the standard's without `Request` and `Response`: `name_of`. Nothing here shows what it holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from uuid import UUID

from lawful_intercept.identifiers import TargetIdentifier, check_liid
from nf.errors import InputError

VERSION: Final = "v1.22.1"
"""What this implementation speaks; it reads older minor versions too."""

_IDENTIFIER: Final = re.compile(r"[!-~]{1,128}")


class DeliveryType(Enum):
    X2_ONLY = "X2Only"
    X3_ONLY = "X3Only"
    X2_AND_X3 = "X2andX3"

    def covers(self, other: DeliveryType) -> bool:
        """Whether everything of `other` is in this one."""
        return self in {other, DeliveryType.X2_AND_X3}


class HandoverType(Enum):
    """MediationDeliveryType: what a warrant gives an agency."""

    HI2_ONLY = "HI2Only"
    HI3_ONLY = "HI3Only"
    HI2_AND_HI3 = "HI2andHI3"


class ServiceType(Enum):
    VOICE = "voice"
    DATA = "data"
    MESSAGING = "messaging"
    PUSH_TO_TALK = "pushToTalk"
    LALS = "LALS"
    RCS = "RCS"


class Provisioning(Enum):
    AWAITING = "awaitingProvisioning"
    FAILED = "failed"
    COMPLETE = "complete"


class DeliveryStatus(Enum):
    WORKING = "activeAndWorking"
    FAULT = "deliveryFault"


class ElementCondition(Enum):
    OK = "OK"
    FAULTS = "Faults"


class Outcome(Enum):
    """ACKNOWLEDGED: a report `FULLY_ACTIONED...` follows."""

    COMPLETED = "AcknowledgedAndCompleted"
    ACKNOWLEDGED = "Acknowledged"


class ReportType(Enum):
    """TaskReportType, of tasks and destinations."""

    ALL_CLEAR = "AllClear"
    WARNING = "Warning"
    NON_TERMINATING_FAULT = "NonTerminatingFault"
    TERMINATING_FAULT = "TerminatingFault"
    IMPLICIT_DEACTIVATION = "ImplicitDeactivation"
    FULLY_ACTIONED_AND_SUCCESSFUL = "FullyActionedAndSuccessful"
    FULLY_ACTIONED_AND_UNSUCCESSFUL = "FullyActionedAndUnsuccessful"


class IssueType(Enum):
    """TypeOfNeIssueMessage."""

    WARNING = "Warning"
    FAULT_CLEARED = "FaultCleared"
    FAULT_REPORT = "FaultReport"
    ALERT = "Alert"


@dataclass(frozen=True, slots=True, repr=False)
class Extension:
    """`content`: elements of other namespaces than X1's, each as canonical XML (C14N) in UTF-8."""

    owner: str
    content: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class SocketAddress:
    """Where a destination listens: ipAddressAndPort, always TCP. Raises InputError."""

    address: IPv4Address | IPv6Address
    port: int

    def __post_init__(self) -> None:
        if not 1 < self.port <= 65535:
            raise InputError("the port of a destination is not one", remedy="use 2 to 65535")


@dataclass(frozen=True, slots=True, repr=False)
class UriAddress:
    """Where a destination listens, as a URI. Raises InputError."""

    uri: str

    def __post_init__(self) -> None:
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,2000}", self.uri) is None:
            raise InputError(
                "the address of a destination is not a URI", remedy="write SCHEME:REST in ASCII, without spaces"
            )


@dataclass(frozen=True, slots=True, repr=False)
class DestinationDetails:
    """Clause 6.3.1.2. `name`: for people, "" = none. Settings of the handover: `extensions.handover_of`."""

    did: UUID
    delivery: DeliveryType
    address: SocketAddress | UriAddress
    name: str = ""
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class MediationDetails:
    """What one warrant makes of a task's product; tasks of an MDF alone carry it. Times are aware. Raises InputError.

    `destinations`: the agency's, empty = those of the task.
    """

    liid: str
    delivery: HandoverType
    start: datetime | None = None
    end: datetime | None = None
    destinations: tuple[UUID, ...] = ()
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        check_liid(self.liid)
        for instant in (self.start, self.end):
            check_time(instant)
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise InputError("the end of mediation is not after its start", remedy="correct StartTime and EndTime")


@dataclass(frozen=True, slots=True, repr=False)
class TaskDetails:
    """Clause 6.2.1.2. `targets` are alternatives: whoever is one of them is intercepted. Raises InputError.

    `correlation`: u64 that product carries, where the element triggered is told which; `product`: the XID that product
    carries in place of `xid`.
    """

    xid: UUID
    targets: tuple[TargetIdentifier, ...]
    delivery: DeliveryType
    destinations: tuple[UUID, ...] = ()
    mediation: tuple[MediationDetails, ...] = ()
    correlation: int | None = None
    implicit_deactivation: bool | None = None
    product: UUID | None = None
    services: tuple[ServiceType, ...] = ()
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        if not self.targets:
            raise InputError("a task has no target", remedy="give it one or more target identifiers")
        if self.correlation is not None and not 0 <= self.correlation < 2**64:
            raise InputError("the correlation of a task does not fit 64 bits", remedy="use 0 to 2^64-1")


@dataclass(frozen=True, slots=True, repr=False)
class UnresolvedFault:
    code: int
    description: str


@dataclass(frozen=True, slots=True, repr=False)
class TaskStatus:
    """Clause 6.4.2.2. Amounts in octets; None = not counted."""

    provisioning: Provisioning = Provisioning.COMPLETE
    faults: tuple[UnresolvedFault, ...] = ()
    last_intercept: datetime | None = None
    x2_octets: int | None = None
    x3_octets: int | None = None
    last_modified: datetime | None = None
    modifications: int | None = None
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        for instant in (self.last_intercept, self.last_modified):
            check_time(instant)


@dataclass(frozen=True, slots=True, repr=False)
class DestinationStatus:
    """Clause 6.4.3.2."""

    delivery: DeliveryStatus = DeliveryStatus.WORKING
    faults: tuple[UnresolvedFault, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class ElementStatus:
    """Clause 6.4.4."""

    condition: ElementCondition = ElementCondition.OK
    faults: tuple[UnresolvedFault, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class TaskRecord:
    details: TaskDetails
    status: TaskStatus


@dataclass(frozen=True, slots=True, repr=False)
class DestinationRecord:
    details: DestinationDetails
    status: DestinationStatus


@dataclass(frozen=True, slots=True, repr=False)
class Header:
    """What every message begins with (clause 6.1). `at`: when it was written, aware. Raises InputError."""

    admf: str
    element: str
    at: datetime
    transaction: UUID
    version: str = VERSION

    def __post_init__(self) -> None:
        for identifier in (self.admf, self.element):
            if _IDENTIFIER.fullmatch(identifier) is None:
                raise InputError(
                    "the identifier of an ADMF or element is not one", remedy="1 to 128 printable characters"
                )
        if re.fullmatch(r"v[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}", self.version) is None:
            raise InputError("not a version of X1", remedy="write vMAJOR.MINOR.PATCH")
        check_time(self.at)


def check_time(instant: datetime | None) -> None:
    """Raises InputError where a time is without its zone."""
    if instant is not None and instant.utcoffset() is None:
        raise InputError("a time has no zone", remedy="use aware times")


def time_text(instant: datetime) -> str:
    """QualifiedMicrosecondDateTime (TS 103 280), in UTC."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
