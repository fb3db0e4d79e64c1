"""GTP-U packets as they are read off a wire (TS 29.281). Pure."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from nf.errors import InputError

PORT = 2152
"""UDP port of both ends (TS 29.281, 4.4.2)."""

_VERSION_1 = 0x20
_GTP = 0x10
_EXTENSION, _OPTIONS = 4, 7
_HEAD = struct.Struct("!BBHI")


class GtpuError(InputError):
    """Octets that are no GTP-U. `reason` is a word to count by: short, version, length, extension."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message, where="GTP-U")
        self.reason = reason


class GtpuType(IntEnum):
    """TS 29.281 table 6.1-1."""

    ECHO_REQUEST = 1
    ECHO_RESPONSE = 2
    ERROR_INDICATION = 26
    SUPPORTED_EXTENSION_HEADERS = 31
    TUNNEL_STATUS = 253
    END_MARKER = 254
    G_PDU = 255


class Packet(NamedTuple):
    """`payload`: the user's IP packet in a G-PDU, IEs in signalling. `type`: perhaps of no message known here."""

    type: int
    teid: int
    payload: bytes


def decode(data: bytes) -> Packet:
    """Raises GtpuError; nothing else, whatever the octets. Extension headers are passed over."""
    size = len(data)
    if size < 8:
        raise GtpuError("short", f"{size} octets are no header")
    flags, kind, length, teid = _HEAD.unpack_from(data)
    if flags & 0xF0 != _VERSION_1 | _GTP:
        raise GtpuError("version", f"first octet {flags:#04x} is not of GTP version 1")
    if length + 8 != size:
        raise GtpuError("length", f"the header says {length + 8} octets, the datagram has {size}")
    if not flags & _OPTIONS:
        return Packet(kind, teid, data[8:])
    if size < 12:
        raise GtpuError("short", "its header ends within the optional fields")
    at, following = 12, data[11] if flags & _EXTENSION else 0
    while following:
        octets = 4 * data[at] if at < size else 0
        if not octets or at + octets > size:
            raise GtpuError("extension", f"extension header {following:#04x} does not fit")
        at += octets
        following = data[at - 1]
    return Packet(kind, teid, data[at:])
