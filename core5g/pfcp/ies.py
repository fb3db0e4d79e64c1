"""Typed values of those of PFCP's information elements that are read here (TS 29.244, 8.2), all in one place.

Each has `IE` (its type), `decode(value)` and `encode()`. `decode` raises PfcpError for octets that are no such value
and ignores what later releases may add behind; `encode` raises it for what the IE cannot carry.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

from core5g.pfcp.addresses import FSeid, FTeid, NodeId, OuterHeaderCreation, UeIpAddress
from core5g.pfcp.identities import ApnDnn, SNssai, UserId
from core5g.pfcp.names import IeType
from core5g.pfcp.scalars import Cause, RecoveryTimeStamp
from core5g.pfcp.wire import Ie, find, need

__all__ = [
    "ApnDnn", "Cause", "FSeid", "FTeid", "NodeId", "OuterHeaderCreation", "RecoveryTimeStamp", "SNssai", "UeIpAddress",
    "UserId", "Value", "ie", "read", "require",
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


def _type_of(kind: type[Value]) -> IeType:
    found: IeType = kind.IE  # type: ignore[attr-defined]  # a protocol cannot ask it of enums and classes alike
    return found
