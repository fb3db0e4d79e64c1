"""Suurballe's pairs: for every router the two node-disjoint paths from the sources whose costs add up to the least.

One run serves all routers (Suurballe and Tarjan, "A quick method for finding shortest pairs of disjoint paths", 1984):
Dijkstra, then one pass over the edges with reduced costs. Routers are split into an entry and an exit, so that paths
which share no edge share no router. The pairs of different routers do not form trees: what is programmed is
`headend.multicast.planning.redundant`, and this is what it is measured by.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf

from headend.multicast.planning.spt import Topology

_ROOT = 0


@dataclass(frozen=True, slots=True)
class DisjointPair:
    """Routers from the source's link to the one that is served, both included. `cost`: of both ways together.

    `a` begins on the link of leg a, `b` on that of leg b.
    """

    cost: int
    a: tuple[str, ...]
    b: tuple[str, ...]


def disjoint_pairs(topology: Topology, link_a: str, link_b: str) -> dict[str, DisjointPair]:
    """The cheapest pair towards every router that has one. Routers without one stand behind a cut node."""
    split = _Split(topology, link_a, link_b)
    second = _Second(split.out, *_dijkstra(split.out))
    found = {}
    for number, name in enumerate(split.names):
        target = split.entry(number)
        if second.cost[target] < inf:
            one, other = sorted(second.ways(target), key=lambda way: way[1])  # leg a begins at the lower source
            cost = int(2 * second.first[target] + second.cost[target])
            found[name] = DisjointPair(cost, split.named(one), split.named(other))
    return found


class _Split:
    """Vertices: the root, the two sources, then entry and exit of every router."""

    def __init__(self, topology: Topology, link_a: str, link_b: str) -> None:
        self.names = sorted(topology.routers)
        self.size = 3 + 2 * len(self.names)
        self.out: list[list[tuple[int, int]]] = [[] for _ in range(self.size)]
        number = {name: index for index, name in enumerate(self.names)}
        for source, link in ((1, link_a), (2, link_b)):
            self.out[_ROOT].append((source, 0))
            self.out[source] = [(self.entry(number[name]), topology.cost[link]) for name in topology.routers_on(link)]
        for name, index in number.items():
            best: dict[int, int] = {}
            for near in topology.neighbours[name]:
                target = self.entry(number[near.router])
                best[target] = min(near.cost, best.get(target, near.cost))
            self.out[self.entry(index)] = [(self.exit(index), 0)]
            self.out[self.exit(index)] = list(best.items())

    @staticmethod
    def entry(number: int) -> int:
        return 3 + 2 * number

    @staticmethod
    def exit(number: int) -> int:
        return 4 + 2 * number

    def named(self, way: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.names[(vertex - 3) // 2] for vertex in way[2:] if vertex % 2)


_Out = Sequence[Sequence[tuple[int, int]]]
"""Vertex -> (vertex, cost) of its outgoing edges."""


def _dijkstra(out: _Out) -> tuple[list[float], list[int]]:
    """(cost from the root, parent in the shortest-path tree); inf and -1 where there is no path."""
    cost: list[float] = [inf] * len(out)
    parent = [-1] * len(out)
    cost[_ROOT] = 0
    queue: list[tuple[float, int]] = [(0, _ROOT)]
    while queue:
        reached, vertex = heapq.heappop(queue)
        if reached > cost[vertex]:
            continue
        for to, step in out[vertex]:
            if reached + step < cost[to]:
                cost[to] = reached + step
                parent[to] = vertex
                heapq.heappush(queue, (reached + step, to))
    return cost, parent


class _Second:
    """The second pass: what a pair costs beyond twice the shortest path, and from where it comes.

    As a vertex gets its label it leaves the tree, which falls into pieces. An edge between two of them closes two
    disjoint paths, one of which passes that vertex. All but the largest piece are looked at, so that every vertex is
    looked at O(log n) times.
    """

    def __init__(self, out: _Out, first: list[float], parent: list[int]) -> None:
        self.first, self._parent = first, parent
        self.cost: list[float] = [inf] * len(out)
        self._tail = [-1] * len(out)
        self._via = [-1] * len(out)
        self._labelled = [cost == inf for cost in first]
        self._piece = [0] * len(out)
        self._pieces = 0
        self._tree: list[list[int]] = [[] for _ in out]
        self._leaving: list[list[tuple[int, float]]] = [[] for _ in out]
        self._entering: list[list[tuple[int, float]]] = [[] for _ in out]
        self._queue: list[tuple[float, int]] = []
        self._take_edges(out)
        self._run()

    def ways(self, target: int) -> tuple[list[int], list[int]]:
        """Both paths from the root to a target whose cost is finite."""
        marked = set()
        vertex = target
        while vertex != _ROOT:
            marked.add(vertex)
            vertex = self._via[vertex]
        return self._way(target, marked), self._way(target, marked)

    def _way(self, target: int, marked: set[int]) -> list[int]:
        way = [target]
        while way[-1] != _ROOT:
            vertex = way[-1]
            way.append(self._tail[vertex] if vertex in marked else self._parent[vertex])
            marked.discard(vertex)
        return way[::-1]

    def _take_edges(self, out: _Out) -> None:
        for vertex, edges in enumerate(out):
            if self.first[vertex] == inf:
                continue
            if (above := self._parent[vertex]) >= 0:
                self._tree[vertex].append(above)
                self._tree[above].append(vertex)
            for to, step in edges:
                if self._parent[to] != vertex:
                    reduced = step + self.first[vertex] - self.first[to]
                    self._leaving[vertex].append((to, reduced))
                    self._entering[to].append((vertex, reduced))

    def _run(self) -> None:
        self.cost[_ROOT] = 0
        self._queue = [(0, _ROOT)]
        while self._queue:
            reached, vertex = heapq.heappop(self._queue)
            if self._labelled[vertex] or reached > self.cost[vertex]:
                continue
            self._labelled[vertex] = True
            old = self._piece[vertex]
            pieces = {old}
            moved = [vertex]
            for members in self._split_off(vertex):
                self._pieces += 1
                pieces.add(self._pieces)
                for member in members:
                    self._piece[member] = self._pieces
                moved += members
            self._close(vertex, moved, pieces)

    def _split_off(self, vertex: int) -> list[list[int]]:
        """The pieces that the tree falls into without `vertex`, but the one that takes longest to walk."""
        walks = [self._walk(start) for start in self._tree[vertex] if not self._labelled[start]]
        members: list[list[int]] = [[] for _ in walks]
        walking = list(range(len(walks)))
        while len(walking) > 1:
            for index in tuple(walking):
                step = next(walks[index], None)
                if step is not None:
                    members[index].append(step)
                elif len(walking) > 1:
                    walking.remove(index)
        return [found for index, found in enumerate(members) if index not in walking]

    def _walk(self, start: int) -> Iterator[int]:
        pending = [(start, -1)]
        while pending:
            vertex, before = pending.pop()
            yield vertex
            pending += [(near, vertex) for near in self._tree[vertex] if near != before and not self._labelled[near]]

    def _close(self, vertex: int, moved: Sequence[int], pieces: AbstractSet[int]) -> None:
        """Take every edge outside the tree that now leads from one piece, or from `vertex`, to another."""
        for one in moved:
            own = -1 if one == vertex else self._piece[one]
            for to, reduced in self._leaving[one]:
                if not self._labelled[to] and self._piece[to] in pieces and self._piece[to] != own:
                    self._relax(vertex, one, to, reduced)
            if one == vertex:
                continue
            for tail, reduced in self._entering[one]:
                if not self._labelled[tail] and self._piece[tail] in pieces and self._piece[tail] != own:
                    self._relax(vertex, tail, one, reduced)

    def _relax(self, vertex: int, tail: int, head: int, reduced: float) -> None:
        if self.cost[vertex] + reduced < self.cost[head]:
            self.cost[head] = self.cost[vertex] + reduced
            self._tail[head], self._via[head] = tail, vertex
            heapq.heappush(self._queue, (self.cost[head], head))
