"""Bencoding (BEP 3) as rtpengine's ng protocol has it, sans-IO, strict and exact.

Whatever is decoded is encoded to the same octets. Two liberties are rtpengine's: keys come in any order, and strings
may be anything; octets that are no UTF-8 are kept as surrogates (PEP 383).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeAlias

from nf.errors import InputError

Value: TypeAlias = "int | str | list[Value] | dict[str, Value]"

MAX_OCTETS: Final = 1 << 24
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 1 << 20
_MAX_DIGITS: Final = 20
_D, _E, _I, _L = b"deil"
_LENGTH: Final = re.compile(rb"(0|[1-9][0-9]{0,19}):").match
_INTEGER: Final = re.compile(rb"i(0|-?[1-9][0-9]{0,19})e").match


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
            out.append(_key(key))
            _encode(member, out, depth + 1)
        out.append(b"e")
    elif isinstance(value, list):
        out.append(b"l")
        for member in value:
            _encode(member, out, depth + 1)
        out.append(b"e")
    else:
        raise InputError(f"a {type(value).__name__} cannot be bencoded", remedy="use int, str, list and dict")


@lru_cache(maxsize=256)
def _key(text: str) -> bytes:
    """Keys are few, and always the same."""
    data = text.encode(errors="surrogateescape")
    return b"%d:%b" % (len(data), data)


def decode(data: bytes) -> Value:
    """Of one value and nothing behind it. Raises BencodeError."""
    if len(data) > MAX_OCTETS:
        raise BencodeError(f"more than {MAX_OCTETS:,} octets", MAX_OCTETS)
    reader = _Reader(data)
    value, at = reader.value(0, 0)
    if at != len(data):
        raise BencodeError(f"{len(data) - at:,} octets behind the value", at)
    return value


class _Reader:
    """Each method is given where to read and gives (what stands there, where it ends)."""

    __slots__ = ("data", "values")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.values = 0

    def value(self, at: int, depth: int) -> tuple[Value, int]:
        data = self.data
        kind = data[at] if at < len(data) else self._ended(at)
        if kind in (_D, _L):
            if depth >= MAX_DEPTH:
                raise BencodeError(f"nested more than {MAX_DEPTH} deep", at)
            self._count(at)
            return self._members(at + 1, depth + 1) if kind == _D else self._items(at + 1, depth + 1)
        if kind == _I:
            self._count(at)
            found = _INTEGER(data, at)
            if found is None:
                raise BencodeError("an integer is i, digits without leading zeros, e", at)
            return int(found[1]), found.end()
        if kind - 48 not in range(10):
            raise BencodeError("no value begins like this", at)
        return self.string(at)

    def string(self, at: int) -> tuple[str, int]:
        self._count(at)
        data = self.data
        found = _LENGTH(data, at)
        if found is None:
            raise BencodeError("a string begins with its length and a colon", at)
        start = found.end()
        end = start + int(found[1])
        if end > len(data):
            raise BencodeError("a string is longer than what is left", at)
        return data[start:end].decode(errors="surrogateescape"), end

    def _items(self, at: int, depth: int) -> tuple[list[Value], int]:
        data, size = self.data, len(self.data)
        items: list[Value] = []
        while (data[at] if at < size else self._ended(at)) != _E:
            item, at = self.value(at, depth)
            items.append(item)
        return items, at + 1

    def _members(self, at: int, depth: int) -> tuple[dict[str, Value], int]:
        data, size = self.data, len(self.data)
        members: dict[str, Value] = {}
        while (data[at] if at < size else self._ended(at)) != _E:
            key, behind = self.string(at)
            if key in members:
                raise BencodeError("a key comes twice", at)
            members[key], at = self.value(behind, depth)
        return members, at + 1

    def _ended(self, at: int) -> int:
        raise BencodeError("it ends too early", at)

    def _count(self, at: int) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise BencodeError(f"more than {MAX_VALUES:,} values", at)
