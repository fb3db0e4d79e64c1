"""X2 and X3 PDUs (ETSI TS 103 221-2 clause 5): pure, no I/O.

A PDU is a header of 40 octets, attributes as type, length and value, then the payload; all integers are big-endian.
The two lengths in the header are the only framing.

What a POI sends is written by `Template`, which packs what stays the same for a session once and puts sequence number
and timestamp first; `Decoder` knows that order and does not read again what stays the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from nf.errors import InputError

VERSION: Final = 0x0005
HEADER_LIMIT: Final = 4096
"""Octets of header with attributes that are taken. A POI's own are about 200."""
PAYLOAD_LIMIT: Final = 65536
"""Octets of payload that are taken: any IP packet."""
NIL_XID: Final = bytes(16)
NANOSECONDS: Final = 1_000_000_000

_HEADER: Final = struct.Struct("!HHIIHH16sQ")
_LENGTHS: Final = struct.Struct("!HHII")
_ATTRIBUTE: Final = struct.Struct("!HH")
_COMMON: Final = struct.Struct("!I16sQIII8s")  # from payloadFormat to the timestamp, as a Template orders them
_COMMON_END: Final = 60
_TEMPLATE: Final = struct.Struct("!8sII28sIIII")
_SEQUENCE_TAG: Final = 8 << 16 | 4
_TIMESTAMP_TAG: Final = 9 << 16 | 8
_U32: Final = 0xFFFFFFFF


class CodecError(InputError):
    """Octets that are no PDU, or a PDU that cannot be one. `before`: what the same `feed` had completed by then."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message, where="X2/X3", remedy=remedy)
        self.before: tuple[Pdu, ...] = ()


class PduType(IntEnum):
    X2 = 1
    X3 = 2
    KEEPALIVE = 3
    KEEPALIVE_ACK = 4


class PayloadFormat(IntEnum):
    """TS 103 221-2 clause 5.4."""

    NONE = 0
    TS_102_232_1 = 1
    TS_33_128 = 2
    TS_33_108 = 3
    PROPRIETARY = 4
    IPV4 = 5
    IPV6 = 6
    ETHERNET = 7
    RTP = 8
    SIP = 9
    DHCP = 10
    RADIUS = 11
    GTP_U = 12
    MSRP = 13
    EPS_IRI = 14
    MIME = 15
    UNSTRUCTURED = 16


class PayloadDirection(IntEnum):
    """TS 103 221-2 clause 5.2.7; other numbers than a PS-PDU's direction has."""

    KEEPALIVE = 0
    UNKNOWN = 1
    TO_TARGET = 2
    FROM_TARGET = 3
    SEVERAL = 4
    NOT_APPLICABLE = 5


class Attribute(IntEnum):
    """TS 103 221-2 clause 5.3."""

    TS_102_232_1 = 1
    TS_33_128 = 2
    TS_33_108 = 3
    PROPRIETARY = 4
    DOMAIN = 5
    NETWORK_FUNCTION = 6
    INTERCEPTION_POINT = 7
    SEQUENCE = 8
    TIMESTAMP = 9
    SOURCE_IPV4 = 10
    DESTINATION_IPV4 = 11
    SOURCE_IPV6 = 12
    DESTINATION_IPV6 = 13
    SOURCE_PORT = 14
    DESTINATION_PORT = 15
    IP_PROTOCOL = 16
    MATCHED_TARGET = 17
    OTHER_TARGET = 18
    MIME_TYPE = 19
    MIME_ENCODING = 20
    ADDITIONAL_XID = 21
    SDP = 22


LEGAL: Final[Mapping[PduType, frozenset[PayloadFormat]]] = {
    PduType.X2: frozenset(map(PayloadFormat, (1, 2, 3, 4, 5, 6, 9, 10, 11, 14, 15))),
    PduType.X3: frozenset(map(PayloadFormat, (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 15, 16))),
    PduType.KEEPALIVE: frozenset({PayloadFormat.NONE}),
    PduType.KEEPALIVE_ACK: frozenset({PayloadFormat.NONE}),
}
"""Which payload each type of PDU can carry (TS 103 221-2 clause 5.4, table 4)."""

_DIRECTIONS: Final = {
    kind: tuple(PayloadDirection)[1:] if kind <= PduType.X3 else (PayloadDirection.KEEPALIVE,) for kind in PduType
}
_MEANING: Final = {
    kind << 32 | form << 16 | direction: (kind, form, direction)
    for kind, forms in LEGAL.items()
    for form in forms
    for direction in _DIRECTIONS[kind]
}
"""Every legal combination of type, format and direction: one look tells whether a header is good."""

_LENGTH: Final = {8: 4, 9: 8, 10: 4, 11: 4, 12: 16, 13: 16, 14: 2, 15: 2, 16: 1}
"""Octets of the attributes that have only one size."""

Attributes = tuple[tuple[int, bytes], ...]


class Addresses(NamedTuple):
    """Where the payload came from and went to, as far as attributes 10 to 16 say. Its text shows nothing."""

    source: IPv4Address | IPv6Address | None = None
    destination: IPv4Address | IPv6Address | None = None
    source_port: int | None = None
    destination_port: int | None = None
    protocol: int | None = None

    def __repr__(self) -> str:
        return "Addresses(...)"


class Pdu(NamedTuple):
    """One PDU. A tuple, since a busy point makes a hundred thousand each second; its text shows nothing.

    xid          16 octets, nil in keepalives
    correlation  64 bits
    attributes   (type, value) in the order in which they stand; types that are not in `Attribute` as well
    """

    kind: PduType
    xid: bytes
    correlation: int
    form: PayloadFormat
    direction: PayloadDirection
    attributes: Attributes
    payload: bytes

    def __repr__(self) -> str:
        return f"Pdu({self.kind.name})"

    def attribute(self, number: int) -> bytes | None:
        """The first of this type."""
        for found, value in self.attributes:
            if found == number:
                return value
        return None

    def every(self, number: int) -> tuple[bytes, ...]:
        """All of a type that can be repeated."""
        return tuple(value for found, value in self.attributes if found == number)

    @property
    def sequence(self) -> int | None:
        """0 to 2^32 - 1."""
        value = self.attribute(8)
        return None if value is None else int.from_bytes(value, "big")

    @property
    def timestamp_ns(self) -> int | None:
        """Nanoseconds since the epoch."""
        value = self.attribute(9)
        if value is None:
            return None
        both = int.from_bytes(value, "big")
        return (both >> 32) * NANOSECONDS + (both & _U32)

    @property
    def addresses(self) -> Addresses:
        found = dict(reversed(self.attributes))
        return Addresses(
            source=_address(found.get(10), found.get(12)),
            destination=_address(found.get(11), found.get(13)),
            source_port=_number(found.get(14)),
            destination_port=_number(found.get(15)),
            protocol=_number(found.get(16)),
        )


def _address(v4: bytes | None, v6: bytes | None) -> IPv4Address | IPv6Address | None:
    if v4 is not None:
        return IPv4Address(v4)
    return None if v6 is None else IPv6Address(v6)


def _number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big")


def _packed(attributes: Iterable[tuple[int, bytes]]) -> bytes:
    parts: list[bytes] = []
    for number, value in attributes:
        wanted = _LENGTH.get(number, len(value))
        if not 0 <= number <= 0xFFFF or len(value) != wanted or len(value) > 0xFFFF:
            raise CodecError(f"attribute {number} cannot be of {len(value)} octets")
        parts += (_ATTRIBUTE.pack(number, len(value)), value)
    return b"".join(parts)


def _checked(kind: int, form: int, direction: int, xid: bytes, correlation: int) -> None:
    if kind << 32 | form << 16 | direction not in _MEANING:
        raise CodecError(f"a PDU of type {kind} has no payload of format {form} and direction {direction}")
    if len(xid) != 16 or not 0 <= correlation < 1 << 64:
        raise CodecError("the XID or the correlation is out of range", remedy="16 octets; 64 bits")


def encode(pdu: Pdu) -> bytes:
    """Raises CodecError for what no PDU can be, and for more than `Decoder` takes."""
    _checked(pdu.kind, pdu.form, pdu.direction, pdu.xid, pdu.correlation)
    attributes = _packed(pdu.attributes)
    length = _HEADER.size + len(attributes)
    if length > HEADER_LIMIT or len(pdu.payload) > PAYLOAD_LIMIT or (pdu.kind > PduType.X3 and pdu.payload):
        raise CodecError("the PDU is larger than one can be")
    head = _HEADER.pack(VERSION, pdu.kind, length, len(pdu.payload), pdu.form, pdu.direction, pdu.xid, pdu.correlation)
    return head + attributes + pdu.payload


class Template:
    """PDUs of one task, session, type and format: `encode` packs only what differs from one to the next.

    `attributes`: those that stay the same, without sequence number and timestamp. Raises CodecError.
    """

    __slots__ = ("_attributes", "_form", "_identity", "_start")

    def __init__(
        self, kind: PduType, xid: bytes, correlation: int, form: PayloadFormat, attributes: Attributes = ()
    ) -> None:
        _checked(kind, form, PayloadDirection.UNKNOWN, xid, correlation)
        if any(number in (8, 9) for number, _ in attributes):
            raise CodecError("sequence number and timestamp are given with each payload")
        self._attributes = _packed(attributes)
        length = _COMMON_END + len(self._attributes)
        if length > HEADER_LIMIT:
            raise CodecError("the attributes are more than a header can hold")
        self._start = struct.pack("!HHI", VERSION, kind, length)
        self._form = form << 16
        self._identity = xid + struct.pack("!QI", correlation, _SEQUENCE_TAG)

    def encode(self, sequence: int, at_ns: int, direction: PayloadDirection, payload: bytes) -> bytes:
        """`sequence` is taken modulo 2^32, `at_ns` counts nanoseconds since the epoch. Raises CodecError."""
        length = len(payload)
        if length > PAYLOAD_LIMIT or not 0 < direction < 6:
            raise CodecError("the payload is larger than one can be, or its direction is none")
        seconds, nanoseconds = divmod(at_ns, NANOSECONDS)
        head = _TEMPLATE.pack(
            self._start,
            length,
            self._form | direction,
            self._identity,
            sequence & _U32,
            _TIMESTAMP_TAG,
            seconds & _U32,
            nanoseconds,
        )
        return head + self._attributes + payload


def x3_template(xid: bytes, correlation: int, form: PayloadFormat, attributes: Attributes = ()) -> Template:
    return Template(PduType.X3, xid, correlation, form, attributes)


def x2_template(xid: bytes, correlation: int, form: PayloadFormat, attributes: Attributes = ()) -> Template:
    return Template(PduType.X2, xid, correlation, form, attributes)


def keepalive(sequence: int, kind: PduType = PduType.KEEPALIVE) -> bytes:
    """TS 103 221-2 clause 5.5: it is answered by a KEEPALIVE_ACK of the same sequence number."""
    attributes = ((Attribute.SEQUENCE, (sequence & _U32).to_bytes(4, "big")),)
    return encode(Pdu(kind, NIL_XID, 0, PayloadFormat.NONE, PayloadDirection.KEEPALIVE, attributes, b""))


class Decoder:
    """From a stream to PDUs. Lengths are judged before anything is held, so it never holds more than one PDU.

    `limits`: octets of header and of payload that are taken.
    """

    _REMEMBERED: Final = 1024

    def __init__(self, limits: tuple[int, int] = (HEADER_LIMIT, PAYLOAD_LIMIT)) -> None:
        self._header_limit, self._payload_limit = limits
        self._held = bytearray()
        self._need = _LENGTHS.size
        self._known: dict[bytes, Attributes] = {}
        self._failed: CodecError | None = None

    @property
    def held(self) -> int:
        """Octets of a PDU that is not whole yet."""
        return len(self._held)

    def feed(self, octets: bytes) -> list[Pdu]:
        """What is whole by now. Raises CodecError (see there) once, and again ever after."""
        if self._failed is not None:
            raise CodecError(self._failed.message)
        if self._held:
            self._held += octets
            if len(self._held) < self._need:
                return []
            octets = bytes(self._held)
            self._held.clear()
        pdus: list[Pdu] = []
        try:
            at = self._read(octets, pdus)
        except CodecError as error:
            error.before = tuple(pdus)
            self._failed = error
            raise
        if at < len(octets):
            self._held += memoryview(octets)[at:]
        return pdus

    def _read(self, data: bytes, pdus: list[Pdu]) -> int:
        """Appends to `pdus`; returns where the first that is not whole begins."""
        at, size = 0, len(data)
        while size - at >= 12:
            version, kind, header, payload = _LENGTHS.unpack_from(data, at)
            if version > 0xFF or not 40 <= header <= self._header_limit or payload > self._payload_limit:
                raise CodecError("not a header of this protocol, or a longer PDU than is taken")
            middle = at + header
            end = middle + payload
            if end > size:
                self._need = header + payload
                return at
            if header >= _COMMON_END:
                what, xid, correlation, first, sequence, second, timestamp = _COMMON.unpack_from(data, at + 12)
            else:
                what, xid, correlation = struct.unpack_from("!I16sQ", data, at + 12)
                first = second = sequence = 0
                timestamp = b""
            meaning = _MEANING.get(kind << 32 | what)
            if meaning is None or (kind > PduType.X3 and payload):
                raise CodecError("a type, payload format or direction that is none, or that do not go together")
            if first == _SEQUENCE_TAG and second == _TIMESTAMP_TAG:
                same = data[at + _COMMON_END : middle]
                attributes = (
                    (8, sequence.to_bytes(4, "big")),
                    (9, timestamp),
                    *(self._known.get(same) or self._learn(same)),
                )
            else:
                attributes = _attributes(data[at + 40 : middle])
            pdus.append(Pdu(meaning[0], xid, correlation, meaning[1], meaning[2], attributes, data[middle:end]))
            at = end
        self._need = _LENGTHS.size
        return at

    def _learn(self, octets: bytes) -> Attributes:
        attributes = _attributes(octets)
        if len(octets) <= 512:
            if len(self._known) >= self._REMEMBERED:
                self._known.clear()
            self._known[octets] = attributes
        return attributes


def _attributes(octets: bytes) -> Attributes:
    found: list[tuple[int, bytes]] = []
    at, size = 0, len(octets)
    while at < size:
        if size - at < 4:
            raise CodecError("an attribute is longer than its header")
        number, length = _ATTRIBUTE.unpack_from(octets, at)
        end = at + 4 + length
        if end > size:
            raise CodecError("an attribute is longer than its header")
        if _LENGTH.get(number, length) != length:
            raise CodecError(f"attribute {number} cannot be of {length} octets")
        found.append((number, octets[at + 4 : end]))
        at = end
    return tuple(found)
