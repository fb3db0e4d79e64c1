"""What a PDU of X2 or X3 is (ETSI TS 103 221-2 clause 5): its fields, and which of them go together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple, Self

NIL_XID: Final = bytes(16)
NANOSECONDS: Final = 1_000_000_000


class _Number(IntEnum):
    """Hashed as the integer that it is: an Enum's own hash is several times slower, and PDUs are looked up by these."""

    __hash__ = int.__hash__


class PduType(_Number):
    X2 = 1
    X3 = 2
    KEEPALIVE = 3
    KEEPALIVE_ACK = 4


class PayloadFormat(_Number):
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


class PayloadDirection(_Number):
    """TS 103 221-2 clause 5.2.7; other numbers than a PS-PDU's direction has."""

    KEEPALIVE = 0
    UNKNOWN = 1
    TO_TARGET = 2
    FROM_TARGET = 3
    SEVERAL = 4
    NOT_APPLICABLE = 5


class Attribute(_Number):
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
MEANING: Final = {
    kind << 32 | form << 16 | direction: (kind, form, direction)
    for kind, forms in LEGAL.items()
    for form in forms
    for direction in _DIRECTIONS[kind]
}
"""Every legal combination of type, format and direction: one look tells whether a header is good."""

LENGTHS: Final = {8: 4, 9: 8, 10: 4, 11: 4, 12: 16, 13: 16, 14: 2, 15: 2, 16: 1}
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


class _Parts(NamedTuple):
    kind: PduType
    xid: bytes
    correlation: int
    form: PayloadFormat
    direction: PayloadDirection
    payload: bytes
    sequence: int | None
    timestamp_ns: int | None
    others: Attributes
    leading: bool


class Pdu(_Parts):
    """One PDU. A tuple inside, since a busy point makes a hundred thousand each second; its text shows nothing.

    xid           16 octets, nil in keepalives
    correlation   64 bits
    sequence      0 to 2^32 - 1 (attribute 8); None without that attribute
    timestamp_ns  nanoseconds since the epoch (attribute 9); None without that attribute
    others        attributes; without the two before when they are `leading`, which is how a Template orders them
    """

    __slots__ = ()

    def __new__(  # noqa: PLR0917 - as many as a PDU has, in its order
        cls,
        kind: PduType,
        xid: bytes,
        correlation: int,
        form: PayloadFormat,
        direction: PayloadDirection,
        attributes: Attributes,
        payload: bytes,
    ) -> Self:
        """`attributes`: (type, value) in the order in which they stand; types that are not in `Attribute` as well."""
        sequence = timestamp_ns = None
        for number, value in reversed(attributes):
            if number == 8:
                sequence = int.from_bytes(value, "big")
            elif number == 9:
                both = int.from_bytes(value, "big")
                timestamp_ns = (both >> 32) * NANOSECONDS + (both & 0xFFFFFFFF)
        parts = (kind, xid, correlation, form, direction, payload, sequence, timestamp_ns, attributes, False)
        return tuple.__new__(cls, parts)

    def __repr__(self) -> str:
        return f"Pdu({self.kind.name})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pdu) and self[:6] == other[:6] and self.attributes == other.attributes

    def __hash__(self) -> int:
        return hash((self[:6], self.attributes))

    @property
    def attributes(self) -> Attributes:
        """(type, value) in the order in which they stand."""
        if not self.leading or self.sequence is None or self.timestamp_ns is None:
            return self.others
        seconds, nanoseconds = divmod(self.timestamp_ns, NANOSECONDS)
        timestamp = (seconds << 32 | nanoseconds).to_bytes(8, "big")
        return ((8, self.sequence.to_bytes(4, "big")), (9, timestamp), *self.others)

    def attribute(self, number: int) -> bytes | None:
        """The first of this type."""
        for found, value in self.attributes if number in (8, 9) else self.others:
            if found == number:
                return value
        return None

    def every(self, number: int) -> tuple[bytes, ...]:
        """All of a type that can be repeated."""
        return tuple(value for found, value in self.attributes if found == number)

    @property
    def addresses(self) -> Addresses:
        found = dict(reversed(self.others))
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
