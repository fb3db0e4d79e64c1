"""What people ask about, an address, a prefix or a name, and how much of it rules are about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from core5g.documents import Network
from core5g.steering.n6.documents import collapsed

K = TypeVar("K")
_MOST_SHOWN = 4


def network_of(destination: str) -> Network | None:
    """Of an address or a prefix, also one with bits beyond its length; None for a name."""
    try:
        return ip_network(destination, strict=False)
    except ValueError:
        return None


def overlaps(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)


def covering(
    target: Network, rules: Iterable[tuple[K, Iterable[Network]]]
) -> tuple[tuple[K, ...], tuple[Network, ...]]:
    """The first rule that is about all of the target, else all that are about some of it; and what of it they are
    about, which is (target,) when that is all."""
    found: list[K] = []
    inside: list[Network] = []
    for key, networks in rules:
        own = collapsed(_shared(target, network) for network in networks if overlaps(target, network))
        if own == (target,):
            return (key,), own
        if own:
            found.append(key)
            inside += own
    return tuple(found), collapsed(inside)


def _shared(one: Network, other: Network) -> Network:
    """Of two that overlap, the narrower."""
    return max(one, other, key=lambda network: network.prefixlen)


def shown(values: Sequence[object]) -> str:
    """The first few."""
    more = len(values) - _MOST_SHOWN
    return ", ".join(map(str, values[:_MOST_SHOWN])) + (f" and {more} more" if more > 0 else "")
