"""The bound of a tree's cost against the best of all trees."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings

from headend.multicast.planning.spt import Topology, shortest_paths
from headend.multicast.planning.steiner import steiner_bound, tree_cost
from tests.headend.multicast.networks import Drawn, networks, topology


def best(network: Topology, terminals: set[str]) -> int:
    """The cheapest spanning tree over the source's routers, the terminals and any others."""
    firsts = set(network.routers_on("lan-a"))
    others = sorted(network.routers - firsts - terminals)
    costs = [
        cost
        for count in range(len(others) + 1)
        for chosen in combinations(others, count)
        if (cost := spanning(network, firsts, terminals | set(chosen))) is not None
    ]
    return min(costs)


def spanning(network: Topology, firsts: set[str], routers: set[str]) -> int | None:
    """Prim, from all of the source's routers at once. None when not all are joined."""
    joined, left, total = set(firsts), routers - firsts, 0
    while left:
        steps = [(n.cost, n.router) for name in joined for n in network.neighbours[name] if n.router in left]
        if not steps:
            return None
        cost, name = min(steps)
        joined.add(name)
        left.discard(name)
        total += cost
    return total


@settings(max_examples=150, deadline=None)
@given(networks(most=6))
def test_between_the_best_and_twice_the_best(drawn: Drawn) -> None:
    routers, wires, on_a, _ = drawn
    network = topology(routers, wires, on_a)
    tree = shortest_paths(network, "lan-a")
    terminals = set(sorted(tree.distance)[::2])
    bound = steiner_bound(network, "lan-a", terminals)
    optimum = best(network, terminals)
    assert bound.least <= optimum <= bound.found <= 2 * optimum
    assert tree_cost(network, tree, sorted(terminals)) >= optimum
