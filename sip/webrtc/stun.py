"""STUN messages (RFC 8489) and those of TURN (RFC 8656), as bytes and back. Sans-IO; IPv4 alone."""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final

COOKIE: Final = 0x2112A442
HEADER: Final = 20
_FINGERPRINT: Final = 0x5354554E
_INTEGRITY_SIZE, _FINGERPRINT_SIZE = 24, 8
_IPV4: Final = 1

Endpoint = tuple[IPv4Address, int]


class Method(IntEnum):
    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    CREATE_PERMISSION = 0x008


class Class(IntEnum):
    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class Attribute(IntEnum):
    """RFC 8489 section 18.3, RFC 8656 section 18."""

    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_TRANSPORT = 0x0019
    XOR_MAPPED_ADDRESS = 0x0020
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028


class StunError(ValueError):
    """Bytes that are no STUN message, or not one that anybody may believe."""


@dataclass(frozen=True, slots=True)
class Message:
    """`attributes`: type and value, in their order, without padding; neither integrity nor fingerprint is among them.

    integrity  HMAC-SHA1 that it came with, and the bytes which that is of; None: it came without
    """

    method: int
    kind: Class
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...] = ()
    integrity: tuple[bytes, bytes] | None = None

    def find(self, attribute: Attribute) -> bytes | None:
        """The first of them: those that come again are not looked at (RFC 8489 section 14)."""
        return next((value for kind, value in self.attributes if kind == attribute), None)

    def text(self, attribute: Attribute) -> str:
        return (self.find(attribute) or b"").decode(errors="replace")

    def endpoint(self, attribute: Attribute) -> Endpoint | None:
        """Of one of the XOR attributes. Raises StunError."""
        value = self.find(attribute)
        return None if value is None else unxor(value)

    def error(self) -> tuple[int, str]:
        """Code and reason; 0 where it tells none (RFC 8489 section 14.8)."""
        value = self.find(Attribute.ERROR_CODE)
        if value is None or len(value) < 4:
            return 0, ""
        return (value[2] & 7) * 100 + value[3], value[4:].decode(errors="replace")

    def lifetime(self) -> int:
        """Seconds."""
        value = self.find(Attribute.LIFETIME)
        return int.from_bytes(value) if value is not None and len(value) == 4 else 0

    def is_signed_with(self, key: bytes) -> bool:
        if self.integrity is None:
            return False
        told, covered = self.integrity
        return hmac.compare_digest(told, hmac.digest(key, covered, hashlib.sha1))


def key_of(user: str, realm: str, password: str) -> bytes:
    """Of long-term credentials (RFC 8489 section 9.2.2)."""
    return hashlib.md5(f"{user}:{realm}:{password}".encode(), usedforsecurity=False).digest()


def xor(endpoint: Endpoint) -> bytes:
    """RFC 8489 section 14.2."""
    address, port = endpoint
    return struct.pack("!BBHI", 0, _IPV4, port ^ (COOKIE >> 16), int(address) ^ COOKIE)


def unxor(value: bytes) -> Endpoint:
    """Raises StunError."""
    if len(value) != 8 or value[1] != _IPV4:
        raise StunError("not an IPv4 address with its port")
    _, _, port, address = struct.unpack("!BBHI", value)
    return IPv4Address(address ^ COOKIE), port ^ (COOKIE >> 16)


def encode(message: Message, key: bytes | None = None) -> bytes:
    """With a fingerprint, and signed where there is a key."""
    body = b"".join(_attribute(kind, value) for kind, value in message.attributes)
    if key is not None:
        covered = _header(message, len(body) + _INTEGRITY_SIZE) + body
        body += _attribute(Attribute.MESSAGE_INTEGRITY, hmac.digest(key, covered, hashlib.sha1))
    whole = _header(message, len(body) + _FINGERPRINT_SIZE) + body
    return whole + _attribute(Attribute.FINGERPRINT, struct.pack("!I", zlib.crc32(whole) ^ _FINGERPRINT))


def _header(message: Message, length: int) -> bytes:
    # The class stands in bits 4 and 8 of the type, the method around them (RFC 8489 section 5).
    method, kind = message.method, message.kind
    first = (method & 0xF) | (method & 0x70) << 1 | (method & 0xF80) << 2 | (kind & 1) << 4 | (kind & 2) << 7
    return struct.pack("!HHI12s", first, length, COOKIE, message.transaction)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def decode(data: bytes) -> Message:
    """Raises StunError."""
    if len(data) < HEADER:
        raise StunError("shorter than a header")
    first, length, cookie, transaction = struct.unpack_from("!HHI12s", data)
    if first & 0xC000 or cookie != COOKIE:
        raise StunError("not a STUN message")
    if length % 4 or HEADER + length != len(data):
        raise StunError("another length than it tells")
    method = (first & 0xF) | (first & 0xE0) >> 1 | (first & 0x3E00) >> 2
    kind = Class((first >> 4 & 1) | (first >> 7 & 2))
    attributes, integrity = [], None
    for name, value, start in _attributes(data):
        if name == Attribute.FINGERPRINT:
            if value != struct.pack("!I", zlib.crc32(data[:start]) ^ _FINGERPRINT):
                raise StunError("another fingerprint than its own")
            break
        if integrity is not None:
            continue  # what comes after it is nobody's word (RFC 8489 section 14.5)
        if name == Attribute.MESSAGE_INTEGRITY:
            covered = struct.pack("!HH", first, start - HEADER + _INTEGRITY_SIZE) + data[4:start]
            integrity = (value, covered)
        else:
            attributes.append((name, value))
    return Message(method, kind, transaction, tuple(attributes), integrity)


def _attributes(data: bytes) -> Iterable[tuple[int, bytes, int]]:
    """Type, value, and where it begins."""
    place = HEADER
    while place < len(data):
        if place + 4 > len(data):
            raise StunError("an attribute is cut off")
        name, size = struct.unpack_from("!HH", data, place)
        end = place + 4 + size
        if end > len(data):
            raise StunError("an attribute is longer than its message")
        yield name, data[place + 4 : end], place
        place = end + -size % 4
