"""Redundant trees against brute force: one upstream a leg, and the legs meet only where they must."""

from __future__ import annotations

from hypothesis import given, settings

from headend.multicast.planning.redundant import redundant_trees
from headend.multicast.planning.spt import Topology, Tree
from tests.headend.multicast.networks import Drawn, ends, networks, topology


def way(tree: Tree, router: str) -> list[str]:
    """From the source to the router. Fails on a loop."""
    found = [router]
    while tree.upstream[found[-1]]:
        (edge,) = tree.upstream[found[-1]]
        assert edge.sender not in found
        found.append(edge.sender)
    return found[::-1]


def reached(topology: Topology, firsts: tuple[str, ...], without: str = "") -> set[str]:
    seen = {name for name in firsts if name != without}
    pending = list(seen)
    while pending:
        for near in topology.neighbours[pending.pop()]:
            if near.router not in seen and near.router != without:
                seen.add(near.router)
                pending.append(near.router)
    return seen


@settings(max_examples=400, deadline=None)
@given(networks())
def test_legs_meet_at_cut_nodes_only(drawn: Drawn) -> None:
    network, link_a, link_b = ends(drawn)
    first_a, first_b = network.routers_on(link_a), network.routers_on(link_b)
    trees = redundant_trees(network, link_a, link_b)
    served = reached(network, first_a) & reached(network, first_b)
    assert trees.a.distance.keys() == trees.b.distance.keys() == trees.cuts.keys() == served
    for router in served:
        one, other = way(trees.a, router), way(trees.b, router)
        assert one[0] in first_a
        assert other[0] in first_b
        must = {
            cut
            for cut in served - {router}
            if router not in reached(network, first_a, cut) | reached(network, first_b, cut)
        }
        assert (set(one) & set(other)) - {router} == must
        assert set(trees.cuts[router]) == must
        assert [name for name in one if name in must] == list(trees.cuts[router])


@settings(max_examples=200, deadline=None)
@given(networks())
def test_distances_are_those_of_the_ways(drawn: Drawn) -> None:
    network, link_a, link_b = ends(drawn)
    trees = redundant_trees(network, link_a, link_b)
    for tree, link in ((trees.a, link_a), (trees.b, link_b)):
        for router, cost in tree.distance.items():
            edges = [edge for name in way(tree, router) for edge in tree.upstream[name]]
            assert cost == network.cost[link] + sum(network.cost[edge.link] for edge in edges)


@settings(max_examples=200, deadline=None)
@given(networks())
def test_the_order_of_the_documents_does_not_matter(drawn: Drawn) -> None:
    routers, wires, on_a, on_b = drawn
    network, link_a, link_b = ends(drawn)
    turned = topology(routers, wires, on_a[::-1], None if link_a == link_b else on_b[::-1])
    one, other = redundant_trees(network, link_a, link_b), redundant_trees(turned, link_a, link_b)
    assert one == other


def test_two_links_to_one_neighbour_carry_one_leg_each() -> None:
    network = topology(2, [("n0", "n1", 1), ("n0", "n1", 5)], ["n0"])
    trees = redundant_trees(network, "lan-a", "lan-a")
    assert (trees.a.upstream["n1"][0].link, trees.b.upstream["n1"][0].link) == ("w0", "w1")
    assert trees.cuts["n1"] == ("n0",)


def test_a_ring_behind_a_cut_node_is_used_both_ways_round() -> None:
    wires = [("n0", "n1", 1), ("n1", "n2", 1), ("n2", "n3", 1), ("n3", "n0", 1)]
    trees = redundant_trees(topology(4, wires, ["n0"]), "lan-a", "lan-a")
    for router in ("n1", "n2", "n3"):
        (one,), (other,) = trees.a.upstream[router], trees.b.upstream[router]
        assert one.link != other.link
        assert trees.cuts[router] == ("n0",)
