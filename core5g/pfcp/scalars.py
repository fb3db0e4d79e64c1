"""Typed values of IEs that are one number (TS 29.244, 8.2)."""

from __future__ import annotations

from enum import IntEnum, nonmember
from typing import ClassVar, Self

from core5g.pfcp.names import IeType
from core5g.pfcp.reading import Reader, packed
from core5g.pfcp.wire import PfcpError, name_of

SECONDS_1900_TO_1970 = 2_208_988_800
"""Times in PFCP count as NTP does (8.2.65)."""


class RecoveryTimeStamp(int):
    """8.2.65: when the sender started, in seconds since 1900-01-01 UTC; a later one says that it lost its sessions
    (TS 23.007, 19A)."""

    IE: ClassVar[IeType] = IeType.RECOVERY_TIME_STAMP

    @classmethod
    def decode(cls, value: bytes) -> Self:
        return cls(Reader(cls.IE, value).number(4))

    def encode(self) -> bytes:
        return packed(self.IE, self, 4)


class Cause(IntEnum):
    """8.2.1."""

    IE = nonmember(IeType.CAUSE)

    ACCEPTED = 1
    MORE_USAGE_REPORT_TO_SEND = 2
    PARTIALLY_ACCEPTED = 3
    REJECTED = 64
    SESSION_CONTEXT_NOT_FOUND = 65
    MANDATORY_IE_MISSING = 66
    CONDITIONAL_IE_MISSING = 67
    INVALID_LENGTH = 68
    MANDATORY_IE_INCORRECT = 69
    INVALID_FORWARDING_POLICY = 70
    INVALID_F_TEID_ALLOCATION_OPTION = 71
    NO_ESTABLISHED_ASSOCIATION = 72
    RULE_CREATION_MODIFICATION_FAILURE = 73
    ENTITY_IN_CONGESTION = 74
    NO_RESOURCES_AVAILABLE = 75
    SERVICE_NOT_SUPPORTED = 76
    SYSTEM_FAILURE = 77
    REDIRECTION_REQUESTED = 78
    ALL_DYNAMIC_ADDRESSES_OCCUPIED = 79
    UNKNOWN_PREDEFINED_RULE = 80
    UNKNOWN_APPLICATION_ID = 81
    L2TP_TUNNEL_ESTABLISHMENT_FAILURE = 82
    L2TP_SESSION_ESTABLISHMENT_FAILURE = 83
    L2TP_TUNNEL_RELEASE = 84
    L2TP_SESSION_RELEASE = 85
    SESSION_RESTORATION_FAILURE = 86

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """A cause that is not known here is its range's general one: acceptance below 64, rejection above."""
        if not value or not value[0]:
            raise PfcpError("value", f"{name_of(IeType.CAUSE)} cannot be {value.hex() or 'empty'}", ie=IeType.CAUSE)
        if value[0] in cls._value2member_map_:
            return cls(value[0])
        return cls(1 if value[0] < 64 else 64)

    def encode(self) -> bytes:
        return bytes((self,))

    @property
    def accepted(self) -> bool:
        return self < 64
