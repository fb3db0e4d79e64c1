"""What a tree could cost at best: Mehlhorn's 2-approximation of the Steiner tree.

A bound to show; nothing is built of it, since PIM builds shortest paths only.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from headend.multicast.planning.spt import Topology, Tree

_SOURCE = ""


@dataclass(frozen=True, slots=True)
class SteinerBound:
    """Sums of link costs. `found`: of a tree that was found; no tree costs less than `least`."""

    found: int
    least: int


def steiner_bound(topology: Topology, source_link: str, routers: Iterable[str]) -> SteinerBound:
    """Of trees from the source's link to `routers` (K. Mehlhorn, "A faster approximation algorithm for the Steiner
    problem in graphs", 1988). Routers that cannot be reached are left out; the source's link itself costs nothing."""
    firsts = topology.routers_on(source_link)
    terminals = {_SOURCE, *routers}
    distance: dict[str, int] = {**dict.fromkeys(firsts, 0), **dict.fromkeys(terminals - {_SOURCE}, 0)}
    base = {name: name if name in terminals and name not in firsts else _SOURCE for name in distance}
    before: dict[str, tuple[str, int]] = {}
    queue = [(0, name) for name in sorted(distance)]
    while queue:
        cost, name = heapq.heappop(queue)
        if cost > distance[name]:
            continue
        for near in topology.neighbours[name]:
            if cost + near.cost < distance.get(near.router, cost + near.cost + 1):
                distance[near.router], base[near.router] = cost + near.cost, base[name]
                before[near.router] = (name, near.cost)
                heapq.heappush(queue, (cost + near.cost, near.router))
    bridges = sorted(
        (distance[name] + near.cost + distance[near.router], name, near.router, near.cost)
        for name in distance
        for near in topology.neighbours[name]
        if near.router in base and name < near.router and base[name] != base[near.router]
    )
    found = _joined(bridges, base, before)
    reached = 1 + sum(base.get(name) == name for name in terminals)
    return SteinerBound(found, -(-found * reached // (2 * (reached - 1))) if reached > 1 else 0)


def _joined(bridges: list[tuple[int, str, str, int]], base: dict[str, str], before: dict[str, tuple[str, int]]) -> int:
    """Kruskal over the terminals; every router on the chosen ways is paid for once."""
    group = {name: name for name in base.values()}

    def root(name: str) -> str:
        while group[name] != name:
            group[name] = group[group[name]]
            name = group[name]
        return name

    total = 0
    paid: set[str] = set()
    for _, one, other, cost in bridges:
        left, right = root(base[one]), root(base[other])
        if left == right:
            continue
        group[left] = right
        total += cost
        for end in (one, other):
            name = end
            while name in before and name not in paid:
                paid.add(name)
                name, step = before[name]
                total += step
    return total


def tree_cost(topology: Topology, tree: Tree, routers: Iterable[str]) -> int:
    """Sum of the link costs of one tree to `routers`; of several equal ways the first."""
    seen: set[str] = set()
    total = 0
    for router in routers:
        name = router
        while name not in seen and tree.upstream.get(name):
            seen.add(name)
            edge = tree.upstream[name][0]
            total += topology.cost[edge.link]
            name = edge.sender
    return total
