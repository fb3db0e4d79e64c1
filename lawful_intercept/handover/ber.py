"""Writing strict DER (ITU-T X.690): what a PS-PDU needs of it, and no more. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

NS_IN_US: Final = 1_000
US_IN_S: Final = 1_000_000


def length(octets: int) -> bytes:
    """A definite length in its shortest form (X.690 10.1)."""
    if octets < 0x80:
        return bytes((octets,))
    size = (octets.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + octets.to_bytes(size, "big")


def tlv(tag: int, *contents: bytes) -> bytes:
    """`tag`: the identifier octets as one number; the contents one after another."""
    body = b"".join(contents)
    return tag.to_bytes((tag.bit_length() + 7) // 8 or 1, "big") + length(len(body)) + body


def number(value: int) -> bytes:
    """The contents of a non-negative INTEGER or ENUMERATED: minimal, a zero octet before a leading one bit (8.3)."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def arc(value: int) -> bytes:
    """A later arc of an object identifier: seven bits an octet (8.19.2)."""
    made = bytes((value & 0x7F,))
    while value := value >> 7:
        made = bytes((0x80 | value & 0x7F,)) + made
    return made


def integer(tag: int, value: int) -> bytes:
    return tlv(tag, number(value))


def sequence_of(tag: int, items: Iterable[bytes]) -> bytes:
    return tlv(tag, *items)


def split_time(at_ns: int) -> tuple[int, int]:
    """(seconds, microseconds) of nanoseconds since 1970, UTC."""
    return divmod(at_ns // NS_IN_US, US_IN_S)


def generalized_time(at_ns: int) -> bytes:
    """The contents of a GeneralizedTime in UTC: no trailing zero in its fraction, none at all on the second (11.7)."""
    seconds, microseconds = split_time(at_ns)
    fraction = f".{microseconds:06d}".rstrip("0") if microseconds else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d%H%M%S}{fraction}Z".encode("ascii")
