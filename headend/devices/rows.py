"""Table rows: instance suffixes of OIDs (RFC 2578 clause 7.7) and the names people use, `service[3].bitrate`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

Key: TypeAlias = "int | str"
"""One index object of a row: a number, or the text of a string, an OID or an address."""


class IndexKind(Enum):
    """How one index object stands in an instance suffix."""

    INTEGER = "integer"  # one sub-identifier
    STRING = "string"  # length, then one sub-identifier for each octet
    IMPLIED_STRING = "implied_string"  # IMPLIED, or of fixed size: no length; the last one only
    OID = "oid"  # length, then the sub-identifiers
    IMPLIED_OID = "implied_oid"
    ADDRESS = "address"  # IpAddress: four sub-identifiers


_OPEN = frozenset({IndexKind.IMPLIED_STRING, IndexKind.IMPLIED_OID})
_NAME = re.compile(r"([a-z][a-z0-9_]*)(?:\[((?:[^\]\"]|\"(?:[^\"\\]|\\.)*\")*)\])?(?:\.([a-z][a-z0-9_]*))?")
_PART = re.compile(r"\s*(\"(?:[^\"\\]|\\.)*\"|[^,\"]+?)\s*(?:,|$)")


def parse_oid(text: str) -> tuple[int, ...]:
    """`.1.3.6` or `1.3.6` as numbers. Raises ValueError."""
    parts = text.removeprefix(".").split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"not an OID: {text!r}")
    return tuple(map(int, parts))


def format_oid(oid: Sequence[int]) -> str:
    return ".".join(map(str, oid))


def suffix_of(oid: str, root: str) -> tuple[int, ...] | None:
    """What follows `root` in `oid`; None when `oid` is not below it."""
    return parse_oid(oid[len(root) + 1 :]) if oid.startswith(root + ".") else None


def decode_row(kinds: Sequence[IndexKind], suffix: Sequence[int]) -> tuple[Key, ...]:
    """The index objects of an instance suffix. Raises ValueError when the suffix is not of that form."""
    keys: list[Key] = []
    rest = list(suffix)
    for kind in kinds:
        length = _length(kind, rest)
        if len(rest) < length:
            raise ValueError(f"the suffix {format_oid(suffix)} ends inside its {kind.value}")
        head, rest = rest[:length], rest[length:]
        keys.append(_decode(kind, head))
    if rest:
        raise ValueError(f"the suffix {format_oid(suffix)} is longer than its index")
    return tuple(keys)


def _length(kind: IndexKind, rest: list[int]) -> int:
    if kind in _OPEN:
        return len(rest)
    if kind in (IndexKind.STRING, IndexKind.OID):
        return rest.pop(0) if rest else 1
    return 4 if kind is IndexKind.ADDRESS else 1


def _decode(kind: IndexKind, head: list[int]) -> Key:
    if kind is IndexKind.INTEGER:
        return head[0]
    if kind in (IndexKind.STRING, IndexKind.IMPLIED_STRING):
        if any(octet > 255 for octet in head):
            raise ValueError("a sub-identifier above 255 is no octet")
        return bytes(head).decode("utf-8", "surrogateescape")
    if kind is IndexKind.ADDRESS and any(octet > 255 for octet in head):
        raise ValueError("a sub-identifier above 255 is no part of an address")
    return format_oid(head)


def encode_row(kinds: Sequence[IndexKind], keys: Sequence[Key]) -> tuple[int, ...]:
    """The instance suffix of a row. Raises ValueError when the keys do not fit the index."""
    if len(kinds) != len(keys):
        raise ValueError(f"the index has {len(kinds)} parts, not {len(keys)}")
    return tuple(number for kind, key in zip(kinds, keys, strict=True) for number in _encode(kind, key))


def _encode(kind: IndexKind, key: Key) -> tuple[int, ...]:
    if kind is IndexKind.INTEGER:
        if not isinstance(key, int) or key < 0:
            raise ValueError(f"{key!r} is no row number")
        return (key,)
    if not isinstance(key, str):
        raise ValueError(f"{key!r} is no {kind.value}")  # noqa: TRY004 - it came from text that a person wrote
    if kind in (IndexKind.STRING, IndexKind.IMPLIED_STRING):
        numbers = tuple(key.encode("utf-8", "surrogateescape"))
    else:
        numbers = parse_oid(key) if key else ()
    if kind is IndexKind.ADDRESS and (len(numbers) != 4 or max(numbers) > 255):
        raise ValueError(f"{key!r} is no IPv4 address")
    return (len(numbers), *numbers) if kind in (IndexKind.STRING, IndexKind.OID) else numbers


@dataclass(frozen=True, slots=True)
class Name:
    """A parameter as people name it: `lock`, `service[3].bitrate`, `service.bitrate` (every row)."""

    base: str  # the parameter, or the table
    row: str | None = None  # text between the brackets; None: a scalar, or every row
    column: str | None = None

    @property
    def parameter(self) -> str:
        """The key of the parameter in the model's file."""
        return f"{self.base}.{self.column}" if self.column else self.base

    def __str__(self) -> str:
        row = "" if self.row is None else f"[{self.row}]"
        return f"{self.base}{row}.{self.column}" if self.column else f"{self.base}{row}"


@lru_cache(maxsize=16_384)
def parse_name(text: str) -> Name:
    """Raises ValueError."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no parameter name")
    base, row, column = match.groups()
    return Name(base, row, column)


def format_row(kinds: Sequence[IndexKind], keys: Sequence[Key]) -> str:
    """Text between the brackets: numbers, OIDs and addresses as they are, strings in double quotes."""
    strings = (IndexKind.STRING, IndexKind.IMPLIED_STRING)
    parts = zip(kinds, keys, strict=True)
    return ",".join(json.dumps(key) if kind in strings else str(key) for kind, key in parts)


def parse_row(kinds: Sequence[IndexKind], text: str) -> tuple[Key, ...]:
    """The inverse of `format_row`. A string needs no quotes when it is a plain word. Raises ValueError."""
    keys: list[Key] = []
    position = 0
    parts: list[str] = []
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise ValueError(f"[{text}] is no row")
        parts.append(match[1])
        position = match.end()
    if len(parts) != len(kinds):
        raise ValueError(f"the index has {len(kinds)} parts, not {len(parts)}")
    for kind, part in zip(kinds, parts, strict=True):
        if kind is IndexKind.INTEGER:
            if not (part.isascii() and part.isdigit()):
                raise ValueError(f"{part!r} is no row number")
            keys.append(int(part))
        else:
            keys.append(str(json.loads(part)) if part.startswith('"') else part)
    return tuple(keys)
