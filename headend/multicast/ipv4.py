"""IPv4 datagrams as octets (RFC 791). Pure. Addresses are numbers, since this is done for every packet."""

from __future__ import annotations

import struct
from dataclasses import dataclass

IGMP, UDP = 2, 17
ROUTER_ALERT = b"\x94\x04\x00\x00"
"""RFC 2113; every IGMPv3 message carries it (RFC 3376 section 4)."""

_HEADER = struct.Struct("!BBHHHBBHII")
_MORE_FRAGMENTS_AND_OFFSET = 0x3FFF


class MalformedError(ValueError):
    """What came is no message of its kind. `reason` is short and one of a few, so that it can be counted by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Datagram:
    source: int
    destination: int
    protocol: int
    ttl: int
    tos: int
    payload: bytes


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_multicast(address: int) -> bool:
    return address >> 28 == 0xE


def is_source_specific(address: int) -> bool:
    """232.0.0.0/8, RFC 4607."""
    return address >> 24 == 232


def build(
    source: int, destination: int, protocol: int, payload: bytes, *, ttl: int = 1, tos: int = 0, options: bytes = b""
) -> bytes:
    """`options` is a whole number of words. Raises ValueError when it is not, or the datagram is too long."""
    length = _HEADER.size + len(options)
    if length % 4 or length > 60 or length + len(payload) > 0xFFFF:
        raise ValueError("no such datagram")
    head = _HEADER.pack(
        0x40 | length // 4, tos, length + len(payload), 0, 0x4000, ttl, protocol, 0, source, destination
    )
    head += options
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def parse(data: bytes) -> Datagram:
    """A whole datagram; octets behind its length are padding. Raises MalformedError."""
    if len(data) < _HEADER.size:
        raise MalformedError("short")
    first, tos, total, _, fragment, ttl, protocol, _, source, destination = _HEADER.unpack_from(data)
    length = (first & 15) * 4
    if first >> 4 != 4 or length < _HEADER.size or not length <= total <= len(data):
        raise MalformedError("ip-header")
    if checksum(data[:length]):
        raise MalformedError("ip-checksum")
    if fragment & _MORE_FRAGMENTS_AND_OFFSET:
        raise MalformedError("fragment")
    return Datagram(source, destination, protocol, ttl, tos, data[length:total])
