"""PFCP messages as octets and back (TS 29.244, 7.2 and 8.1.1).

A message is decoded to its IEs and no further; values stay octets, so that a relay hands on what it does not know and
`encode(decode(data)) == data` holds for whatever `decode` takes. Typed values are in `ies`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from core5g.pfcp.names import RESPONSES, IeType, MessageType
from nf.errors import InputError

__all__ = [
    "ENTERPRISE",
    "RESPONSES",
    "VERSION",
    "Header",
    "Ie",
    "IeType",
    "Message",
    "MessageType",
    "PfcpError",
    "decode",
    "encode",
    "find",
    "group",
    "grouped",
    "header",
    "name_of",
    "need",
    "with_seid",
    "with_seq",
]  # fmt: skip

VERSION = 1
ENTERPRISE = 0x8000
"""IE types from here on carry an enterprise number (8.1.1)."""

_FOLLOW_ON, _MP, _SEID = 4, 2, 1
_SPARE = 0x18
_HEAD = struct.Struct("!BBH")
_SESSION_HEAD = struct.Struct("!BBHQI")
_NODE_HEAD = struct.Struct("!BBHI")
_TLV = struct.Struct("!HH")
_TLV_ENTERPRISE = struct.Struct("!HHH")
_tlv = _TLV.unpack_from
_put = _TLV.pack
_TYPES = {int(kind): kind for kind in MessageType}


class PfcpError(InputError):
    """Octets that are no PFCP, or a value that PFCP cannot carry.

    `reason` is a short word to count by: short, version, type, length, follow-on, ie-length, value, missing, range.
    `ie` is the IE type that it is about, 0 when it is about the message.
    """

    def __init__(self, reason: str, message: str, *, ie: int = 0) -> None:
        super().__init__(message, where="PFCP")
        self.reason = reason
        self.ie = ie


class Ie(NamedTuple):
    """An information element: `value` without the 4-octet head and, for types from 0x8000 on, without `enterprise`."""

    type: int
    value: bytes
    enterprise: int | None = None


class Message(NamedTuple):
    """A PFCP message.

    seid      of the receiver; None in node messages
    priority  0 to 15 (the MP flag, 7.2.2.3), None without
    spare     bits that the standard leaves unused: of octet 1 (high octet) and of the header's last octet (low octet)
    trailing  what follows in the datagram: further messages (the FO flag, 7.2.2.2)
    """

    type: MessageType
    seq: int
    seid: int | None = None
    ies: tuple[Ie, ...] = ()
    priority: int | None = None
    spare: int = 0
    trailing: bytes = b""

    def find(self, ie_type: int) -> bytes | None:
        """The value of the first IE of this type."""
        return find(self.ies, ie_type)


class Header(NamedTuple):
    """A message's header. `type` may be a number of no message known here; `length` is the whole message in octets,
    header included; `size` is the header's own octets (8 or 16)."""

    type: int
    seq: int
    seid: int | None
    length: int
    size: int


def find(ies: Iterable[Ie], ie_type: int) -> bytes | None:
    """The value of the first IE of this type."""
    for ie in ies:
        if ie.type == ie_type:
            return ie.value
    return None


def need(ies: Iterable[Ie], ie_type: int) -> bytes:
    """The value of the first IE of this type; raises PfcpError (reason `missing`)."""
    value = find(ies, ie_type)
    if value is None:
        raise PfcpError("missing", f"IE {name_of(ie_type)} is missing", ie=ie_type)
    return value


def name_of(ie_type: int) -> str:
    """The IE's name and number, for people."""
    try:
        return f"{IeType(ie_type).name} ({ie_type})"
    except ValueError:
        return f"type {ie_type}"


def header(data: bytes) -> Header:
    """The header alone, with the length judged against the datagram. Raises PfcpError."""
    size = len(data)
    if size < 8:
        raise PfcpError("short", f"{size} octets are no header")
    flags, kind, length = _HEAD.unpack_from(data)
    if flags >> 5 != VERSION:
        raise PfcpError("version", f"version {flags >> 5}")
    length += 4
    if length > size or length < (16 if flags & _SEID else 8):
        raise PfcpError("length", f"the header says {length} octets, the datagram has {size}")
    # Octets behind a message are another message or nothing: who took them for IEs saw rules that a relay did not.
    if (length < size) != bool(flags & _FOLLOW_ON):
        raise PfcpError("follow-on", f"{size - length} octets behind the message against its FO flag")
    if flags & _SEID:
        _, _, _, seid, last = _SESSION_HEAD.unpack_from(data)
        return Header(kind, last >> 8, seid, length, 16)
    return Header(kind, int.from_bytes(data[4:7], "big"), None, length, 8)


def decode(data: bytes) -> Message:
    """The first message of a datagram. Raises PfcpError; nothing else, whatever the octets."""
    kind, seq, seid, length, size = header(data)
    known = _TYPES.get(kind)
    if known is None:
        raise PfcpError("type", f"no message has type {kind}")
    if (seid is None) != (known < MessageType.SESSION_ESTABLISHMENT_REQUEST):
        raise PfcpError("type", f"{known.name} {'without' if seid is None else 'with'} SEID")
    flags, last = data[0], data[size - 1]
    priority = None
    spare = (flags & _SPARE) << 8
    if seid is None:
        spare |= (flags & _MP) << 8 | last
    elif flags & _MP:
        priority = last >> 4
        spare |= last & 15
    else:
        spare |= last
    return Message(known, seq, seid, _ies(data, size, length), priority, spare, data[length:])


def encode(message: Message) -> bytes:
    """Raises PfcpError for what a message cannot carry: numbers out of range, over 65,535 octets."""
    kind, seq, seid, ies, priority, spare, trailing = message
    body = _octets(ies)
    flags = VERSION << 5 | (spare >> 8 & _SPARE) | (_FOLLOW_ON if trailing else 0)
    last = spare & 0xFF
    if not 0 <= seq < 1 << 24 or (priority is not None and not 0 <= priority < 16):
        raise PfcpError("range", f"sequence number {seq} or priority {priority}")
    try:
        if seid is None:
            flags |= spare >> 8 & _MP
            head = _NODE_HEAD.pack(flags, kind, len(body) + 4, seq << 8 | last)
        else:
            flags |= _SEID
            if priority is not None:
                flags |= _MP
                last = priority << 4 | last & 15
            head = _SESSION_HEAD.pack(flags, kind, len(body) + 12, seid, seq << 8 | last)
    except struct.error as error:
        raise PfcpError("range", f"{kind!r}: SEID or size: {error}") from error
    return head + body + trailing


def grouped(value: bytes) -> tuple[Ie, ...]:
    """The members of a grouped IE. Raises PfcpError."""
    return _ies(value, 0, len(value))


def group(ie_type: int, members: Iterable[Ie]) -> Ie:
    """A grouped IE of these members. Raises PfcpError when they do not fit."""
    return Ie(ie_type, _octets(members))


def with_seq(data: bytes, seq: int) -> bytes:
    """The same message under another sequence number. `data` is what `header` took. Raises PfcpError."""
    if not 0 <= seq < 1 << 24:
        raise PfcpError("range", f"sequence number {seq}")
    at = 12 if data[0] & _SEID else 4
    return data[:at] + seq.to_bytes(3, "big") + data[at + 3 :]


def with_seid(data: bytes, seid: int) -> bytes:
    """The same message for another session. `data` is what `header` took. Raises PfcpError."""
    if not data[0] & _SEID or not 0 <= seid < 1 << 64:
        raise PfcpError("range", f"SEID {seid} or a node message")
    return data[:4] + seid.to_bytes(8, "big") + data[12:]


def _ies(data: bytes, at: int, end: int) -> tuple[Ie, ...]:
    found: list[Ie] = []
    append = found.append
    make = tuple.__new__  # NamedTuple's own constructor costs as much as the rest of the loop
    while at < end:
        start = at + 4
        if start > end:
            raise PfcpError("ie-length", f"{end - at} octets behind the last IE")
        kind, size = _tlv(data, at)
        at = start + size
        if at > end:
            raise PfcpError("ie-length", f"IE {name_of(kind)} says {size} octets, {end - start} are left", ie=kind)
        if kind < ENTERPRISE:
            append(make(Ie, (kind, data[start:at], None)))
        elif size < 2:
            raise PfcpError("ie-length", f"IE type {kind} has no enterprise number", ie=kind)
        else:
            append(make(Ie, (kind, data[start + 2 : at], int.from_bytes(data[start : start + 2], "big"))))
    return tuple(found)


def _octets(ies: Iterable[Ie]) -> bytes:
    parts: list[bytes] = []
    append = parts.append
    try:
        for kind, value, enterprise in ies:
            if kind < ENTERPRISE:
                append(_put(kind, len(value)))
            else:
                append(_TLV_ENTERPRISE.pack(kind, len(value) + 2, 0 if enterprise is None else enterprise))
            append(value)
    except struct.error as error:
        raise PfcpError("range", f"IE {kind} of {len(value)} octets: {error}") from error
    return b"".join(parts)
