"""The trees of a network, each grown once, and what a set of PoPs needs of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from headend.multicast.documents import Leg
from headend.multicast.planning.redundant import RedundantTrees, redundant_trees
from headend.multicast.planning.spt import Edge, Face, Topology, Tree, shortest_paths


@dataclass(frozen=True, slots=True)
class Reach:
    """What PoPs need of one tree, whatever the channel.

    routers  in the order in which the stream passes them, each with the routers it may receive from
    edges    every link direction between routers that may carry the stream
    """

    routers: tuple[tuple[str, tuple[str, ...]], ...]
    edges: tuple[Edge, ...]


@dataclass(slots=True)
class Forest:
    topology: Topology
    _shortest: dict[str, Tree] = field(default_factory=dict)
    _pairs: dict[tuple[str, str], RedundantTrees] = field(default_factory=dict)
    _reaches: dict[tuple[int, tuple[str, ...], bool], Reach] = field(default_factory=dict)
    _alternates: dict[tuple[str, str], tuple[Edge, ...]] = field(default_factory=dict)

    def shortest(self, link: str) -> Tree:
        """From the source's link, as OSPF and PIM build it."""
        if link not in self._shortest:
            self._shortest[link] = shortest_paths(self.topology, link)
        return self._shortest[link]

    def pair(self, link_a: str, link_b: str) -> RedundantTrees:
        if (link_a, link_b) not in self._pairs:
            self._pairs[link_a, link_b] = redundant_trees(self.topology, link_a, link_b)
        return self._pairs[link_a, link_b]

    def tree(self, leg: Leg | None, links: tuple[str, ...]) -> Tree:
        """`links`: the source's link, or those of both legs."""
        if leg is None:
            return self.shortest(links[0])
        pair = self.pair(*links)
        return pair.a if leg == "a" else pair.b

    def alternates(self, pop: str, link: str) -> tuple[Edge, ...]:
        """All ways by which the PoP may get what is sent on `link`, the cheapest first; none where there is but one.

        A neighbour whose own way leads over the PoP is no way (the loop-free condition of RFC 5286).
        """
        if (pop, link) not in self._alternates:
            tree = self.shortest(link)
            ways = [
                (tree.distance[near.router] + near.cost, Edge(near.link, near.router))
                for near in self.topology.neighbours[pop]
                if near.router in tree.distance and pop not in tree.towards([near.router])[0]
            ]
            found = tuple(edge for _, edge in sorted(ways, key=lambda way: (way[0], way[1].sender, way[1].link)))
            direct = not tree.upstream[pop]
            self._alternates[pop, link] = found if len(found) > 1 and not direct else ()
        return self._alternates[pop, link]

    def reach(self, leg: Leg | None, links: tuple[str, ...], pops: Iterable[str], *, with_alternates: bool) -> Reach:
        tree = self.tree(leg, links)
        names = tuple(sorted(pops))
        key = (id(tree), names, with_alternates)
        if key not in self._reaches:
            extra = [edge for pop in names for edge in self.alternates(pop, links[0])] if with_alternates else []
            routers, edges = tree.towards([*names, *(edge.sender for edge in extra)])
            self._reaches[key] = Reach(
                routers=tuple(
                    (name, tuple(sorted({edge.sender for edge in tree.upstream[name]})))
                    for name in sorted(routers, key=lambda name: (tree.distance[name], name))
                ),
                edges=tuple(sorted({*edges, *extra}, key=lambda edge: (edge.link, edge.sender))),
            )
        return self._reaches[key]


def access_faces(topology: Topology, pop: str, subscriber: frozenset[tuple[str, str]]) -> tuple[Face, ...]:
    """The PoP's interfaces towards receivers: where a probe of its site stands, or a LAN of the equipment."""
    return tuple(
        face for face in topology.faces[pop] if (pop, face.name) in subscriber or topology.receivers(pop, face.link)
    )
