"""Suurballe's pairs against all pairs of simple paths."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

from hypothesis import given, settings

from headend.multicast.planning.disjoint import disjoint_pairs
from headend.multicast.planning.redundant import redundant_trees
from headend.multicast.planning.spt import Topology
from tests.headend.multicast.networks import Drawn, ends, networks, topology


def paths(network: Topology, link: str, target: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Every simple path from a router on `link`, with its cost."""
    pending = [(network.cost[link], (first,)) for first in network.routers_on(link)]
    while pending:
        cost, way = pending.pop()
        if way[-1] == target:
            yield cost, way
            continue
        pending += [(cost + n.cost, (*way, n.router)) for n in network.neighbours[way[-1]] if n.router not in way]


def cost_of(network: Topology, link: str, way: tuple[str, ...]) -> int:
    steps = pairwise(way)
    return network.cost[link] + sum(min(n.cost for n in network.neighbours[a] if n.router == b) for a, b in steps)


@settings(max_examples=200, deadline=None)
@given(networks(most=6))
def test_the_cheapest_pair_of_all(drawn: Drawn) -> None:
    network, link_a, link_b = ends(drawn)
    found = disjoint_pairs(network, link_a, link_b)
    for router in network.routers:
        pairs = product(paths(network, link_a, router), paths(network, link_b, router))
        costs = [one + other for (one, a), (other, b) in pairs if not set(a) & set(b) - {router}]
        assert (router in found) == bool(costs)
        if costs:
            pair = found[router]
            assert pair.cost == min(costs)
            assert not set(pair.a) & set(pair.b) - {router}
            assert pair.cost == cost_of(network, link_a, pair.a) + cost_of(network, link_b, pair.b)
            assert pair.a[0] in network.routers_on(link_a)
            assert pair.b[0] in network.routers_on(link_b)


@settings(max_examples=200, deadline=None)
@given(networks(most=9))
def test_the_programmed_trees_are_disjoint_wherever_a_pair_exists(drawn: Drawn) -> None:
    network, link_a, link_b = ends(drawn)
    pairs, trees = disjoint_pairs(network, link_a, link_b), redundant_trees(network, link_a, link_b)
    assert pairs.keys() == {router for router, cuts in trees.cuts.items() if not cuts}
    for router, pair in pairs.items():
        assert trees.a.distance[router] + trees.b.distance[router] >= pair.cost


def test_the_trap_of_the_shortest_path() -> None:
    """The shortest path uses up both ways out; the pair goes around."""
    wires = [("n0", "n1", 1), ("n1", "n2", 1), ("n2", "n3", 1), ("n0", "n2", 4), ("n1", "n3", 4)]
    network = topology(4, wires, ["n0"])
    assert disjoint_pairs(network, "lan-a", "lan-a").keys() == {"n0"}
    network = topology(5, [*wires, ("n4", "n2", 4)], ["n0", "n4"])
    pair = disjoint_pairs(network, "lan-a", "lan-a")["n3"]
    assert {pair.a, pair.b} == {("n0", "n1", "n3"), ("n4", "n2", "n3")}
