"""Reads a large table whole twice an hour, and in between counts it and asks for some of its lines.

A hundred thousand accounts are some ten megabytes of JSON: too many for each look of a reconcile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final

from nf.contracts.json import Json
from sip.kamailio import pushing
from sip.kamailio.jsonrpc import RpcRefused
from sip.kamailio.pushing import Difference
from sip.kamailio.rpc import RpcClient
from sip.kamailio.tables import Tables

LARGE: Final = 2000
SAMPLE: Final = 50
WHOLE_S: Final = 1800.0


@dataclass(slots=True)
class Looked:
    """Large tables -> the wanted ones that they were found to be, and when."""

    found: dict[str, tuple[int, float]] = field(default_factory=dict)

    async def difference(self, rpc: RpcClient, tables: Tables) -> Difference:
        now = asyncio.get_running_loop().time()
        large = {name: values for name, values in tables.hashes.items() if len(values) > LARGE}
        marks = {name: hash(frozenset(values.items())) for name, values in large.items()}
        right = {
            name
            for name, values in large.items()
            if self._recent(name, marks[name], now) and await _seems_right(rpc, name, values)
        }
        found = await pushing.difference(rpc, tables, frozenset(right))
        for name in large.keys() - right:
            self.found.pop(name, None)
            if name not in found.hashes:
                self.found[name] = marks[name], now
        return found

    def _recent(self, name: str, mark: int, now: float) -> bool:
        known, at = self.found.get(name, (0, 0.0))
        return name in self.found and known == mark and now - at < WHOLE_S


async def _seems_right(rpc: RpcClient, name: str, wanted: Mapping[str, str | int]) -> bool:
    if await _count(rpc, name) != len(wanted):
        return False
    some = SystemRandom().sample(sorted(wanted), SAMPLE)
    try:
        found = await asyncio.gather(*(rpc.call("htable.get", name, key) for key in some))
    except RpcRefused:
        return False
    return [_value(one) for one in found] == [wanted[key] for key in some]


async def _count(rpc: RpcClient, name: str) -> int:
    found = await rpc.call("htable.stats")
    listed = found if isinstance(found, list) else []
    counts = [one.get("all") for one in listed if isinstance(one, dict) and one.get("name") == name]
    return counts[0] if counts and isinstance(counts[0], int) else -1


def _value(found: Json) -> Json:
    item = found.get("item") if isinstance(found, dict) else None
    return item.get("value") if isinstance(item, dict) else None
