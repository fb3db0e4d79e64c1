"""From what is asked for on each access interface to what is joined upstream and what the kernel forwards. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from headend.multicast.kernel.querier import Key
from headend.multicast.mfc.codec import Entry

UPLINK = 0
"""Virtual interface of the uplink; those of the access interfaces follow."""


@dataclass(frozen=True, slots=True)
class Work:
    join: tuple[Key, ...]
    leave: tuple[Key, ...]
    add: tuple[Entry, ...]
    delete: tuple[Entry, ...]


def outputs_of(wanted: Mapping[int, Collection[Key]]) -> dict[Key, frozenset[int]]:
    """(S, G) -> access interfaces; `wanted`: what is asked for on each of them."""
    found: defaultdict[Key, set[int]] = defaultdict(set)
    for vif, keys in wanted.items():
        for key in keys:
            found[key].add(vif)
    return {key: frozenset(vifs) for key, vifs in found.items()}


def work(before: Mapping[Key, frozenset[int]], after: Mapping[Key, frozenset[int]]) -> Work:
    """What leads from one to the other. The proxy asks upstream for the union of its subscribers' wishes (RFC 4605
    section 4.1), and everything comes in on the uplink."""
    return Work(
        join=tuple(sorted(after.keys() - before.keys())),
        leave=tuple(sorted(before.keys() - after.keys())),
        add=tuple(_entry(key, outputs) for key, outputs in sorted(after.items()) if before.get(key) != outputs),
        delete=tuple(_entry(key, before[key]) for key in sorted(before.keys() - after.keys())),
    )


def _entry(key: Key, outputs: frozenset[int]) -> Entry:
    return Entry(key[0], key[1], UPLINK, outputs)
