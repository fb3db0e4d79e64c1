"""A redundant pair of trees: maximally redundant trees after RFC 7811 (a GADAG of ears), with one upstream per leg.

PIM takes everything of a source from one neighbour, so that the pairs of disjoint paths towards single PoPs are not
enough: all routers together need one upstream neighbour for leg a and one for leg b. They are found by an order of the
routers between the two sources (an st-numbering where the network is 2-connected): leg a comes over lower routers
only, leg b over higher ones, so that both meet at no router but where they must, at a cut node. Within the order each
leg takes its cheapest way. The pair depends on the network and the two sources alone, not on who is served.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from headend.multicast.planning.ordering import Ordering
from headend.multicast.planning.spt import Edge, Topology, Tree, with_leaves

A: Final = "\0a"
B: Final = "\0b"
"""The two sources, as the ends of the order."""
_TRIALS: Final = 8
"""Any place of an ear within its bounds is right; the trees' cost depends on it: the cheapest of so many is taken."""


@dataclass(frozen=True, slots=True)
class RedundantTrees:
    """Routers that cannot get both legs are absent from both trees.

    cuts   the routers that both legs towards a router have to pass, the nearest to the source first
    """

    a: Tree
    b: Tree
    cuts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Part:
    """Routers whose every path leads over `low` or `high`: the sources, or twice the cut node that they hang on."""

    low: str
    high: str
    routers: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class _Step:
    """From a router or source to the next: over which link, at what cost."""

    to: str
    link: str
    cost: int


_Graph = Mapping[str, tuple[_Step, ...]]


def redundant_trees(topology: Topology, link_a: str, link_b: str) -> RedundantTrees:
    """The trees of a source on `link_a` (leg a) and of one on `link_b`, which may be the same."""
    graph = _graph(topology, link_a, link_b)
    near = _nearness(graph)
    trials = (_grown(graph, near, trial) for trial in range(_TRIALS))
    best = min(trials, key=lambda trees: sum(trees.a.distance.values()) + sum(trees.b.distance.values()))
    a, b = with_leaves(topology, best.a), with_leaves(topology, best.b)
    hanging = {name: topology.leaves[name].parent for name in topology.leaves if name in a.distance}
    return RedundantTrees(
        a, b, {**best.cuts, **{name: (*best.cuts.get(parent, ()), parent) for name, parent in hanging.items()}}
    )


def _grown(graph: _Graph, near: Mapping[str, int], trial: int) -> RedundantTrees:
    growth = _Growth(graph, near, trial)
    parts = [_Part(A, B, graph.keys() - {A, B})]
    distance: dict[str, dict[str, int]] = {A: {A: 0}, B: {B: 0}}
    upstream: dict[str, dict[str, tuple[Edge, ...]]] = {A: {}, B: {}}
    cuts: dict[str, tuple[str, ...]] = {}
    while parts:
        part = parts.pop()
        order, hanging = growth.grow(part)
        parts += hanging
        above = (*cuts[part.low], part.low) if part.low in cuts else ()
        cuts.update(dict.fromkeys(order, above))
        _choose(graph, part, order, distance, upstream)
    trees = {
        leg: Tree({name: cost for name, cost in distance[leg].items() if name != leg}, upstream[leg]) for leg in (A, B)
    }
    return RedundantTrees(trees[A], trees[B], cuts)


def _graph(topology: Topology, link_a: str, link_b: str) -> _Graph:
    """Routers that both sources reach, their adjacencies, and the sources beside the routers on their links."""
    firsts = {A: topology.routers_on(link_a), B: topology.routers_on(link_b)}
    both = _reached(topology, firsts[A]) & _reached(topology, firsts[B])
    graph = {
        name: [_Step(n.router, n.link, n.cost) for n in topology.neighbours[name] if n.router in both]
        for name in sorted(both)
    }
    for source, link in ((A, link_a), (B, link_b)):
        own = [name for name in firsts[source] if name in both]
        graph[source] = [_Step(name, link, topology.cost[link]) for name in own]
        for name in own:
            graph[name].append(_Step(source, link, topology.cost[link]))
    return {name: tuple(steps) for name, steps in graph.items()}


def _reached(topology: Topology, firsts: tuple[str, ...]) -> set[str]:
    seen, pending = set(firsts), list(firsts)
    while pending:
        for near in topology.neighbours[pending.pop()]:
            if near.router not in seen:
                seen.add(near.router)
                pending.append(near.router)
    return seen


class _Growth:
    """Grows the order of a part, ear by ear."""

    def __init__(self, graph: _Graph, near: Mapping[str, int], trial: int) -> None:
        self._graph, self._near, self._trial = graph, near, trial

    def grow(self, part: _Part) -> tuple[list[str], list[_Part]]:
        """The part's routers from `low` to `high`, and the parts that hang on one of them."""
        order = Ordering()
        open_to = set(part.routers)
        hanging: list[_Part] = []
        queue: list[tuple[int, str, str]] = []

        def reach_out(name: str) -> None:
            for step in self._graph[name]:
                if step.to in open_to:
                    heapq.heappush(queue, (self._near[step.to], step.to, name))

        if part.low != part.high:
            order.append(self._beside_both_sources())
            open_to.difference_update(order)
        for name in (part.low, part.high, *order):
            reach_out(name)
        while queue:
            _, first, start = heapq.heappop(queue)
            if first not in open_to:
                continue
            ear, end = self._ear(part, order, open_to, start, first)
            if not end:
                hanging.append(_Part(start, start, frozenset(ear)))
                open_to.difference_update(ear)
                continue
            _insert(part, order, start, ear, end, beside_low=self._beside_low(first))
            open_to.difference_update(ear)
            for name in ear:
                reach_out(name)
        return list(order), hanging

    def _beside_low(self, first: str) -> bool:
        """Where within its bounds an ear goes: in the first trial beside the low one, in the second beside the high
        one, then now so, now so."""
        return self._trial == 0 or (self._trial > 1 and zlib.crc32(f"{self._trial}{first}".encode()) % 2 == 0)

    def _beside_both_sources(self) -> list[str]:
        """Both sources are on links of theirs: nothing stands between."""
        return sorted({step.to for step in self._graph[A]} & {step.to for step in self._graph[B]})

    def _ear(
        self, part: _Part, order: Ordering, open_to: AbstractSet[str], start: str, first: str
    ) -> tuple[list[str], str]:
        """The cheapest way from `start` over `first` and further open routers to another router of the order.

        Without one: everything that hangs on `start` beyond `first`, and no end. A part that hangs on a cut node begins
        with a way back to that node, over another link if there is one.
        """
        closing = part.low == part.high == start
        cost = {first: 0}
        before: dict[str, str] = {}
        queue = [(0, first)]
        done: set[str] = set()
        while queue:
            reached, name = heapq.heappop(queue)
            if name in done:
                continue
            done.add(name)
            if name in order or name in (part.low, part.high):
                return _unwound(before, before[name]), name
            for step in self._graph[name]:
                if step.to == start and not (closing and self._second_link(name, first, start)):
                    continue
                if not (step.to in open_to or step.to in order or step.to in (part.low, part.high)):
                    continue
                if reached + step.cost < cost.get(step.to, reached + step.cost + 1):
                    cost[step.to] = reached + step.cost
                    before[step.to] = name
                    heapq.heappush(queue, (reached + step.cost, step.to))
        if closing:  # a bridge: both legs come over the one link
            return [first], start
        return sorted(done), ""

    def _second_link(self, name: str, first: str, start: str) -> bool:
        """Whether the way back from `name` to `start` is not the link that led out."""
        return name != first or sum(step.to == start for step in self._graph[name]) > 1


def _unwound(before: Mapping[str, str], last: str) -> list[str]:
    way = [last]
    while way[-1] in before:
        way.append(before[way[-1]])
    return way[::-1]


def _insert(part: _Part, order: Ordering, start: str, ear: list[str], end: str, *, beside_low: bool) -> None:
    """Between `start` and `end`. A cut node that is both ends of the order is the low one where the ear starts."""
    if part.low == start or part.high == end:
        flipped = False
    elif part.high == start or part.low == end:
        flipped = True
    else:
        flipped = order.less(end, start)
    left, right = (end, start) if flipped else (start, end)
    names = ear[::-1] if flipped else ear
    if left in order and (beside_low or right not in order):
        order.after(left, names)
    elif right in order:
        order.before(right, names)
    else:
        order.append(names)


def _nearness(graph: _Graph) -> dict[str, int]:
    """Cost from the nearer source."""
    near = {A: 0, B: 0}
    queue = [(0, A), (0, B)]
    while queue:
        cost, name = heapq.heappop(queue)
        if cost > near[name]:
            continue
        for step in graph[name]:
            if cost + step.cost < near.get(step.to, cost + step.cost + 1):
                near[step.to] = cost + step.cost
                heapq.heappush(queue, (cost + step.cost, step.to))
    return near


_Distances = dict[str, dict[str, int]]
_Upstreams = dict[str, dict[str, tuple[Edge, ...]]]


def _choose(graph: _Graph, part: _Part, order: list[str], distance: _Distances, upstream: _Upstreams) -> None:
    """The cheapest upstream of every router, for leg a among the lower ones, for leg b among the higher ones."""
    place = {name: number for number, name in enumerate(order)}
    cut = part.low if part.low == part.high else ""
    for leg, end, names in ((A, part.low, order), (B, part.high, order[::-1])):
        sign = 1 if leg == A else -1
        cost, taken = distance[leg], upstream[leg]
        for name in names:
            here = sign * place[name]
            ways = [
                (cost[step.to] + step.cost, step.to, step.link)
                for step in graph[name]
                if step.to == end or (step.to in place and sign * place[step.to] < here)
            ]
            if cut and len(ways) > 1:
                avoided = _avoided(graph, name, cut, place, upstream[A].get(name) if leg == B else None)
                ways = [way for way in ways if way[2] not in avoided] or ways
            best, to, link = min(ways)
            cost[name] = best
            taken[name] = () if to in (A, B) else (Edge(link, to),)


def _avoided(
    graph: _Graph, name: str, cut: str, place: Mapping[str, int], other: tuple[Edge, ...] | None
) -> tuple[str, ...]:
    """Links that are better left to the other leg: from a cut node each leg takes a link of its own where it can."""
    if other is not None:
        return tuple(edge.link for edge in other)
    direct = [step.link for step in graph[name] if step.to == cut]
    alone = len(direct) == 1 and not any(place.get(step.to, -1) > place[name] for step in graph[name])
    return tuple(direct) if alone else ()
