"""The seven messages of AMT as octets (RFC 7450 section 5.1). Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from headend.multicast.ipv4 import MalformedError

PORT = 2268
"""UDP port of relays, section 7.2."""
MAC_OCTETS = 6

_ENDPOINT = struct.Struct("!H16s")


class Type(IntEnum):
    """Section 5.1."""

    DISCOVERY = 1
    ADVERTISEMENT = 2
    REQUEST = 3
    QUERY = 4
    UPDATE = 5
    DATA = 6
    TEARDOWN = 7


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a gateway's datagrams come from, as the relay sees them."""

    address: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Discovery:
    """Section 5.1.1."""

    nonce: int


@dataclass(frozen=True, slots=True)
class Advertisement:
    """Section 5.1.2. Only relays with an IPv4 address are known here."""

    nonce: int
    relay: IPv4Address


@dataclass(frozen=True, slots=True)
class Request:
    """Section 5.1.3. `mld`: an MLDv2 query is asked for, not an IGMPv3 one (the P flag)."""

    nonce: int
    mld: bool = False


@dataclass(frozen=True, slots=True)
class MembershipQuery:
    """Section 5.1.4. `limited`: the relay takes no new memberships (the L flag). `query`: an IP datagram.

    `gateway`: where the request came from (the G flag), so that a gateway sees a NAT change its mind.
    """

    mac: bytes
    nonce: int
    query: bytes
    limited: bool = False
    gateway: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class MembershipUpdate:
    """Section 5.1.5. `report`: an IP datagram."""

    mac: bytes
    nonce: int
    report: bytes


@dataclass(frozen=True, slots=True)
class MulticastData:
    """Section 5.1.6. `packet`: the IP datagram as it was."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class Teardown:
    """Section 5.1.7. `gateway`: the endpoint whose tunnel ends, as a query told it."""

    mac: bytes
    nonce: int
    gateway: Endpoint


Message = Discovery | Advertisement | Request | MembershipQuery | MembershipUpdate | MulticastData | Teardown

_DATA_HEAD = bytes([Type.DATA, 0])


def encode(message: Message) -> bytes:
    if isinstance(message, MulticastData):
        return _DATA_HEAD + message.packet
    nonce = message.nonce.to_bytes(4, "big")
    match message:
        case Discovery():
            octets = bytes([Type.DISCOVERY, 0, 0, 0]) + nonce
        case Advertisement(_, relay):
            octets = bytes([Type.ADVERTISEMENT, 0, 0, 0]) + nonce + relay.packed
        case Request(_, mld):
            octets = bytes([Type.REQUEST, int(mld), 0, 0]) + nonce
        case MembershipQuery(mac, _, query, limited, gateway):
            flags = int(limited) << 1 | int(gateway is not None)
            tail = _pack(gateway) if gateway is not None else b""
            octets = bytes([Type.QUERY, flags]) + _mac(mac) + nonce + query + tail
        case MembershipUpdate(mac, _, report):
            octets = bytes([Type.UPDATE, 0]) + _mac(mac) + nonce + report
        case Teardown(mac, _, gateway):
            octets = bytes([Type.TEARDOWN, 0]) + _mac(mac) + nonce + _pack(gateway)
    return octets


def decode(data: bytes) -> Message:
    """Raises MalformedError. Octets behind a message of fixed length are taken for padding; reserved bits are ignored
    (section 5.1)."""
    if not data:
        raise MalformedError("short")
    if data[0] >> 4 != 0:
        raise MalformedError("version")
    kind = data[0] & 15
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise MalformedError("type")
    least, build = decoder
    if len(data) < least:
        raise MalformedError("short")
    return build(data)


def _advertisement(data: bytes) -> Advertisement:
    if len(data) >= 24:
        raise MalformedError("ipv6-relay")
    return Advertisement(_number(data, 4), IPv4Address(data[8:12]))


def _query(data: bytes) -> MembershipQuery:
    flags, rest = data[1], data[12:]
    gateway = None
    if flags & 1:
        if len(rest) < _ENDPOINT.size:
            raise MalformedError("short")
        gateway, rest = _endpoint(rest[-_ENDPOINT.size :]), rest[: -_ENDPOINT.size]
    return MembershipQuery(data[2:8], _number(data, 8), rest, bool(flags & 2), gateway)


def _endpoint(data: bytes) -> Endpoint:
    """An IPv4 address stands as an IPv4-compatible IPv6 one (sections 5.1.4.9 and 5.1.7.5). Raises MalformedError."""
    port, address = _ENDPOINT.unpack_from(data)
    if any(address[:12]):
        raise MalformedError("ipv6-gateway")
    return Endpoint(IPv4Address(address[12:]), port)


def _pack(endpoint: Endpoint) -> bytes:
    return _ENDPOINT.pack(endpoint.port, bytes(12) + endpoint.address.packed)


def _mac(mac: bytes) -> bytes:
    if len(mac) != MAC_OCTETS:
        raise ValueError("a response MAC has 48 bits")
    return mac


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "big")


_DECODERS: Mapping[int, tuple[int, Callable[[bytes], Message]]] = {
    Type.DISCOVERY: (8, lambda data: Discovery(_number(data, 4))),
    Type.ADVERTISEMENT: (12, _advertisement),
    Type.REQUEST: (8, lambda data: Request(_number(data, 4), bool(data[1] & 1))),
    Type.QUERY: (12, _query),
    Type.UPDATE: (12, lambda data: MembershipUpdate(data[2:8], _number(data, 8), data[12:])),
    Type.DATA: (2, lambda data: MulticastData(data[2:])),
    Type.TEARDOWN: (30, lambda data: Teardown(data[2:8], _number(data, 8), _endpoint(data[12:30]))),
}
