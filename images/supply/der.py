"""DER (ITU-T X.690 clause 10) as signatures need it: strict, so that one value has one encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nf.errors import IntegrityError

INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31
_MOST_LENGTH_OCTETS: Final = 4
_MOST_ARCS: Final = 32


def context(number: int) -> int:
    """The tag of a constructed, context-specific element, as in `[0] EXPLICIT`."""
    return 0xA0 | number


@dataclass(frozen=True, slots=True)
class Element:
    """One value. `raw` is its whole encoding, `value` what stands behind tag and length."""

    tag: int
    value: bytes
    raw: bytes


class Reader:
    """Takes elements one after the other; each method raises IntegrityError when the next is another one."""

    def __init__(self, data: bytes, *, where: str) -> None:
        self._data = data
        self._at = 0
        self._where = where

    @property
    def is_over(self) -> bool:
        return self._at == len(self._data)

    def next_tag(self) -> int:
        """The tag of the next element, 0 at the end."""
        return 0 if self.is_over else self._data[self._at]

    def take(self, tag: int) -> Element:
        """The next element, which must have this tag."""
        start = self._at
        if self.next_tag() != tag:
            raise self.refused(f"tag {self.next_tag():#04x} where {tag:#04x} belongs")
        length, at = self._length(start + 1)
        end = at + length
        if end > len(self._data):
            raise self.refused("an element is longer than what holds it")
        self._at = end
        return Element(tag, self._data[at:end], self._data[start:end])

    def enter(self, tag: int) -> Reader:
        """The inside of the next element."""
        return Reader(self.take(tag).value, where=self._where)

    def integer(self) -> int:
        value = self.take(INTEGER).value
        if not value or (len(value) > 1 and value[0] in (0x00, 0xFF) and (value[0] ^ value[1]) & 0x80 == 0):
            raise self.refused("an integer is not in its shortest form")
        return int.from_bytes(value, "big", signed=True)

    def oid(self) -> str:
        """Dotted, as `1.2.840.113549.1.7.2`."""
        value = self.take(OBJECT_IDENTIFIER).value
        arcs: list[int] = []
        arc = 0
        fresh = True
        for octet in value:
            if fresh and octet == 0x80:
                raise self.refused("an object identifier is not in its shortest form")
            arc = arc << 7 | octet & 0x7F
            fresh = not octet & 0x80
            if fresh:
                arcs.append(arc)
                arc = 0
            if len(arcs) > _MOST_ARCS or arc.bit_length() > 64:
                raise self.refused("an object identifier is too long")
        if not fresh or not arcs:
            raise self.refused("an object identifier is cut off")
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))

    def algorithm(self) -> str:
        """AlgorithmIdentifier whose parameters are absent or NULL."""
        inside = self.enter(SEQUENCE)
        oid = inside.oid()
        if not inside.is_over and inside.take(NULL).value:
            raise self.refused("NULL with a value")
        inside.end()
        return oid

    def end(self) -> None:
        """Nothing may follow."""
        if not self.is_over:
            raise self.refused("octets follow where none belong")

    def refused(self, reason: str) -> IntegrityError:
        return IntegrityError(f"the signature cannot be read: {reason}", where=self._where)

    def _length(self, at: int) -> tuple[int, int]:
        """Length, and where the value begins."""
        if at >= len(self._data):
            raise self.refused("it is cut off")
        first = self._data[at]
        if first < 0x80:
            return first, at + 1
        count = first & 0x7F
        octets = self._data[at + 1 : at + 1 + count]
        if not 1 <= count <= _MOST_LENGTH_OCTETS or len(octets) < count:
            raise self.refused("a length cannot be read")
        length = int.from_bytes(octets, "big")
        if length < 0x80 or not octets[0]:
            raise self.refused("a length is not in its shortest form")
        return length, at + 1 + count


def encode(tag: int, value: bytes) -> bytes:
    """One element."""
    if len(value) < 0x80:
        return bytes((tag, len(value))) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value
