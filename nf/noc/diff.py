"""Structured differences: members of lists are named by their id, so that moving one is no change. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nf.contracts.json import Json, canonical

_IDENTITIES: Final = ("id", "name", "function", "key")


@dataclass(frozen=True, slots=True)
class Change:
    """`before` and `after` are JSON texts; empty = absent."""

    key: str
    before: str
    after: str


def diff(prefix: str, before: Json, after: Json) -> tuple[Change, ...]:
    """Every leaf that differs, sorted by key."""
    old, new = dict(_leaves(prefix, before)), dict(_leaves(prefix, after))
    keys = sorted(old.keys() | new.keys())
    return tuple(Change(key, old.get(key, ""), new.get(key, "")) for key in keys if old.get(key) != new.get(key))


def _leaves(prefix: str, value: Json) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else key, inner)
    elif isinstance(value, list) and value:
        for name, inner in zip(_names(value), value, strict=True):
            yield from _leaves(f"{prefix}[{name}]", inner)
    else:
        yield prefix, canonical(value)


def _names(items: Sequence[Json]) -> list[str]:
    """Of each member: a key that all have and that tells them apart, else the scalar itself, else its place."""
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) == len(items):
        for key in _IDENTITIES:
            names = [str(item[key]) for item in objects if isinstance(item.get(key), str | int)]
            if len(names) == len(items) == len(set(names)):
                return names
    texts = [canonical(item) for item in items]
    if not objects and len(texts) == len(set(texts)):
        return texts
    return [str(index) for index in range(len(items))]
