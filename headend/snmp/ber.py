"""The little BER (X.690) that SNMP headers need: definite lengths, one-octet tags; sans-IO.

Only what is looked at before cryptography is read here; whole messages are read by gufo-snmp and pysnmp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INTEGER: Final = 0x02
OCTETS: Final = 0x04
NULL: Final = 0x05
SEQUENCE: Final = 0x30


class BerError(ValueError):
    """Octets that are no BER, or not the element that must stand there."""


@dataclass(slots=True)
class Reader:
    """Reads elements of `data` from `at` up to `end`, one after the other. Raises BerError."""

    data: bytes
    at: int
    end: int

    @classmethod
    def of(cls, data: bytes) -> Reader:
        return cls(data, 0, len(data))

    def header(self) -> tuple[int, int]:
        """Tag and content length of the next element; what follows is its content."""
        if self.end - self.at < 2:
            raise BerError("ends inside a header")
        tag, length = self.data[self.at], self.data[self.at + 1]
        self.at += 2
        if tag & 0x1F == 0x1F:
            raise BerError("tag of several octets")
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or self.end - self.at < count:
                raise BerError("length is indefinite, too long or cut")
            length = int.from_bytes(self.data[self.at : self.at + count], "big")
            self.at += count
        if length > self.end - self.at:
            raise BerError("length points beyond the end")
        return tag, length

    def expect(self, tag: int) -> int:
        found, length = self.header()
        if found != tag:
            raise BerError(f"tag {found:#04x} where {tag:#04x} must stand")
        return length

    def enter(self, tag: int = SEQUENCE) -> Reader:
        """The content of the next element, as elements; this reader goes on after it."""
        length = self.expect(tag)
        inner = Reader(self.data, self.at, self.at + length)
        self.at += length
        return inner

    def octets(self) -> bytes:
        length = self.expect(OCTETS)
        self.at += length
        return self.data[self.at - length : self.at]

    def integer(self) -> int:
        length = self.expect(INTEGER)
        if not 1 <= length <= 8:
            raise BerError(f"integer of {length} octets")
        self.at += length
        return int.from_bytes(self.data[self.at - length : self.at], "big", signed=True)


def element(tag: int, *contents: bytes) -> bytes:
    """One element of definite length."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(number: int) -> bytes:
    """In as few octets as two's complement allows (X.690 clause 8.3.2)."""
    size = (number if number >= 0 else ~number).bit_length() // 8 + 1
    return element(INTEGER, number.to_bytes(size, "big", signed=True))
