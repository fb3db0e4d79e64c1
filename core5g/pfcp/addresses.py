"""Values that say where: nodes, sessions, tunnels, UEs, headers to put on (TS 29.244, 8.2)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Self

from core5g.pfcp.names import IeType
from core5g.pfcp.reading import Reader, labels_of_name, name_of_labels, packed
from core5g.pfcp.wire import PfcpError

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class NodeId:
    """8.2.38: an address or a domain name."""

    IE: ClassVar[IeType] = IeType.NODE_ID

    id: Address | str

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        match reader.number(1) & 15:
            case 0:
                return cls(reader.ipv4())
            case 1:
                return cls(reader.ipv6())
            case 2:
                name = name_of_labels(value[1:])
                if name is not None:
                    return cls(name)
        raise reader.error("neither an address nor a name")

    def encode(self) -> bytes:
        match self.id:
            case IPv4Address():
                return b"\0" + self.id.packed
            case IPv6Address():
                return b"\1" + self.id.packed
        return b"\2" + labels_of_name(self.IE, self.id)

    def __str__(self) -> str:
        return str(self.id)


@dataclass(frozen=True, slots=True)
class FSeid:
    """8.2.37: a session at one of its ends; at least one address."""

    IE: ClassVar[IeType] = IeType.F_SEID

    seid: int
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        flags = reader.number(1)
        if not flags & 3:
            raise reader.error("no address")
        return cls(reader.number(8), reader.ipv4() if flags & 2 else None, reader.ipv6() if flags & 1 else None)

    def encode(self) -> bytes:
        flags = (2 if self.ipv4 else 0) | (1 if self.ipv6 else 0)
        if not flags:
            raise PfcpError("range", "F-SEID without an address", ie=self.IE)
        return bytes((flags,)) + packed(self.IE, self.seid, 8) + _both(self.ipv4, self.ipv6)


@dataclass(frozen=True, slots=True)
class FTeid:
    """8.2.3: a tunnel's end, or (`choose`) the wish that the UPF picks one.

    With `choose`, `choose_ipv4` and `choose_ipv6` say of which families, and PDRs of a session with the same
    `choose_id` get the same one; `teid` is 0 and there are no addresses.
    """

    IE: ClassVar[IeType] = IeType.F_TEID

    teid: int = 0
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    choose: bool = False
    choose_id: int | None = None
    choose_ipv4: bool = False
    choose_ipv6: bool = False

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        flags = reader.number(1)
        if not flags & 3:
            raise reader.error("no address")
        if flags & 4:
            chosen = reader.number(1) if flags & 8 else None
            return cls(0, None, None, True, chosen, bool(flags & 1), bool(flags & 2))
        return cls(reader.number(4), reader.ipv4() if flags & 1 else None, reader.ipv6() if flags & 2 else None)

    def encode(self) -> bytes:
        if self.choose:
            flags = 4 | int(self.choose_ipv4) | int(self.choose_ipv6) << 1
            if not flags & 3 or self.teid or self.ipv4 or self.ipv6:
                raise PfcpError("range", f"{self}: CHOOSE is of a family and in place of an address", ie=self.IE)
            if self.choose_id is None:
                return bytes((flags,))
            return bytes((flags | 8,)) + packed(self.IE, self.choose_id, 1)
        flags = int(self.ipv4 is not None) | int(self.ipv6 is not None) << 1
        if not flags or self.choose_id is not None or self.choose_ipv4 or self.choose_ipv6:
            raise PfcpError("range", f"{self}: no address, or CHOOSE's fields without it", ie=self.IE)
        return bytes((flags,)) + packed(self.IE, self.teid, 4) + _both(self.ipv4, self.ipv6)


@dataclass(frozen=True, slots=True)
class UeIpAddress:
    """8.2.62. `destination`: it is looked for in the destination field (downlink), else in the source field.

    ipv6_delegation  how many bits shorter than 64 the delegated prefix is
    ipv6_length      the prefix length, where it is not 64
    """

    IE: ClassVar[IeType] = IeType.UE_IP_ADDRESS

    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    destination: bool = False
    choose_ipv4: bool = False
    choose_ipv6: bool = False
    ipv6_delegation: int | None = None
    ipv6_length: int | None = None

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        flags = reader.number(1)
        return cls(
            reader.ipv4() if flags & 0x02 else None,
            reader.ipv6() if flags & 0x01 else None,
            bool(flags & 0x04),
            bool(flags & 0x10),
            bool(flags & 0x20),
            reader.number(1) if flags & 0x08 else None,
            reader.number(1) if flags & 0x40 else None,
        )

    def encode(self) -> bytes:
        flags = (
            int(self.ipv6 is not None)
            | int(self.ipv4 is not None) << 1
            | int(self.destination) << 2
            | int(self.ipv6_delegation is not None) << 3
            | int(self.choose_ipv4) << 4
            | int(self.choose_ipv6) << 5
            | int(self.ipv6_length is not None) << 6
        )
        octets = bytes((flags,)) + _both(self.ipv4, self.ipv6)
        for number in (self.ipv6_delegation, self.ipv6_length):
            if number is not None:
                octets += packed(self.IE, number, 1)
        return octets


GTPU_IPV4, GTPU_IPV6, UDP_IPV4, UDP_IPV6 = 0x0100, 0x0200, 0x0400, 0x0800
PLAIN_IPV4, PLAIN_IPV6, C_TAG, S_TAG = 0x1000, 0x2000, 0x4000, 0x8000


@dataclass(frozen=True, slots=True)
class OuterHeaderCreation:
    """8.2.56. `description` says by its bits which of the fields stand; `port` is UDP's, tags are 3 octets each."""

    IE: ClassVar[IeType] = IeType.OUTER_HEADER_CREATION

    description: int
    teid: int | None = None
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    port: int | None = None
    c_tag: bytes | None = None
    s_tag: bytes | None = None

    @property
    def is_gtpu(self) -> bool:
        """Whether it is GTP-U and nothing else: all that Open5GS takes."""
        return self.description in (GTPU_IPV4, GTPU_IPV6, GTPU_IPV4 | GTPU_IPV6)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        wanted = reader.number(2)
        if not wanted & 0xFF00:
            raise reader.error("no header")
        teid, ipv4, ipv6, port, c_tag, s_tag = _fields(wanted)
        return cls(
            wanted,
            reader.number(4) if teid else None,
            reader.ipv4() if ipv4 else None,
            reader.ipv6() if ipv6 else None,
            reader.number(2) if port else None,
            reader.take(3) if c_tag else None,
            reader.take(3) if s_tag else None,
        )

    def encode(self) -> bytes:
        fields = (self.teid, self.ipv4, self.ipv6, self.port, self.c_tag, self.s_tag)
        if not self.description & 0xFF00 or tuple(field is not None for field in fields) != _fields(self.description):
            raise PfcpError("range", f"{self}: fields that its description does not name", ie=self.IE)
        octets = packed(self.IE, self.description, 2)
        if self.teid is not None:
            octets += packed(self.IE, self.teid, 4)
        octets += _both(self.ipv4, self.ipv6)
        if self.port is not None:
            octets += packed(self.IE, self.port, 2)
        for tag in (self.c_tag, self.s_tag):
            if tag is not None:
                if len(tag) != 3:
                    raise PfcpError("range", f"{self}: tags have 3 octets", ie=self.IE)
                octets += tag
        return octets


def _fields(description: int) -> tuple[bool, ...]:
    """Which fields follow: TEID, IPv4, IPv6, port, C-TAG, S-TAG."""
    masks = (
        GTPU_IPV4 | GTPU_IPV6,
        GTPU_IPV4 | UDP_IPV4 | PLAIN_IPV4,
        GTPU_IPV6 | UDP_IPV6 | PLAIN_IPV6,
        UDP_IPV4 | UDP_IPV6,
        C_TAG,
        S_TAG,
    )
    return tuple(bool(description & mask) for mask in masks)


def _both(ipv4: IPv4Address | None, ipv6: IPv6Address | None) -> bytes:
    return (b"" if ipv4 is None else ipv4.packed) + (b"" if ipv6 is None else ipv6.packed)
