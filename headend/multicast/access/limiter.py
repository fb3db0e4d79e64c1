"""Which of a port's joined (S, G) may pass: the first ones, up to the port's limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from headend.multicast.igmp import Flow


@dataclass(slots=True)
class PortLimiter:
    """`joined` is in the order of the joins; what is beyond the limit waits in it and moves up when another leaves.

    `allowed`: groups that the port may receive; None = any. What is not among them takes no place.
    """

    max_channels: int
    allowed: frozenset[int] | None = None
    refused: int = 0
    unentitled: int = 0
    _joined: dict[Flow, None] = field(default_factory=dict)
    _passing: dict[Flow, None] = field(default_factory=dict)

    @property
    def passing(self) -> frozenset[Flow]:
        return frozenset(self._passing)

    @property
    def waiting(self) -> tuple[Flow, ...]:
        """Joined and refused, oldest first."""
        return tuple(key for key in self._joined if key not in self._passing)

    def order(self) -> tuple[Flow, ...]:
        """All that is joined, oldest first."""
        return tuple(self._joined)

    def join(self, key: Flow) -> None:
        if key in self._joined:
            return
        if self.allowed is not None and key[1] not in self.allowed:
            self.unentitled += 1
            return
        self._joined[key] = None
        if len(self._passing) < self.max_channels:
            self._passing[key] = None
        else:
            self.refused += 1

    def leave(self, key: Flow) -> None:
        self._joined.pop(key, None)
        if key not in self._passing:
            return
        del self._passing[key]
        moved_up = next((other for other in self._joined if other not in self._passing), None)
        if moved_up is not None:
            self._passing[moved_up] = None

    def replace(self, keys: Iterable[Flow]) -> None:
        """What is joined now, by a whole reading; those known keep their place in the order."""
        now = dict.fromkeys(keys)
        for key in [known for known in self._joined if known not in now]:
            self.leave(key)
        for key in now:
            self.join(key)

    def settle(self, keys: Iterable[Flow]) -> None:
        """What passed in an earlier life comes first; `replace` then takes out what is no longer joined."""
        for key in keys:
            self.join(key)


def name(key: Flow) -> str:
    """(S, G) as people write it."""
    return f"({IPv4Address(key[0])}, {IPv4Address(key[1])})"


def pair(told: str) -> tuple[str, str]:
    """(source, group) of what `name` wrote."""
    source, _, group = told.strip("()").partition(", ")
    return source, group
