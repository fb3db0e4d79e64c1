"""PFCP as the models speak it (TS 29.244): messages of information elements, and the few values they look into."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

PORT = 8805
NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970: recovery time stamps and times of usage count from 1900 (clause 8.2.65)."""

_HEAD = struct.Struct("!HH").unpack_from

Address = IPv4Address | IPv6Address
Ie = tuple[int, bytes]


class PfcpFormatError(Exception):
    """Octets that are no PFCP message."""


class Kind(IntEnum):
    """Message types (clause 7.3)."""

    HEARTBEAT_REQUEST = 1
    HEARTBEAT_RESPONSE = 2
    ASSOCIATION_SETUP_REQUEST = 5
    ASSOCIATION_SETUP_RESPONSE = 6
    ASSOCIATION_UPDATE_REQUEST = 7
    ASSOCIATION_UPDATE_RESPONSE = 8
    ASSOCIATION_RELEASE_REQUEST = 9
    ASSOCIATION_RELEASE_RESPONSE = 10
    SESSION_ESTABLISHMENT_REQUEST = 50
    SESSION_ESTABLISHMENT_RESPONSE = 51
    SESSION_MODIFICATION_REQUEST = 52
    SESSION_MODIFICATION_RESPONSE = 53
    SESSION_DELETION_REQUEST = 54
    SESSION_DELETION_RESPONSE = 55
    SESSION_REPORT_REQUEST = 56
    SESSION_REPORT_RESPONSE = 57


class T(IntEnum):
    """Types of information elements (clause 8.1.2)."""

    CREATE_PDR = 1
    PDI = 2
    CREATE_FAR = 3
    FORWARDING_PARAMETERS = 4
    CREATE_URR = 6
    CREATE_QER = 7
    CREATED_PDR = 8
    UPDATE_PDR = 9
    UPDATE_FAR = 10
    UPDATE_FORWARDING_PARAMETERS = 11
    UPDATE_QER = 14
    REMOVE_PDR = 15
    REMOVE_FAR = 16
    REMOVE_URR = 17
    REMOVE_QER = 18
    CAUSE = 19
    SOURCE_INTERFACE = 20
    F_TEID = 21
    NETWORK_INSTANCE = 22
    SDF_FILTER = 23
    GATE_STATUS = 25
    MBR = 26
    PRECEDENCE = 29
    VOLUME_THRESHOLD = 31
    REPORTING_TRIGGERS = 37
    REPORT_TYPE = 39
    OFFENDING_IE = 40
    DESTINATION_INTERFACE = 42
    UP_FUNCTION_FEATURES = 43
    APPLY_ACTION = 44
    DOWNLINK_DATA_SERVICE_INFORMATION = 45
    PFCPSMREQ_FLAGS = 49
    PDR_ID = 56
    F_SEID = 57
    NODE_ID = 60
    MEASUREMENT_METHOD = 62
    USAGE_REPORT_TRIGGER = 63
    VOLUME_MEASUREMENT = 66
    DURATION_MEASUREMENT = 67
    TIME_OF_FIRST_PACKET = 69
    TIME_OF_LAST_PACKET = 70
    START_TIME = 75
    END_TIME = 76
    USAGE_REPORT_DELETION = 79
    USAGE_REPORT_SESSION_REPORT = 80
    URR_ID = 81
    DOWNLINK_DATA_REPORT = 83
    OUTER_HEADER_CREATION = 84
    CREATE_BAR = 85
    BAR_ID = 88
    CP_FUNCTION_FEATURES = 89
    UE_IP_ADDRESS = 93
    OUTER_HEADER_REMOVAL = 95
    RECOVERY_TIME_STAMP = 96
    ERROR_INDICATION_REPORT = 99
    UR_SEQN = 104
    FAR_ID = 108
    QER_ID = 109
    PDN_TYPE = 113
    QFI = 124
    USER_ID = 141
    APN_DNN = 159
    INTERFACE_TYPE = 160
    PFCPSEREQ_FLAGS = 186
    S_NSSAI = 257


class Cause(IntEnum):
    """Clause 8.2.1. Only those that a recorded UPF sent."""

    ACCEPTED = 1
    REJECTED = 64
    SESSION_NOT_FOUND = 65
    MANDATORY_IE_MISSING = 66
    MANDATORY_IE_INCORRECT = 69
    NO_RESOURCES = 75
    SERVICE_NOT_SUPPORTED = 76


@dataclass(frozen=True)
class Message:
    type: int
    seq: int
    seid: int | None
    ies: tuple[Ie, ...]

    def all(self, ie_type: int) -> list[bytes]:
        return [value for found, value in self.ies if found == ie_type]

    def first(self, ie_type: int) -> bytes | None:
        return next((value for found, value in self.ies if found == ie_type), None)


def members(value: bytes) -> tuple[Ie, ...]:
    """What is in a grouped information element. Raises PfcpFormatError."""
    found, at, end = [], 0, len(value)
    while at < end:
        if at + 4 > end:
            raise PfcpFormatError("an information element is cut short")
        ie_type, length = _HEAD(value, at)
        at += 4 + length
        if at > end:
            raise PfcpFormatError("an information element is longer than what holds it")
        found.append((ie_type, value[at - length : at]))
    return tuple(found)


def first(ies: tuple[Ie, ...], ie_type: int) -> bytes | None:
    for found, value in ies:
        if found == ie_type:
            return value
    return None


def number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value)


def parse(data: bytes) -> Message:
    """Raises PfcpFormatError (clause 7.2)."""
    if len(data) < 8 or data[0] >> 5 != 1:
        raise PfcpFormatError("no PFCP version 1 header")
    if int.from_bytes(data[2:4]) + 4 != len(data):
        raise PfcpFormatError("its length is not that of the datagram")
    if data[0] & 1:
        if len(data) < 16:
            raise PfcpFormatError("no room for a SEID")
        return Message(data[1], int.from_bytes(data[12:15]), int.from_bytes(data[4:12]), members(data[16:]))
    return Message(data[1], int.from_bytes(data[4:7]), None, members(data[8:]))


def ie(ie_type: int, *value: bytes) -> bytes:
    """One information element; a group when given several."""
    body = b"".join(value)
    return ie_type.to_bytes(2) + len(body).to_bytes(2) + body


def build(kind: int, seq: int, *ies: bytes, seid: int | None = None) -> bytes:
    body = seq.to_bytes(3) + b"\0" + b"".join(ies)
    if seid is not None:
        body = seid.to_bytes(8) + body
    return bytes((0x20 if seid is None else 0x21, kind)) + len(body).to_bytes(2) + body


def ntp(unix_s: float) -> bytes:
    return (int(unix_s) + NTP_EPOCH).to_bytes(4)


def now_ntp() -> int:
    return int(time.time()) + NTP_EPOCH


def node_id(address: Address) -> bytes:
    return ie(T.NODE_ID, b"\0" if address.version == 4 else b"\1", address.packed)


def f_seid(seid: int, address: Address) -> bytes:
    return ie(T.F_SEID, b"\2" if address.version == 4 else b"\1", seid.to_bytes(8), address.packed)


def seid_of(value: bytes | None) -> int:
    """The SEID in an F-SEID (clause 8.2.37). Raises PfcpFormatError."""
    if value is None or len(value) < 9:
        raise PfcpFormatError("no F-SEID")
    return int.from_bytes(value[1:9])


@dataclass(frozen=True)
class FTeid:
    """Clause 8.2.3. `choose`: the UPF is asked to assign it; those of a `choose_id` share one."""

    teid: int = 0
    v4: IPv4Address | None = None
    v6: IPv6Address | None = None
    choose: bool = False
    choose_id: int | None = None

    @classmethod
    def parse(cls, value: bytes) -> FTeid:
        """Raises PfcpFormatError."""
        if not value:
            raise PfcpFormatError("an empty F-TEID")
        flags = value[0]
        if flags & 4:
            if flags & 8 and len(value) < 2:
                raise PfcpFormatError("an F-TEID without its choose id")
            return cls(choose=True, choose_id=value[1] if flags & 8 else None)
        at, v4, v6 = 5, None, None
        if len(value) < at + (4 if flags & 1 else 0) + (16 if flags & 2 else 0):
            raise PfcpFormatError("an F-TEID is cut short")
        if flags & 1:
            v4, at = IPv4Address(value[at : at + 4]), at + 4
        if flags & 2:
            v6 = IPv6Address(value[at : at + 16])
        return cls(int.from_bytes(value[1:5]), v4, v6)

    def encode(self) -> bytes:
        flags = (1 if self.v4 else 0) | (2 if self.v6 else 0)
        packed = (self.v4.packed if self.v4 else b"") + (self.v6.packed if self.v6 else b"")
        return ie(T.F_TEID, bytes((flags,)), self.teid.to_bytes(4), packed)

    @property
    def address(self) -> Address:
        found = self.v4 or self.v6
        if found is None:
            raise PfcpFormatError("an F-TEID without an address")
        return found


def outer_header_creation(teid: int, address: Address) -> bytes:
    """GTP-U/UDP/IP (clause 8.2.56)."""
    return ie(T.OUTER_HEADER_CREATION, b"\1\0" if address.version == 4 else b"\2\0", teid.to_bytes(4), address.packed)


def outer_tunnel(value: bytes) -> tuple[int, Address] | None:
    """TEID and peer of an Outer Header Creation; None for one that is no GTP-U, which the recorded UPF rejects."""
    flags = value[0] if value else 0
    if flags & 1 and len(value) >= 10:
        return int.from_bytes(value[2:6]), IPv4Address(value[6:10])
    if flags & 2 and len(value) >= 22:
        return int.from_bytes(value[2:6]), IPv6Address(value[6:22])
    return None


def ue_addresses(value: bytes) -> tuple[IPv4Address | None, IPv6Address | None]:
    """Of a UE IP Address (clause 8.2.62); neither where the UPF is asked to choose, which Open5GS's does not."""
    flags, at, v4, v6 = (value[0] if value else 0), 1, None, None
    if flags & 2 and len(value) >= at + 4:
        v4, at = IPv4Address(value[at : at + 4]), at + 4
    if flags & 1 and len(value) >= at + 16:
        v6 = IPv6Address(value[at : at + 16])
    return v4, v6


def dnn_of(value: bytes | None) -> str | None:
    """The name in a Network Instance or APN/DNN: labels with their lengths (TS 23.003), or plain as some CPs do."""
    if not value:
        return None
    labels, at = [], 0
    while at < len(value):
        length = value[at]
        if at + 1 + length > len(value):
            return value.decode("ascii", "replace")
        labels.append(value[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels)


def dnn_labels(dnn: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in dnn.split("."))


def address_of(text: str) -> Address:
    return ip_address(text)
