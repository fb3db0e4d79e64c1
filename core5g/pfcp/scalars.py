"""Typed values of IEs that are one number, one set of flags or one name (TS 29.244, 8.2).

Each has `IE` (its type), `decode(value)` and `encode()`; `decode` raises PfcpError for octets that are no such value.
Spare bits and octets behind the value, which later releases may use, are ignored as 8.1.1 asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, IntFlag, nonmember
from typing import ClassVar, Self

from core5g.pfcp.names import IeType
from core5g.pfcp.wire import PfcpError, name_of

SECONDS_1900_TO_1970 = 2_208_988_800
"""Times in PFCP count as NTP does (8.2.65)."""


class Number(int):
    """An unsigned number of `OCTETS` octets and `BITS` bits in the last of them."""

    IE: ClassVar[IeType]
    OCTETS: ClassVar[int] = 4
    BITS: ClassVar[int] = 8

    @classmethod
    def decode(cls, value: bytes) -> Self:
        if len(value) < cls.OCTETS:
            raise too_short(cls.IE, value)
        return cls(int.from_bytes(value[: cls.OCTETS], "big") & cls._mask())

    def encode(self) -> bytes:
        """Raises PfcpError when the number does not fit."""
        if self & ~self._mask():
            raise PfcpError("range", f"{name_of(self.IE)} cannot be {int(self)}", ie=self.IE)
        return self.to_bytes(self.OCTETS, "big")

    @classmethod
    def _mask(cls) -> int:
        return (1 << (8 * (cls.OCTETS - 1) + cls.BITS)) - 1


class PdrId(Number):
    """8.2.36; unique within a session."""

    IE = IeType.PDR_ID
    OCTETS = 2


class FarId(Number):
    """8.2.74; the highest bit tells rules predefined in the UPF from those that an SMF made."""

    IE = IeType.FAR_ID


class UrrId(Number):
    """8.2.54."""

    IE = IeType.URR_ID


class QerId(Number):
    """8.2.75."""

    IE = IeType.QER_ID


class BarId(Number):
    """8.2.57."""

    IE = IeType.BAR_ID
    OCTETS = 1


class TrafficEndpointId(Number):
    """8.2.92."""

    IE = IeType.TRAFFIC_ENDPOINT_ID
    OCTETS = 1


class Precedence(Number):
    """8.2.11; the lower number is looked at first."""

    IE = IeType.PRECEDENCE


class Qfi(Number):
    """8.2.89: 0 to 63."""

    IE = IeType.QFI
    OCTETS = 1
    BITS = 6


class OffendingIe(Number):
    """8.2.22: the type of the IE that a rejection is about."""

    IE = IeType.OFFENDING_IE
    OCTETS = 2


class UrSeqn(Number):
    """8.2.71."""

    IE = IeType.UR_SEQN


class TimeThreshold(Number):
    """8.2.14, seconds."""

    IE = IeType.TIME_THRESHOLD


class DurationMeasurement(Number):
    """8.2.45, seconds."""

    IE = IeType.DURATION_MEASUREMENT


class _Time(Number):
    """Seconds since 1900-01-01 UTC."""

    @classmethod
    def of(cls, at: datetime) -> Self:
        """Of an aware time; fractions of a second are cut."""
        return cls(int(at.timestamp()) + SECONDS_1900_TO_1970)

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self - SECONDS_1900_TO_1970, UTC)


class RecoveryTimeStamp(_Time):
    """8.2.65: when the sender started; a later one says that it lost its sessions (TS 23.007, 19A)."""

    IE = IeType.RECOVERY_TIME_STAMP


class StartTime(_Time):
    """8.2.52."""

    IE = IeType.START_TIME


class EndTime(_Time):
    """8.2.53."""

    IE = IeType.END_TIME


class _Name(IntEnum):
    """A number of one octet, of which `BITS` bits count, that has a name."""

    @classmethod
    def decode(cls, value: bytes) -> Self:
        if not value:
            raise too_short(cls.IE, value)  # type: ignore[attr-defined]
        try:
            return cls(value[0] & cls.MASK)  # type: ignore[attr-defined]
        except ValueError:
            raise PfcpError("value", f"{cls.__name__} {value[0]}", ie=cls.IE) from None  # type: ignore[attr-defined]

    def encode(self) -> bytes:
        return bytes((self,))


class Cause(_Name):
    """8.2.1."""

    IE = nonmember(IeType.CAUSE)
    MASK = nonmember(0xFF)

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
            raise too_short(IeType.CAUSE, value)
        if value[0] in cls._value2member_map_:
            return cls(value[0])
        return cls(1 if value[0] < 64 else 64)

    @property
    def accepted(self) -> bool:
        return self < 64


class SourceInterface(_Name):
    """8.2.2: where a packet comes from."""

    IE = nonmember(IeType.SOURCE_INTERFACE)
    MASK = nonmember(0x0F)

    ACCESS = 0
    CORE = 1
    N6_LAN = 2
    CP_FUNCTION = 3
    VN_INTERNAL = 4


class DestinationInterface(_Name):
    """8.2.24: where a packet goes to."""

    IE = nonmember(IeType.DESTINATION_INTERFACE)
    MASK = nonmember(0x0F)

    ACCESS = 0
    CORE = 1
    N6_LAN = 2
    CP_FUNCTION = 3
    LI_FUNCTION = 4
    VN_INTERNAL = 5


class InterfaceType3gpp(_Name):
    """8.2.118, of source and destination interfaces."""

    IE = nonmember(IeType.INTERFACE_TYPE_3GPP)
    MASK = nonmember(0x3F)

    S1_U = 0
    S5_S8_U = 1
    S4_U = 2
    S11_U = 3
    S12 = 4
    GN_GP_U = 5
    S2A_U = 6
    S2B_U = 7
    ENODEB_DL_FORWARDING = 8
    ENODEB_UL_FORWARDING = 9
    SGW_UPF_DL_FORWARDING = 10
    N3 = 11
    N3_TRUSTED_NON_3GPP = 12
    N3_UNTRUSTED_NON_3GPP = 13
    N3_FORWARDING = 14
    N9 = 15
    SGI = 16
    N6 = 17
    N19 = 18
    S8_U = 19
    GP_U = 20
    N9_ROAMING = 21
    IU_U = 22
    N9_FORWARDING = 23
    SXA_U = 24
    SXB_U = 25
    SXC_U = 26
    N4_U = 27
    SGW_UPF_UL_FORWARDING = 28
    N6MB_NMB9 = 29
    N3MB = 30
    N19MB = 31


class PdnType(_Name):
    """8.2.79. Open5GS sets up no UE address without this IE."""

    IE = nonmember(IeType.PDN_TYPE)
    MASK = nonmember(0x07)

    IPV4 = 1
    IPV6 = 2
    IPV4V6 = 3
    NON_IP = 4
    ETHERNET = 5


class ReportType(IntFlag):
    """8.2.21: what a Session Report Request is about."""

    IE = nonmember(IeType.REPORT_TYPE)

    DOWNLINK_DATA = 1
    USAGE = 2
    ERROR_INDICATION = 4
    USER_PLANE_INACTIVITY = 8

    @classmethod
    def decode(cls, value: bytes) -> Self:
        if not value:
            raise too_short(IeType.REPORT_TYPE, value)
        return cls(value[0] & 15)

    def encode(self) -> bytes:
        return bytes((self,))


class Action(IntFlag):
    """8.2.26, octet 5 in the low bits and octet 6 above it."""

    DROP = 0x01
    FORW = 0x02
    BUFF = 0x04
    NOCP = 0x08
    DUPL = 0x10
    IPMA = 0x20
    IPMD = 0x40
    DFRT = 0x80
    EDRT = 0x100
    BDPN = 0x200
    DDPN = 0x400


@dataclass(frozen=True, slots=True)
class ApplyAction:
    """8.2.26. `octets`: 1 before release 16, 2 since (as Open5GS sends it)."""

    IE: ClassVar[IeType] = IeType.APPLY_ACTION

    actions: Action
    octets: int = 2

    @classmethod
    def decode(cls, value: bytes) -> Self:
        if not value:
            raise too_short(IeType.APPLY_ACTION, value)
        return cls(Action(int.from_bytes(value[:2], "little") & 0x7FF), min(len(value), 2))

    def encode(self) -> bytes:
        """Raises PfcpError when an action of octet 6 is put into one octet."""
        if self.octets not in (1, 2) or self.actions >> 8 * self.octets:
            raise PfcpError("range", f"{self.actions!r} in {self.octets} octets", ie=IeType.APPLY_ACTION)
        return self.actions.to_bytes(self.octets, "little")


def too_short(ie_type: int, value: bytes) -> PfcpError:
    """The error of a value that ends before its fields do, or has none that counts."""
    return PfcpError("value", f"{name_of(ie_type)} cannot be {value.hex() or 'empty'}", ie=ie_type)
