"""The plan of a path in numbers: hop by hop with the load on each link, what the trees cost and could cost at best."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headend.multicast.addresses import ethernet
from headend.multicast.documents import Leg
from headend.multicast.planning.disjoint import DisjointPair, disjoint_pairs
from headend.multicast.planning.planned import Planned, PlannedStream, PlannedWay
from headend.multicast.planning.spt import Edge
from headend.multicast.planning.steiner import SteinerBound, steiner_bound, tree_cost
from nf.contracts.json import JsonObject


@dataclass(frozen=True, slots=True)
class Line:
    """One link direction that a stream may take. `hop`: 0 at the source. `used`: by all of IPTV, in the worst case."""

    hop: int
    sender: str
    link: str
    receivers: tuple[str, ...]
    used_bps: int
    capacity_bps: int


@dataclass(frozen=True, slots=True)
class Tunnel:
    """From a relay to a gateway (RFC 7450). `over`: the link directions of all unicast ways that it may take."""

    name: str
    relay: str
    gateway: str
    over: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LegPlan:
    """One tree. `cost`: sum of the link costs; `bound`: of a Steiner tree to the same routers. What hangs on them by a
    proxy or a tunnel is in neither: no tree could do without it."""

    stream: PlannedStream
    lines: tuple[Line, ...]
    cost: int
    bound: SteinerBound
    tunnels: tuple[Tunnel, ...] = ()


@dataclass(frozen=True, slots=True)
class PathPlan:
    """`lans`: what the PoPs give to receivers. Of a protected path: `pairs_cost` of the two ways to all PoPs that have
    disjoint ones, and `cheapest_cost`, of Suurballe's pairs; `cuts`: PoP -> routers that both legs have to pass."""

    way: PlannedWay
    legs: tuple[LegPlan, ...]
    lans: tuple[Line, ...]
    pairs_cost: int
    cheapest_cost: int
    cuts: Mapping[str, tuple[str, ...]]


class Explainer:
    """Of one plan; what all paths share is worked out once."""

    def __init__(self, plan: Planned) -> None:
        self.plan = plan
        self._capacity = {link.id: link.capacity_bps for link in plan.fleet.spec.links}
        self._used: Counter[Edge] = Counter()
        for planned in plan.ways:
            for edge, times in planned.edges.items():
                self._used[edge] += times * planned.way.path.rate_bps
            streams = planned.streams if plan.topology.tunnels else ()
            for edge in (edge for one in streams for edge in one.reach.edges):
                if edge.link in plan.topology.tunnels:
                    self._used[edge] += planned.way.path.rate_bps
        self._pairs: dict[tuple[str, ...], dict[str, DisjointPair]] = {}

    def path(self, planned: PlannedWay) -> PathPlan:
        lans = [Edge(face.link, pop) for pop in planned.pops for face in self.plan.lans(pop) if face.link]
        legs = tuple(self._leg(planned, one) for one in planned.streams)
        pairs, cuts = 0, {}
        cheapest = 0
        if len(planned.streams) == 2:
            trees = self.plan.forest.pair(*planned.links)
            best = self._cheapest(planned.links)
            cuts = {pop: trees.cuts[pop] for pop in planned.pops if trees.cuts.get(pop)}
            apart = [pop for pop in planned.pops if pop in best]
            pairs = sum(trees.a.distance[pop] + trees.b.distance[pop] for pop in apart)
            cheapest = sum(best[pop].cost for pop in apart)
        return PathPlan(planned, legs, tuple(self._line(0, edge) for edge in lans), pairs, cheapest, cuts)

    def _cheapest(self, links: tuple[str, ...]) -> dict[str, DisjointPair]:
        if links not in self._pairs:
            self._pairs[links] = disjoint_pairs(self.plan.topology, links[0], links[1])
        return self._pairs[links]

    def _leg(self, planned: PlannedWay, one: PlannedStream) -> LegPlan:
        stream = one.stream
        tree = self.plan.forest.tree(stream.leg, planned.links)
        depth: dict[str, int] = {}
        for router, senders in one.reach.routers:
            depth[router] = 1 + max((depth[sender] for sender in senders), default=0)
        edges = sorted(one.reach.edges, key=lambda edge: (depth.get(edge.sender, 0), edge.sender, edge.link))
        first = self._line(0, Edge(stream.face.link, stream.appliance))
        lines = (first, *(self._line(depth.get(edge.sender, 0), edge) for edge in edges))
        ends = self.plan.topology.anchors(planned.pops)
        return LegPlan(
            one,
            lines,
            tree_cost(self.plan.topology, tree, ends),
            steiner_bound(self.plan.topology, stream.face.link, ends),
            self._tunnels(one),
        )

    def _tunnels(self, one: PlannedStream) -> tuple[Tunnel, ...]:
        found = self.plan.topology.tunnels
        links = sorted({edge.link for edge in one.reach.edges} & found.keys())
        return tuple(
            Tunnel(name, found[name].parent, self.plan.topology.members[name][1], over)
            for name in links
            for over in (tuple(f"{edge.sender} > {edge.link}" for edge in found[name].carried),)
        )

    def _line(self, hop: int, edge: Edge) -> Line:
        members = self.plan.topology.members.get(edge.link, ())
        receivers = tuple(name for name in members if name != edge.sender)
        return Line(hop, edge.sender, edge.link, receivers, self._used[edge], self._capacity.get(edge.link, 0))


# ---- as JSON and as lines --------------------------------------------------------------------------------------------


def leg_name(leg: Leg | None) -> str:
    return leg or "-"


def path_json(found: PathPlan) -> JsonObject:
    way = found.way.way
    return {
        "channel": way.channel.id,
        "path": way.path.id,
        "protection": way.path.protection,
        "rate_bps": way.path.rate_bps,
        "pops": list(found.way.pops),
        "output": _output_json(found.way),
        "legs": [
            {
                **stream_json(leg.stream),
                "cost": leg.cost,
                "steiner": {"found": leg.bound.found, "least": leg.bound.least},
                "hops": [_line_json(line) for line in leg.lines],
                "tunnels": [
                    {"name": one.name, "relay": one.relay, "gateway": one.gateway, "over": list(one.over)}
                    for one in leg.tunnels
                ],
            }
            for leg in found.legs
        ],
        "lans": [_line_json(line) for line in found.lans],
        "pairs": {"cost": found.pairs_cost, "cheapest": found.cheapest_cost} if len(found.legs) == 2 else None,
        "cut_nodes": {pop: list(cuts) for pop, cuts in sorted(found.cuts.items())},
    }


def _output_json(planned: PlannedWay) -> JsonObject | None:
    if planned.output is None:
        return None
    return {"group": str(planned.output[0]), "port": planned.output[1], "ethernet": ethernet(planned.output[0])}


def stream_json(one: PlannedStream) -> JsonObject:
    stream = one.stream
    return {
        "leg": stream.leg,
        "appliance": stream.appliance,
        "source": str(stream.source),
        "group": str(stream.group),
        "ethernet": ethernet(stream.group),
        "port": stream.port,
        "encapsulation": stream.encapsulation,
    }


def way_json(planned: PlannedWay) -> JsonObject:
    way = planned.way
    return {
        "channel": way.channel.id,
        "path": way.path.id,
        "protection": way.path.protection,
        "admission": way.path.admission,
        "rate_bps": way.path.rate_bps,
        "pops": list(planned.pops),
        "pinned": list(way.path.pinned),
        "output": _output_json(planned),
        "legs": [stream_json(one) for one in planned.streams],
    }


def _line_json(line: Line) -> JsonObject:
    return {
        "hop": line.hop,
        "sender": line.sender,
        "link": line.link,
        "receivers": list(line.receivers),
        "used_bps": line.used_bps,
        "capacity_bps": line.capacity_bps,
    }


def summary(found: PathPlan) -> tuple[str, ...]:
    """Sentences under the tables."""
    lines = []
    for leg in found.legs:
        which = "the tree" if leg.stream.stream.leg is None else f"leg {leg.stream.stream.leg}"
        lines.append(
            f"{which} costs {leg.cost}; a Steiner tree costs {leg.bound.found} (none less than {leg.bound.least})"
        )
    lines += [
        f"{one.name}: a tunnel from {one.relay} to {one.gateway} over {', '.join(one.over)}"
        for one in dict.fromkeys(one for leg in found.legs for one in leg.tunnels)
    ]
    if len(found.legs) == 2:
        apart = len(found.way.pops) - len(found.cuts)
        lines.append(f"legs are node-disjoint at {apart} of {len(found.way.pops)} PoPs")
        if apart:
            lines.append(f"their pairs of ways cost {found.pairs_cost}, the cheapest possible {found.cheapest_cost}")
        lines += [
            f"both legs to {', '.join(pops)} pass {cut}: its loss takes both" for cut, pops in _by_cut(found.cuts)
        ]
    return tuple(lines)


def _by_cut(cuts: Mapping[str, tuple[str, ...]]) -> Iterable[tuple[str, list[str]]]:
    found: dict[str, list[str]] = defaultdict(list)
    for pop, routers in sorted(cuts.items()):
        for router in routers:
            found[router].append(pop)
    return sorted(found.items())
