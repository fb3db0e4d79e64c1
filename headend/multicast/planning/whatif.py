"""What a lost link or router would do: which channels it takes, where they move, what then no longer fits.

A router whose planned neighbour is gone follows OSPF, the others stay on their reverse paths, as the routers themselves
do; so that a leg can also end in a loop, which is told as lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headend.multicast.documents import Leg
from headend.multicast.planning.admission import Budget, Claim, budgets
from headend.multicast.planning.planned import Planned, PlannedStream, PlannedWay
from headend.multicast.planning.spt import Edge, Topology, Tree, shortest_paths
from nf.documents.fleet import Fleet


class Upstreams:
    """By which neighbours each router takes a stream; several where OSPF may choose."""

    def __init__(self, edges: Mapping[str, tuple[Edge, ...]]) -> None:
        self.edges = edges
        self._arrives = _arriving(edges)

    def levels(self, router: str) -> tuple[tuple[str, ...], ...] | None:
        """The routers on the way, hop by hop, those nearest to the source first; None when it never arrives."""
        if router not in self._arrives:
            return None
        levels: list[tuple[str, ...]] = [(router,)]
        passed = {router}
        while above := {edge.sender for name in levels[-1] for edge in self.edges[name]} - passed:
            passed |= above
            levels.append(tuple(sorted(above)))
        return tuple(levels[::-1])


def _arriving(edges: Mapping[str, tuple[Edge, ...]]) -> frozenset[str]:
    """Routers that the stream reaches by whichever of the neighbours: no loop, no dead end on any of the ways."""
    waiting = {router: len(own) for router, own in edges.items()}
    below: dict[str, list[str]] = defaultdict(list)
    for router, own in edges.items():
        for edge in own:
            below[edge.sender].append(router)
    pending = [router for router, count in waiting.items() if not count]
    arrived = set(pending)
    while pending:
        for router in below[pending.pop()]:
            waiting[router] -= 1
            if not waiting[router]:
                arrived.add(router)
                pending.append(router)
    return frozenset(arrived)


@dataclass(frozen=True, slots=True)
class Loss:
    """Of a link, by its id, or of a router, with all its links."""

    link: str = ""
    node: str = ""

    @property
    def what(self) -> str:
        return f"link {self.link}" if self.link else f"node {self.node}"

    def topology(self, fleet: Fleet) -> Topology:
        if self.link:
            return Topology(fleet, lost=(self.link,))
        spec = fleet.spec
        gone = f"{self.node}:"
        links = tuple(
            link.model_copy(update={"endpoints": tuple(end for end in link.endpoints if not end.startswith(gone))})
            for link in spec.links
        )
        appliances = tuple(one for one in spec.appliances if one.id != self.node)
        return Topology(
            fleet.model_copy(update={"spec": spec.model_copy(update={"appliances": appliances, "links": links})})
        )


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of one leg of a path at one PoP. Hops from the source on; of several equal ways all routers, `|`
    between them. `after` empty: it no longer comes."""

    way: PlannedWay
    pop: str
    leg: Leg | None
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def lost(self) -> bool:
        return not self.after


@dataclass(frozen=True, slots=True)
class Squeezed:
    """A limit that is exceeded then. `out`: who no longer fits, optional ones first."""

    budget: Budget
    out: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """`lost`: (path, PoP or its LAN) that nothing reaches. `shared`: (path, PoP, routers that both legs then pass)."""

    loss: Loss
    moves: tuple[Move, ...]
    lost: tuple[tuple[PlannedWay, str], ...]
    shared: tuple[tuple[PlannedWay, str, tuple[str, ...]], ...]
    squeezed: tuple[Squeezed, ...]


def what_if(plan: Planned, loss: Loss) -> WhatIf:
    """Pure. IPTV's own load only; what else is on a link is not asked."""
    after = _After(plan, loss)
    moves: list[Move] = []
    lost: list[tuple[PlannedWay, str]] = []
    shared: list[tuple[PlannedWay, str, tuple[str, ...]]] = []
    claims: dict[Edge, list[Claim]] = defaultdict(list)
    for planned in plan.ways:
        for pop in planned.pops if _touches(planned, loss) else ():
            ways = [(one, after.levels(planned, one, pop)) for one in planned.streams]
            moves += [move for one, then in ways for move in after.moved(planned, one, pop, then)]
            lost += [(planned, f"{pop}:{face.name}") for face in plan.lans(pop) if face.link and face.link == loss.link]
            arrived = [_routers(then) for _, then in ways if then is not None]
            if not arrived:
                lost.append((planned, pop))
            elif len(arrived) == 2:
                both = tuple(sorted((arrived[0] & arrived[1]) - {pop} - _cuts(plan, planned, pop)))
                shared += [(planned, pop, both)] if both else []
        for edge, times in after.edges(planned).items():
            claims[edge].append(Claim(planned, times * planned.way.path.rate_bps))
    squeezed = tuple(_squeezed(plan, claims)) if moves or lost else ()
    return WhatIf(loss, tuple(moves), tuple(lost), tuple(shared), squeezed)


def _touches(planned: PlannedWay, loss: Loss) -> bool:
    if loss.link:
        tunnels = (edge for one in planned.streams for edge in one.reach.edges)
        return any(edge.link == loss.link for edge in (*planned.edges, *tunnels))
    routers = {router for one in planned.streams for router, _ in one.reach.routers}
    return loss.node in routers or any(edge.sender == loss.node for edge in planned.edges)


class _After:
    """The network without what is lost: by which neighbour each router takes each stream then."""

    def __init__(self, plan: Planned, loss: Loss) -> None:
        self._plan, self._loss = plan, loss
        self._topology = loss.topology(plan.fleet)
        self._shortest: dict[str, Tree] = {}
        self._before: dict[tuple[Leg | None, tuple[str, ...]], Upstreams] = {}
        self._upstreams: dict[tuple[str, tuple[str, ...], Leg | None, tuple[str, ...]], Upstreams] = {}

    def levels(self, planned: PlannedWay, one: PlannedStream, pop: str) -> tuple[tuple[str, ...], ...] | None:
        return None if pop == self._loss.node else self._upstream(planned, one).levels(pop)

    def moved(
        self, planned: PlannedWay, one: PlannedStream, pop: str, then: tuple[tuple[str, ...], ...] | None
    ) -> Iterator[Move]:
        """Nothing where the way is what it was."""
        leg = one.stream.leg
        key = (leg, planned.links)
        if key not in self._before:
            self._before[key] = Upstreams(self._plan.forest.tree(leg, planned.links).upstream)
        now = self._before[key].levels(pop)
        if now != then:
            source = one.stream.appliance
            yield Move(planned, pop, leg, told(source, now), told(source, then))

    def edges(self, planned: PlannedWay) -> Counter[Edge]:
        """Every link direction that then carries it, and how many of its streams."""
        found: Counter[Edge] = Counter()
        served: set[str] = set()
        for one in planned.streams:
            upstream = self._upstream(planned, one)
            pops = [pop for pop in planned.pops if self.levels(planned, one, pop) is not None]
            served.update(pops)
            own = {Edge(one.stream.face.link, one.stream.appliance)} if pops else set()
            seen: set[str] = set()
            while pops:
                router = pops.pop()
                if router not in seen:
                    seen.add(router)
                    own.update(upstream.edges[router])
                    pops += [edge.sender for edge in upstream.edges[router]]
            found.update(carried for edge in own for carried in self._topology.carried(edge))
        found.update(Edge(face.link, pop) for pop in served for face in self._plan.lans(pop) if face.link)
        return Counter({edge: times for edge, times in found.items() if edge.link != self._loss.link})

    def _upstream(self, planned: PlannedWay, one: PlannedStream) -> Upstreams:
        stream = one.stream
        key = (stream.appliance, planned.links, stream.leg, planned.pops)
        if key not in self._upstreams:
            self._upstreams[key] = Upstreams(self._edges_of(planned, one))
        return self._upstreams[key]

    def _edges_of(self, planned: PlannedWay, one: PlannedStream) -> Mapping[str, tuple[Edge, ...]]:
        link = one.stream.face.link
        if self._loss.link == link or self._loss.node == one.stream.appliance:
            return {}
        ospf = self._ospf(link)
        if one.stream.leg is None:
            return ospf.upstream
        found = dict(ospf.upstream)
        tree, before = self._plan.forest.tree(one.stream.leg, planned.links), self._plan.forest.shortest(link)
        for router, _ in one.reach.routers:
            edges = tree.upstream[router]
            static = edges and before.upstream.get(router) != edges
            if static and router in found and set(edges) <= self._alive(router):
                found[router] = edges
        return found

    def _ospf(self, link: str) -> Tree:
        if link not in self._shortest:
            self._shortest[link] = shortest_paths(self._topology, link)
        return self._shortest[link]

    def _alive(self, router: str) -> set[Edge]:
        return {Edge(near.link, near.router) for near in self._topology.neighbours.get(router, ())}


def _routers(levels: tuple[tuple[str, ...], ...]) -> set[str]:
    return {router for level in levels for router in level}


def _cuts(plan: Planned, planned: PlannedWay, pop: str) -> set[str]:
    return set(plan.forest.pair(*planned.links).cuts.get(pop, ()))


def told(source: str, levels: tuple[tuple[str, ...], ...] | None) -> tuple[str, ...]:
    return () if levels is None else (source, *("|".join(level) for level in levels))


def _squeezed(plan: Planned, claims: dict[Edge, list[Claim]]) -> Iterator[Squeezed]:
    links = {link.id: link for link in plan.fleet.spec.links}
    raw = [
        Budget(edge, "everything", links[edge.link].capacity_bps, tuple(asked))
        for edge, asked in sorted(claims.items(), key=lambda one: (one[0].link, one[0].sender))
    ]
    for budget in (*raw, *budgets(plan.equipment.links, claims)):
        if budget.short_bps:
            yield Squeezed(budget, _out(budget))


def _out(budget: Budget) -> tuple[Claim, ...]:
    """Mandatory channels stay before optional ones, each in the order of the line-up."""
    left, out = budget.limit_bps, []
    for claim in sorted(budget.claims, key=lambda claim: not claim.mandatory):
        if claim.bitrate_bps <= left:
            left -= claim.bitrate_bps
        else:
            out.append(claim)
    return tuple(out)
