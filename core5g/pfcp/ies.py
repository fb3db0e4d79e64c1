"""Typed values of PFCP's information elements (TS 29.244, 8.2), all in one place.

Each has `IE` (its type), `decode(value)` and `encode()`. `decode` raises PfcpError for octets that are no such value
and ignores what later releases may add behind; `encode` raises it for what the IE cannot carry.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

from core5g.pfcp.addresses import (
    Address,
    FSeid,
    FTeid,
    NodeId,
    OuterHeaderCreation,
    OuterHeaderRemoval,
    Removal,
    UeIpAddress,
)
from core5g.pfcp.identities import ApnDnn, ApplicationId, NetworkInstance, SNssai, UserId
from core5g.pfcp.names import IeType
from core5g.pfcp.scalars import (
    Action,
    ApplyAction,
    BarId,
    Cause,
    DestinationInterface,
    DurationMeasurement,
    EndTime,
    FarId,
    InterfaceType3gpp,
    OffendingIe,
    PdnType,
    PdrId,
    Precedence,
    QerId,
    Qfi,
    RecoveryTimeStamp,
    ReportType,
    SourceInterface,
    StartTime,
    TimeThreshold,
    TrafficEndpointId,
    UrrId,
    UrSeqn,
)
from core5g.pfcp.traffic import (
    FailedRuleId,
    GateStatus,
    Mbr,
    RuleKind,
    SdfFilter,
    UpFunctionFeatures,
    VolumeMeasurement,
    VolumeThreshold,
)
from core5g.pfcp.wire import Ie, find, need

__all__ = [
    "Action", "Address", "ApnDnn", "ApplicationId", "ApplyAction", "BarId", "Cause", "DestinationInterface",
    "DurationMeasurement", "EndTime", "FSeid", "FTeid", "FailedRuleId", "FarId", "GateStatus",
    "InterfaceType3gpp", "Mbr", "NetworkInstance", "NodeId", "OffendingIe", "OuterHeaderCreation",
    "OuterHeaderRemoval", "PdnType", "PdrId", "Precedence", "QerId", "Qfi", "RecoveryTimeStamp", "Removal",
    "ReportType", "RuleKind", "SNssai", "SdfFilter", "SourceInterface", "StartTime", "TimeThreshold",
    "TrafficEndpointId", "UeIpAddress", "UpFunctionFeatures", "UrSeqn", "UrrId", "UserId", "Value",
    "VolumeMeasurement", "VolumeThreshold", "ie", "read", "read_all", "require",
]  # fmt: skip


class Value(Protocol):
    """What every typed value can do."""

    @classmethod
    def decode(cls, value: bytes) -> Self: ...

    def encode(self) -> bytes: ...


V = TypeVar("V", bound=Value)


def ie(value: Value) -> Ie:
    """The IE that carries a typed value."""
    return Ie(_type_of(type(value)), value.encode())


def read(kind: type[V], ies: Iterable[Ie]) -> V | None:
    """The first IE of this kind, typed; None where there is none. Raises PfcpError."""
    value = find(ies, _type_of(kind))
    return None if value is None else kind.decode(value)


def require(kind: type[V], ies: Iterable[Ie]) -> V:
    """The first IE of this kind, typed. Raises PfcpError, with reason `missing` where there is none."""
    return kind.decode(need(ies, _type_of(kind)))


def read_all(kind: type[V], ies: Iterable[Ie]) -> tuple[V, ...]:
    """All IEs of this kind, in order. Raises PfcpError."""
    wanted = _type_of(kind)
    return tuple(kind.decode(one.value) for one in ies if one.type == wanted)


def _type_of(kind: type[Value]) -> IeType:
    found: IeType = kind.IE  # type: ignore[attr-defined]  # a protocol cannot ask it of enums and classes alike
    return found
