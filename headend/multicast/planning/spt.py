"""Shortest-path trees over the fleet's links, as OSPF and PIM's reverse-path rule will build them."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface

from headend.multicast.equipment import multicast_equipment
from nf.documents.fleet import Appliance, Facing, Fleet, Role

ROUTERS = frozenset({Role.CORE, Role.POP})
DEFAULT_COST = 10


@dataclass(frozen=True, slots=True)
class Face:
    """An interface of an appliance with what the link it is on says. `link` is empty for one without a link."""

    name: str
    address: IPv4Interface
    link: str
    cost: int
    facing: Facing = Facing.NETWORK


@dataclass(frozen=True, slots=True)
class Edge:
    """One direction of one link: `sender` forwards onto it."""

    link: str
    sender: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A router at the other end of an adjacency."""

    router: str
    link: str
    cost: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """A PoP in which trees only end: it hangs on the router `parent`, by its uplink or by a tunnel.

    link     of a tunnel a name that no link has; `uplink`: the PoP's interface
    carried  the link directions of the unicast ways that a tunnel may take; empty for a proxy's uplink
    """

    parent: str
    link: str
    uplink: str
    cost: int
    carried: tuple[Edge, ...] = ()


class Topology:
    """The fleet as the routers see it. References that do not resolve are left out: they are problems elsewhere.

    `lost`: ids of links that are thought away.
    """

    def __init__(self, fleet: Fleet, *, lost: Collection[str] = ()) -> None:
        self.appliances: Mapping[str, Appliance] = {appliance.id: appliance for appliance in fleet.spec.appliances}
        self.routers = frozenset(a.id for a in self.appliances.values() if a.role in ROUTERS)
        pops = {name for name, appliance in self.appliances.items() if appliance.role is Role.POP}
        equipment = multicast_equipment(fleet)
        self.proxies: Mapping[str, str] = {p.appliance: p.uplink for p in equipment.proxies if p.appliance in pops}
        self.gateways: Mapping[str, str] = {
            one.appliance: one.relay for one in equipment.amt.gateways if one.appliance in pops - self.proxies.keys()
        }
        self.transit = self.routers - self.proxies.keys() - self.gateways.keys()
        members: dict[str, tuple[str, ...]] = {
            link.id: tuple(sorted({name.partition(":")[0] for name in link.endpoints} & self.appliances.keys()))
            for link in fleet.spec.links
        }
        self.members: Mapping[str, tuple[str, ...]] = members
        cost = {link.id: link.cost for link in fleet.spec.links}
        self.cost: Mapping[str, int] = cost
        on_link = {name: link.id for link in fleet.spec.links if link.id not in lost for name in link.endpoints}
        self.faces: Mapping[str, tuple[Face, ...]] = {
            appliance.id: _faces(appliance, on_link, self.cost) for appliance in self.appliances.values()
        }
        self.adjacencies = frozenset(
            link.id
            for link in fleet.spec.links
            if link.id not in lost and len(link.endpoints) == 2 and self._joins_two_routers(link.id)
        )
        self.neighbours: Mapping[str, tuple[Neighbour, ...]] = self._neighbours()
        found = {name: self._leaf(name) for name in sorted(self.proxies.keys() | self.gateways.keys())}
        self.leaves: Mapping[str, Leaf] = {n: leaf for n, leaf in found.items() if leaf and leaf.link not in lost}
        self.tunnels: Mapping[str, Leaf] = {leaf.link: leaf for leaf in self.leaves.values() if leaf.carried}
        for name, leaf in self.leaves.items():
            if leaf.carried:
                members[leaf.link], cost[leaf.link] = (leaf.parent, name), leaf.cost

    def routers_on(self, link: str) -> tuple[str, ...]:
        """Those that may pass a stream on; not PoPs in which trees only end."""
        return tuple(name for name in self.members.get(link, ()) if name in self.transit)

    def other_routers(self, appliance: str, interface: str) -> tuple[str, ...]:
        """Those on the link of an interface beside its own appliance, whatever they run."""
        face = next((face for face in self.faces[appliance] if face.name == interface), None)
        members = self.members.get(face.link, ()) if face is not None else ()
        return tuple(name for name in members if name in self.routers and name != appliance)

    def carried(self, edge: Edge) -> tuple[Edge, ...]:
        """The link directions that a stream on `edge` loads: of a tunnel those of all its ways."""
        tunnel = self.tunnels.get(edge.link)
        return (edge,) if tunnel is None else tunnel.carried

    def anchors(self, routers: Iterable[str]) -> tuple[str, ...]:
        """The routers, and in place of a leaf the one that it hangs on."""
        return tuple(dict.fromkeys(self.leaves[name].parent if name in self.leaves else name for name in routers))

    def _leaf(self, name: str) -> Leaf | None:
        """None where the fleet does not say on what it hangs: a problem that is told elsewhere."""
        if name in self.proxies:
            face = next((face for face in self.faces[name] if face.name == self.proxies[name]), None)
            above = self.routers_on(face.link) if face is not None else ()
            return Leaf(above[0], face.link, face.name, face.cost) if face is not None and len(above) == 1 else None
        relay = self.gateways[name]
        faces = [face for face in self.faces[name] if face.link in self.adjacencies]
        above = self.routers_on(faces[0].link) if len(faces) == 1 else ()
        if relay not in self.transit or not above:
            return None
        cost, edges = self._unicast(relay, above[0])
        if cost is None:
            return None
        uplink = Edge(faces[0].link, above[0])
        return Leaf(relay, f"amt:{name}", faces[0].name, cost + faces[0].cost, (*edges, uplink))

    def _unicast(self, start: str, end: str) -> tuple[int | None, tuple[Edge, ...]]:
        """The OSPF cost between two routers, and every link direction of the ways of that cost."""
        distance = _distances(self, {end: 0})
        edges: list[Edge] = []
        pending = [start] if start in distance else []
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            for near in self.neighbours[name]:
                if distance[near.router] + near.cost == distance[name]:
                    edges.append(Edge(near.link, name))
                    pending.append(near.router)
        return distance.get(start), tuple(edges)

    def receivers(self, pop: str, link: str) -> tuple[str, ...]:
        """Probes of the PoP's own site on a link. One of another site is no receiver of its: a UE on N3, for one."""
        site = self.appliances[pop].site
        on_link = (self.appliances[name] for name in self.members.get(link, ()))
        return tuple(one.id for one in on_link if one.role is Role.PROBE and one.site == site)

    def shared_face(self, appliance: str, others: Iterable[str]) -> Face | None:
        """The first interface of `appliance`, by name, on a link with one of `others`."""
        wanted = set(others) - {appliance}
        return next((f for f in self.faces[appliance] if wanted.intersection(self.members.get(f.link, ()))), None)

    def face_on(self, appliance: str, link: str) -> Face | None:
        return next((face for face in self.faces[appliance] if face.link == link), None)

    def _neighbours(self) -> dict[str, tuple[Neighbour, ...]]:
        found: dict[str, list[Neighbour]] = {router: [] for router in self.routers}
        for link in self.adjacencies:
            first, second = self._speakers(link)
            if not {first, second} <= self.transit:
                continue
            found[first].append(Neighbour(second, link, self.cost[link]))
            found[second].append(Neighbour(first, link, self.cost[link]))
        return {name: tuple(sorted(own, key=lambda n: (n.cost, n.router, n.link))) for name, own in found.items()}

    def _joins_two_routers(self, link: str) -> bool:
        return len(self._speakers(link)) == 2

    def _speakers(self, link: str) -> tuple[str, ...]:
        """Those that speak OSPF."""
        return tuple(name for name in self.members[link] if name in self.routers and name not in self.proxies)


@dataclass(frozen=True, slots=True)
class Tree:
    """Every router's equal-cost shortest paths to the source's link.

    distance   OSPF cost of the source's subnet, seen from the router; routers that cannot reach it are absent
    upstream   the directions in which a router may receive; none for a router on the source's link
    """

    distance: Mapping[str, int]
    upstream: Mapping[str, tuple[Edge, ...]]

    def towards(self, routers: Iterable[str]) -> tuple[frozenset[str], frozenset[Edge]]:
        """Every router and every link direction on any shortest path to `routers`."""
        seen: set[str] = set()
        edges: set[Edge] = set()
        pending = [router for router in routers if router in self.distance]
        while pending:
            router = pending.pop()
            if router in seen:
                continue
            seen.add(router)
            edges.update(self.upstream[router])
            pending += [edge.sender for edge in self.upstream[router]]
        return frozenset(seen), frozenset(edges)


def shortest_paths(topology: Topology, source_link: str) -> Tree:
    """Dijkstra from the source's link. OSPF runs over links of exactly two routers; other links are stub networks."""
    first_hops = topology.routers_on(source_link)
    distance = _distances(topology, dict.fromkeys(first_hops, topology.cost[source_link]))
    upstream: dict[str, tuple[Edge, ...]] = {}
    for router, cost in distance.items():
        equal = [(n.link, n.router) for n in topology.neighbours[router] if distance[n.router] + n.cost == cost]
        upstream[router] = () if router in first_hops else tuple(Edge(*pair) for pair in sorted(equal))
    return with_leaves(topology, Tree(distance, upstream))


def with_leaves(topology: Topology, tree: Tree) -> Tree:
    """The tree of the routers, with the PoPs that hang on them."""
    hanging = {name: leaf for name, leaf in topology.leaves.items() if leaf.parent in tree.distance}
    if not hanging:
        return tree
    return Tree(
        {**tree.distance, **{name: tree.distance[leaf.parent] + leaf.cost for name, leaf in hanging.items()}},
        {**tree.upstream, **{name: (Edge(leaf.link, leaf.parent),) for name, leaf in hanging.items()}},
    )


def _distances(topology: Topology, starts: Mapping[str, int]) -> dict[str, int]:
    """Dijkstra over the routers' adjacencies."""
    distance = dict(starts)
    queue = [(cost, router) for router, cost in distance.items()]
    heapq.heapify(queue)
    while queue:
        cost, router = heapq.heappop(queue)
        if cost > distance[router]:
            continue
        for near in topology.neighbours[router]:
            if cost + near.cost < distance.get(near.router, cost + near.cost + 1):
                distance[near.router] = cost + near.cost
                heapq.heappush(queue, (cost + near.cost, near.router))
    return distance


def _faces(appliance: Appliance, on_link: Mapping[str, str], cost: Mapping[str, int]) -> tuple[Face, ...]:
    faces = []
    for interface in sorted(appliance.interfaces, key=lambda interface: natural(interface.name)):
        link = on_link.get(f"{appliance.id}:{interface.name}", "")
        faces.append(Face(interface.name, interface.address, link, cost.get(link, DEFAULT_COST), interface.facing))
    return tuple(faces)


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Sorting key that puts eth2 before eth10."""
    return tuple((word, int(number or 0)) for word, number in re.findall(r"([^0-9]*)([0-9]*)", name))
