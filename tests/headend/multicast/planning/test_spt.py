"""The shortest-path trees against a slow, obvious reference."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from headend.multicast.planning.spt import Edge, Topology, natural, shortest_paths
from nf.documents.fleet import Fleet
from tests.headend.multicast.networks import Drawn, networks, topology
from tests.nf.planning.samples import built, fleet_data

Ends = tuple[str, str, int]  # two routers and the cost between them


def reference(routers: int, wires: list[Ends], on_lan: list[str]) -> tuple[dict[str, int], dict[str, set[Edge]]]:
    """Bellman-Ford, until nothing changes."""
    distance = dict.fromkeys(on_lan, 10)
    both = [(a, b, c, f"w{n}") for n, (a, b, c) in enumerate(wires)] + [
        (b, a, c, f"w{n}") for n, (a, b, c) in enumerate(wires)
    ]
    for _ in range(routers):
        for a, b, cost, _ in both:
            if a in distance:
                distance[b] = min(distance.get(b, 10**9), distance[a] + cost)
    upstream: dict[str, set[Edge]] = {name: set() for name in distance}
    for a, b, cost, link in both:
        if a in distance and b not in on_lan and distance[a] + cost == distance[b]:
            upstream[b].add(Edge(link, a))
    return distance, upstream


@settings(max_examples=100, deadline=None)
@given(networks())
def test_distances_and_every_equal_cost_upstream(drawn: Drawn) -> None:
    routers, wires, on_lan, _ = drawn
    tree = shortest_paths(topology(routers, wires, on_lan), "lan-a")
    distance, upstream = reference(routers, wires, on_lan)
    assert tree.distance == distance
    assert {name: set(edges) for name, edges in tree.upstream.items()} == upstream


@settings(max_examples=50, deadline=None)
@given(networks())
def test_the_way_to_a_router_is_closed_under_upstream(drawn: Drawn) -> None:
    routers, wires, on_lan, _ = drawn
    tree = shortest_paths(topology(routers, wires, on_lan), "lan-a")
    for target in tree.distance:
        passed, edges = tree.towards([target])
        assert target in passed
        assert {edge.sender for edge in edges} <= passed
        assert edges == {edge for router in passed for edge in tree.upstream[router]}
        assert any(router in on_lan for router in passed)


def test_a_router_without_a_path_is_absent() -> None:
    tree = shortest_paths(topology(2, [], ["n0"]), "lan-a")
    assert tree.distance == {"n0": 10}
    assert tree.towards(["n1"]) == (frozenset(), frozenset())


def test_ospf_does_not_run_over_a_lan_with_hosts() -> None:
    """c1 and c2 are both on the headend's LAN, and yet only the wire between them is an adjacency."""
    lab = Topology(built(Fleet, fleet_data()))
    assert lab.adjacencies == {"c1-c2", "c1-pop1", "c1-pop2", "c2-pop1", "c2-pop2"}
    assert lab.routers_on("hl") == ("c1", "c2")


def test_a_face_is_found_by_who_is_on_its_link() -> None:
    lab = Topology(built(Fleet, fleet_data()))
    face = lab.shared_face("headend", lab.routers)
    assert face is not None
    assert (face.name, str(face.address), face.link) == ("eth1", "10.1.0.10/24", "hl")
    assert lab.shared_face("headend", ["r1"]) is None


@pytest.mark.parametrize(("first", "second"), [("eth2", "eth10"), ("eth1", "eth1.5"), ("a1", "b0")])
def test_interfaces_are_ordered_as_people_count(first: str, second: str) -> None:
    assert natural(first) < natural(second)
