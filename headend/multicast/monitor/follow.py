"""Which interface a watched flow comes in on, whether anybody wants it, and how long it took to come. Pure.

All by the router's multicast routes: where a LAN floods, a flow is seen on an interface that is not its own too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headend.multicast.tree.mroute import MulticastRoute, RouteChange

_FLOWING_NS = 200_000_000
"""A flow that came so lately was there before it was asked for."""

Key = tuple[str, str]
"""(source, group)."""


@dataclass(slots=True)
class Follow:
    """`interface`: 0 while there is no route. `first_packet_ms`: from the last join after a silence to its first
    packet; None: not yet, or it was flowing already."""

    interface: int = 0
    wanted: bool = False
    asked_ns: int | None = None
    first_packet_ms: float | None = None
    last_ns: int | None = None

    def change(self, route: MulticastRoute | None, now_ns: int) -> bool:
        """Whether the interface is another one now."""
        wanted = route is not None and route.wanted
        if wanted and not self.wanted:
            silent = self.last_ns is None or now_ns - self.last_ns > _FLOWING_NS
            self.asked_ns, self.first_packet_ms = (now_ns, None) if silent else (None, None)
        elif not wanted:
            self.asked_ns = None
        before, self.wanted = self.interface, wanted
        self.interface = route.input if route is not None else 0
        return self.interface != before

    def arrive(self, first_ns: int, last_ns: int) -> None:
        """Packets came, from `first_ns` to `last_ns`."""
        self.last_ns = last_ns
        if self.asked_ns is not None:
            self.first_packet_ms = max(0, first_ns - self.asked_ns) / 1e6
            self.asked_ns = None


class Follows:
    def __init__(self, keys: tuple[Key, ...]) -> None:
        self.flows = tuple(Follow() for _ in keys)
        self._numbers: dict[Key, list[int]] = {}
        for number, key in enumerate(keys):
            self._numbers.setdefault(key, []).append(number)

    def changed(self, change: RouteChange, now_ns: int) -> bool:
        """Whether a flow comes in elsewhere now."""
        route = change.route
        return self._set((route.source, route.group), None if change.gone else route, now_ns)

    def all(self, routes: Mapping[Key, MulticastRoute], now_ns: int) -> bool:
        moved = [self._set(key, routes.get(key), now_ns) for key in self._numbers]
        return any(moved)

    def _set(self, key: Key, route: MulticastRoute | None, now_ns: int) -> bool:
        moved = [self.flows[number].change(route, now_ns) for number in self._numbers.get(key, ())]
        return any(moved)
