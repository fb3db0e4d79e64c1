"""Reading BER (ITU-T X.690) of senders that write more than DER: indefinite lengths, long forms. Pure, bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, NamedTuple

from nf.errors import InputError

DEEPEST: Final = 32
"""Constructed values within one another; a PS-PDU has ten."""
LONGEST_NUMBER: Final = 9
"""Octets of an INTEGER: 64 bits, unsigned."""
_TIME: Final = re.compile(rb"(\d{14})(?:[.,](\d{1,9}))?(?:Z|([+-])(\d{2}):?(\d{2})?)")


class PduError(InputError):
    """These octets are no PS-PDU: the connection that brought them is of no more use."""

    def __init__(self, what: str) -> None:
        super().__init__(f"a PS-PDU {what}", remedy="check the sender's encoding (TS 102 232-1)")


class Element(NamedTuple):
    """A value: its identifier octets as one number, and its contents."""

    tag: int
    contents: bytes

    @property
    def constructed(self) -> bool:
        first = self.tag
        while first > 0xFF:
            first >>= 8
        return bool(first & 0x20)


class Head(NamedTuple):
    """Identifier and length: `length` is None when it is indefinite; `size`: octets of both together."""

    tag: int
    length: int | None
    size: int


def read_head(octets: bytes | bytearray, at: int, end: int) -> Head | None:
    """Of what stands at `at`; None when it is not whole before `end`. Raises PduError."""
    identifier = _read_tag(octets, at, end)
    if identifier is None or identifier[1] >= end:
        return None
    tag, place = identifier
    first = octets[place]
    place += 1
    if first <= 0x80:
        return Head(tag, None if first == 0x80 else first, place - at)
    count = first & 0x7F
    if count > 8:
        raise PduError("has a length of more than eight octets")
    if place + count > end:
        return None
    return Head(tag, int.from_bytes(octets[place : place + count], "big"), place + count - at)


def _read_tag(octets: bytes | bytearray, at: int, end: int) -> tuple[int, int] | None:
    """(tag, where its length stands); tags above 30 have several octets."""
    if at >= end:
        return None
    tag, place = octets[at], at + 1
    if tag & 0x1F != 0x1F:
        return tag, place
    while place < end:
        tag = tag << 8 | octets[place]
        place += 1
        if not octets[place - 1] & 0x80:
            return tag, place
        if place - at > 4:
            raise PduError("has a tag of a size that no field has")
    return None


def elements(octets: bytes) -> Iterator[Element]:
    """What stands one after another. Raises PduError for what is cut or nested too deep."""
    at = 0
    while at < len(octets):
        tag, start, stop, at = _value(octets, at)
        yield Element(tag, octets[start:stop])


def _value(octets: bytes, at: int) -> tuple[int, int, int, int]:
    """(tag, where the contents start and end, where the next value starts)."""
    end = len(octets)
    head = read_head(octets, at, end)
    if head is None:
        raise PduError("is cut")
    start = at + head.size
    if head.length is None:
        if not Element(head.tag, b"").constructed:
            raise PduError("has an indefinite length where none can be")
        return head.tag, start, *_indefinite(octets, start, end)
    stop = start + head.length
    if stop > end:
        raise PduError("is cut")
    return head.tag, start, stop, stop


def _indefinite(octets: bytes, start: int, end: int) -> tuple[int, int]:
    """(where the contents end, where the next value starts)."""
    at, depth = start, 1
    while True:
        head = read_head(octets, at, end)
        if head is None:
            raise PduError("is cut")
        if head.tag == 0 and head.length == 0:
            depth -= 1
            if not depth:
                return at, at + 2
        elif head.length is None:
            depth += 1
            if depth > DEEPEST:
                raise PduError("is nested too deep")
        at += head.size + (head.length or 0)


def one(octets: bytes, tag: int) -> bytes:
    """The contents of the single value that `octets` are. Raises PduError."""
    found = choice(octets)
    if found[0] != tag:
        raise PduError("is not built as it has to be")
    return found[1]


def choice(octets: bytes) -> tuple[int, bytes]:
    """(tag, contents) of the single value within an explicit tag. Raises PduError."""
    tag, start, stop, after = _value(octets, 0)
    if after != len(octets):
        raise PduError("is not built as it has to be")
    return tag, octets[start:stop]


def fields(octets: bytes) -> dict[int, bytes]:
    """A SEQUENCE's contents by tag; unknown ones too. Raises PduError for a repeated one."""
    found: dict[int, bytes] = {}
    at, end = 0, len(octets)
    while at < end:
        # Nearly all are short: one octet of tag and one of length.
        start = at + 2
        if start <= end and octets[at + 1] < 0x80 and octets[at] & 0x1F != 0x1F:
            tag, stop = octets[at], start + octets[at + 1]
            if stop > end:
                raise PduError("is cut")
            at = stop
        else:
            tag, start, stop, at = _value(octets, at)
        if tag in found:
            raise PduError("has a field twice")
        found[tag] = octets[start:stop]
    return found


def need(found: dict[int, bytes], tag: int) -> bytes:
    """Raises PduError."""
    try:
        return found[tag]
    except KeyError:
        raise PduError("lacks a field") from None


def unsigned(contents: bytes, most: int) -> int:
    """An INTEGER or ENUMERATED from 0 to `most`. Raises PduError."""
    if not 1 <= len(contents) <= LONGEST_NUMBER:
        raise PduError("has a number of no or too many octets")
    value = int.from_bytes(contents, "big", signed=True)
    if not 0 <= value <= most:
        raise PduError("has a number that is out of its range")
    return value


def time_ns(contents: bytes) -> int:
    """A GeneralizedTime in nanoseconds since 1970. Raises PduError."""
    found = _TIME.fullmatch(contents)
    if found is None:
        raise PduError("has a time that is none")
    digits, fraction, sign, hours, minutes = found.groups()
    try:
        zone = UTC
        if sign is not None:
            shift = timedelta(hours=int(hours), minutes=int(minutes or 0))
            zone = timezone(shift if sign == b"+" else -shift)
        moment = datetime.strptime(digits.decode(), "%Y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError as error:
        raise PduError("has a time that is none") from error
    whole = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return whole * 1_000_000_000 + int((fraction or b"").ljust(9, b"0"))


def text(contents: bytes) -> str:
    """A PrintableString. Raises PduError."""
    try:
        return contents.decode("ascii")
    except UnicodeDecodeError as error:
        raise PduError("has a text that is none") from error
