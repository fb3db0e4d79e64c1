"""JSON from outside: no double keys, no numbers that are none, no nesting without end."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from nf.errors import IntegrityError

LARGEST: Final = 64 << 20


def loads(data: bytes, *, where: str) -> dict[str, Any]:
    """An object. Raises IntegrityError."""
    if len(data) > LARGEST:
        raise IntegrityError(f"it is larger than {LARGEST >> 20} MiB", where=where)
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise IntegrityError("it is no JSON that can be taken", where=where) from None
    if not isinstance(value, dict):
        raise IntegrityError("it holds no JSON object", where=where)
    return value


def canonical(value: object) -> bytes:
    """The one form in which this product writes what it signs and what names itself by its digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pretty(value: object) -> bytes:
    """For people and for files that are compared; the same value gives the same octets."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
