"""Bencoding (BEP 3) as rtpengine's ng protocol has it, sans-IO, strict and exact.

Whatever is decoded is encoded to the same octets. Two liberties are rtpengine's: keys come in any order, and strings
may be anything; octets that are no UTF-8 are kept as surrogates (PEP 383).
"""

from __future__ import annotations

from typing import Final, TypeAlias

from nf.errors import InputError

Value: TypeAlias = "int | str | list[Value] | dict[str, Value]"

MAX_OCTETS: Final = 1 << 24
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 1 << 20
_MAX_DIGITS: Final = 20
_MINUS, _COLON, _ZERO, _NINE, _D, _E, _I, _L = b"-:09deil"


class BencodeError(InputError):
    """What is decoded is no bencoding, or exceeds a cap; `where` says at which octet."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message, where=f"octet {offset}", remedy="this is no answer of the ng protocol")
        self.offset = offset


def encode(value: Value) -> bytes:
    """Raises InputError for what is none of int, str, list and dict, or too deep."""
    out: list[bytes] = []
    _encode(value, out, 0)
    return b"".join(out)


def _encode(value: Value, out: list[bytes], depth: int) -> None:
    if isinstance(value, str):
        data = value.encode(errors="surrogateescape")
        out.append(b"%d:%b" % (len(data), data))
    elif isinstance(value, bool):
        raise InputError("the ng protocol has no truth values", remedy='write "yes" or a flag')
    elif isinstance(value, int):
        if not -(10**_MAX_DIGITS) < value < 10**_MAX_DIGITS:
            raise InputError(f"an integer has {_MAX_DIGITS} digits or fewer", remedy="send it as a string")
        out.append(b"i%de" % value)
    elif depth >= MAX_DEPTH:
        raise InputError(f"values are nested more than {MAX_DEPTH} deep", remedy="send less at once")
    elif isinstance(value, dict):
        out.append(b"d")
        for key, member in value.items():
            data = key.encode(errors="surrogateescape")
            out.append(b"%d:%b" % (len(data), data))
            _encode(member, out, depth + 1)
        out.append(b"e")
    elif isinstance(value, list):
        out.append(b"l")
        for member in value:
            _encode(member, out, depth + 1)
        out.append(b"e")
    else:
        raise InputError(f"a {type(value).__name__} cannot be bencoded", remedy="use int, str, list and dict")


def decode(data: bytes) -> Value:
    """Of one value and nothing behind it. Raises BencodeError."""
    if len(data) > MAX_OCTETS:
        raise BencodeError(f"more than {MAX_OCTETS:,} octets", MAX_OCTETS)
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise BencodeError(f"{len(data) - reader.at:,} octets behind the value", reader.at)
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.values = 0

    def value(self, depth: int) -> Value:
        kind = self._peek()
        if _ZERO <= kind <= _NINE:
            return self.string()
        self._count()
        if kind == _I:
            return self._integer()
        if kind not in (_D, _L):
            raise BencodeError("no value begins like this", self.at)
        if depth >= MAX_DEPTH:
            raise BencodeError(f"nested more than {MAX_DEPTH} deep", self.at)
        self.at += 1
        return self._members(depth + 1) if kind == _D else self._items(depth + 1)

    def string(self) -> str:
        self._count()
        start = self.at
        end = self.data.find(b":", start, start + _MAX_DIGITS + 1)
        digits = self.data[start:end] if end >= 0 else b""
        if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            raise BencodeError("a string begins with its length and a colon", start)
        self.at = end + 1 + int(digits)
        if self.at > len(self.data):
            raise BencodeError("a string is longer than what is left", start)
        return self.data[end + 1 : self.at].decode(errors="surrogateescape")

    def _integer(self) -> int:
        start = self.at
        end = self.data.find(b"e", start, start + _MAX_DIGITS + 3)
        text = self.data[start + 1 : end] if end >= 0 else b""
        digits = text[1:] if text[:1] == b"-" else text
        if not digits.isdigit() or len(digits) > _MAX_DIGITS or (digits[0] == _ZERO and text != b"0"):
            raise BencodeError("an integer is i, digits without leading zeros, e", start)
        self.at = end + 1
        return int(text)

    def _items(self, depth: int) -> list[Value]:
        items: list[Value] = []
        while self._peek() != _E:
            items.append(self.value(depth))
        self.at += 1
        return items

    def _members(self, depth: int) -> dict[str, Value]:
        members: dict[str, Value] = {}
        while self._peek() != _E:
            start = self.at
            key = self.string()
            if key in members:
                raise BencodeError("a key comes twice", start)
            members[key] = self.value(depth)
        self.at += 1
        return members

    def _peek(self) -> int:
        if self.at >= len(self.data):
            raise BencodeError("it ends too early", self.at)
        return self.data[self.at]

    def _count(self) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise BencodeError(f"more than {MAX_VALUES:,} values", self.at)
