"""Netlink messages and attributes as octets (RFC 3549 section 2.2; Linux include/uapi/linux/netlink.h). Pure.

Only what the follower needs on its way of a millisecond: the bridge's group database and the elements of nft sets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE = 0x001, 0x004, 0x300, 0x400
NLA_F_NESTED = 0x8000

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
_ERRNO = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Message:
    type: int
    flags: int
    sequence: int
    payload: bytes

    @property
    def failure(self) -> bool:
        """An error, also one that ends a dump."""
        told = self.type in {NLMSG_ERROR, NLMSG_DONE} and len(self.payload) >= _ERRNO.size
        return told and _ERRNO.unpack_from(self.payload)[0] != 0

    @property
    def error(self) -> int | None:
        """errno of an answer, 0 when it acknowledges; None when the message is no answer."""
        if self.type != NLMSG_ERROR or len(self.payload) < _ERRNO.size:
            return None
        return int(-_ERRNO.unpack_from(self.payload)[0])


def align(length: int) -> int:
    return (length + 3) & ~3


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    head = _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0)
    return head + payload + bytes(align(len(payload)) - len(payload))


def messages(data: bytes) -> Iterator[Message]:
    """Whole messages of a datagram; what is cut off or lies about its length ends it."""
    place = 0
    while place + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, place)
        if length < _HEADER.size or place + length > len(data):
            return
        yield Message(kind, flags, sequence, data[place + _HEADER.size : place + length])
        place += align(length)


def attribute(kind: int, value: bytes) -> bytes:
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind)
    return head + value + bytes(align(len(value)) - len(value))


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) without the flags of the type; what is cut off or lies about its length ends it."""
    place = 0
    while place + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if length < _ATTRIBUTE.size or place + length > len(data):
            return
        yield kind & _TYPE_MASK, data[place + _ATTRIBUTE.size : place + length]
        place += align(length)
