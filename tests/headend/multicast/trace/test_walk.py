"""For any tree and any loss on its links, the link that is named is the right one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.trace.localise import Count, Stretch, judge, localise, tolerance
from headend.multicast.trace.operation import parse_net_dev, parse_rpf
from headend.multicast.trace.reading import FlowName, FlowReading, NodeReading, Passed, RouteReading, reading_of
from headend.multicast.trace.walk import Walk, Way, stretches
from nf.errors import IntegrityError, NotFoundError

RATE, SECONDS = 400, 2.0
FLOW = FlowName("iptv", "", "10.1.0.10", "232.1.1.1")
PARTS = ("leaving", "on the wire", "entering")


@dataclass
class Tree:
    """Node 0 is the source; `parents[n - 1]` is where node n takes it from. The link n is the one into node n.

    `losses`: link -> (part, share). `late`: node -> by how much its interval begins later.
    """

    parents: list[int]
    losses: dict[int, tuple[int, float]] = field(default_factory=dict)
    late: dict[int, float] = field(default_factory=dict)
    flow: FlowName = FLOW
    taps: bool = True

    def name(self, node: int) -> str:
        return "source" if node == 0 else f"r{node}"

    def children(self, node: int) -> list[int]:
        return [n for n, parent in enumerate(self.parents, start=1) if parent == node]

    def _address(self, link: int, end: int) -> str:
        return f"10.9.{link}.{end}/31"

    def link(self, node: int) -> str:
        parent = self.parents[node - 1]
        return f"{self.name(parent)}:{f'down{node}' if parent else 'eth1'} -> {self.name(node)}:up"

    def readings(self) -> list[NodeReading]:
        found = [self._source()]
        forwarded = {0: round(RATE * SECONDS)}
        for node in range(1, len(self.parents) + 1):
            counts = [forwarded[self.parents[node - 1]]]
            for part in range(3):
                at, share = self.losses.get(node, (0, 0.0))
                counts.append(round(counts[-1] * (1 - (share if at == part else 0.0))))
            forwarded[node] = counts[3]
            found.append(self._router(node, counts))
        sent = {n: self._sent(forwarded[self.parents[n - 1]], n) for n in range(1, len(self.parents) + 1)}
        return [self._with_sent(reading, node, sent) for node, reading in enumerate(found)]

    def _sent(self, packets: int, link: int) -> int:
        part, share = self.losses.get(link, (1, 0.0))
        return round(packets * (1 - share)) if part == 0 else packets

    def _source(self) -> NodeReading:
        passed = (Passed("eth1", "out", round(RATE * SECONDS)),)
        return self._node(0, {"eth1": (f"{self.flow.source}/24",)}, FlowReading(self.flow, passed=passed))

    def _router(self, node: int, counts: list[int]) -> NodeReading:
        parent = self.parents[node - 1]
        up = f"10.1.0.{100 + node}/24" if parent == 0 else self._address(node, 1)
        addresses = {"up": (up,), **{f"down{n}": (self._address(n, 0),) for n in self.children(node)}}
        neighbour = "" if parent == 0 else self._address(node, 0).partition("/")[0]
        outputs = tuple(f"down{n}" for n in self.children(node)) or ("lan",)
        addresses.setdefault("lan", (f"10.20.{node}.1/24",))
        route = RouteReading("up", outputs, neighbour, "up", forwarded_in_interval=counts[3])
        passed = (Passed("up", "in", counts[2]), Passed("lan", "out", counts[3])) if self.taps else ()
        return self._node(node, addresses, FlowReading(self.flow, route=route, passed=passed))

    def _node(self, node: int, addresses: dict[str, tuple[str, ...]], flow: FlowReading) -> NodeReading:
        return NodeReading(self.name(node), addresses, (flow,), 1000.0 + self.late.get(node, 0.0), SECONDS)

    def _with_sent(self, reading: NodeReading, node: int, sent: dict[int, int]) -> NodeReading:
        if not self.taps or not node:
            return reading
        (flow,) = reading.flows
        passed = (*flow.passed, *(Passed(f"down{n}", "out", sent[n]) for n in self.children(node)))
        return replace(reading, flows=(replace(flow, passed=passed),))

    def path(self, node: int) -> list[int]:
        return [] if node == 0 else [node, *self.path(self.parents[node - 1])]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    size = draw(st.integers(1, 12))
    parents = [draw(st.integers(0, node)) for node in range(size)]
    links = draw(st.sets(st.integers(1, size), max_size=3))
    # Before the source's own counter nothing can be told.
    losses = {n: (draw(st.integers(0 if parents[n - 1] else 1, 2)), draw(st.floats(0.2, 0.9))) for n in links}
    late = {node: draw(st.floats(-0.005, 0.005)) for node in range(size + 1)}
    return Tree(parents, losses, late)


def way_to(tree: Tree, leaf: int) -> Way:
    (way,) = Walk([reading_of(one.to_json()) for one in tree.readings()]).ways(tree.name(leaf))
    return way


@given(trees(), st.data())
def test_the_named_links_are_those_that_lose(tree: Tree, data: st.DataObject) -> None:
    leaf = data.draw(st.integers(1, len(tree.parents)))
    way = way_to(tree, leaf)
    assert way.problem == ""
    assert [hop.appliance for hop in way.hops] == [*map(tree.name, tree.path(leaf)), "source"]
    found = {vanished.link: vanished for vanished in localise(stretches(way))}
    # Far below several losses too little may be left for the next to be told from packets under way.
    sizes = dict(zip(tree.path(leaf), (hop.arrived.packets for hop in way.hops if hop.arrived), strict=False))
    expected = {tree.link(node) for node in tree.path(leaf) if node in tree.losses}
    assert found.keys() <= expected
    clear = {tree.link(n) for n in tree.path(leaf) if n in tree.losses and sizes[n] * tree.losses[n][1] > 40}
    assert clear <= found.keys()
    for node in tree.path(leaf):
        vanished = found.get(tree.link(node))
        if vanished is not None:
            part, share = tree.losses[node]
            assert vanished.part.startswith(PARTS[part])
            assert vanished.share == pytest.approx(share, abs=0.02 + 1 / vanished.of)


@given(trees())
def test_without_taps_the_link_is_named_all_the_same(tree: Tree) -> None:
    bare = replace(tree, taps=False)
    leaf = len(bare.parents)
    expected = {bare.link(node) for node in bare.path(leaf) if node in bare.losses}
    found = {one.link for one in localise(stretches(way_to(bare, leaf)))}
    assert found <= expected
    assert len(bare.losses) > 1 or found == expected


def test_readings_at_other_times_are_no_loss() -> None:
    early, late = Count(800, 1000.0, 2.0), Count(790, 1000.4, 2.0)
    assert judge(Stretch("a -> b", "on the wire", early, late)) is None
    assert tolerance(early, late) > 80
    longer = Count(1200, 1000.0, 3.0)
    assert judge(Stretch("a -> b", "on the wire", longer, Count(800, 1000.0, 2.0))) is None
    lost = judge(Stretch("a -> b", "on the wire", longer, Count(600, 1000.0, 2.0)))
    assert lost is not None
    assert (lost.packets, lost.of, lost.share) == (200, 800, 0.25)
    assert judge(Stretch("a -> b", "", Count(800, 0.0, 0.0), Count(0, 0.0, 0.0))) is None


def legs(meets: tuple[str, ...] = ()) -> list[NodeReading]:
    """source - r1 - r2 by both legs, and r2 gives it out."""
    names = [FlowName("iptv", leg, "10.1.0.10", f"232.1.1.{n}") for n, leg in enumerate("ab", start=1)]
    nodes: list[NodeReading] = []
    for one in zip(*(Tree([0, 1], flow=name).readings() for name in names), strict=True):
        flows = tuple(replace(reading.flows[0], meets=reading.appliance in meets) for reading in one)
        nodes.append(replace(one[0], flows=flows))
    given_out = FlowName("iptv", "", "10.20.2.1", "232.2.2.2", "output")
    sent = FlowReading(given_out, passed=(Passed("lan", "out", 800),))
    pop = replace(nodes[2], flows=(*nodes[2].flows, sent))
    arrived = FlowReading(given_out, passed=(Passed("eth1", "in", 700),))
    receiver = NodeReading("tv", {"eth1": ("10.20.2.50/24",)}, (arrived,), 1000.0, SECONDS)
    return [*nodes[:2], pop, receiver]


def test_both_legs_and_the_output_stage() -> None:
    ways = Walk(legs(("r2",))).ways("tv")
    assert [(way.flow.role, way.flow.leg) for way in ways] == [("output", ""), ("tree", "a"), ("tree", "b")]
    assert [hop.appliance for hop in ways[0].hops] == ["tv", "r2"]
    (vanished,) = localise(stretches(ways[0]))
    assert (vanished.link, vanished.part, vanished.packets) == ("r2:lan -> tv:eth1", "on the wire", 100)
    for way in ways[1:]:
        assert [(hop.appliance, hop.shared) for hop in way.hops] == [("r2", False), ("r1", True), ("source", False)]
    by_address = Walk(legs()[:3]).ways("10.20.2.77")
    assert [hop.appliance for hop in by_address[0].hops] == ["r2"]


def test_a_native_receiver_and_one_that_asked_for_nothing() -> None:
    nodes = Tree([0, 1]).readings()
    tv = NodeReading("tv", {"eth1": ("10.20.2.50/24",)}, (FlowReading(FLOW, passed=(Passed("eth1", "in", 800),)),),
                     1000.0, SECONDS)  # fmt: skip
    (way,) = Walk([*nodes, tv]).ways("tv")
    assert [hop.appliance for hop in way.hops] == ["tv", "r2", "r1", "source"]
    assert [hop.asks for hop in way.hops] == ["", "r1", "source", ""]
    assert localise(stretches(way)) == ()
    other = replace(tv, addresses={"eth1": ("10.20.1.50/24",)})
    (way,) = Walk([*nodes, other]).ways("tv")
    assert "r1 does not send" in way.problem
    with pytest.raises(NotFoundError, match="nothing of this channel"):
        Walk(nodes).ways("192.0.2.9")
    with pytest.raises(NotFoundError, match="no such appliance"):
        Walk(nodes).ways("tv9")


def test_ways_that_end_before_the_source() -> None:
    nodes = {node.appliance: node for node in Tree([0, 1, 2]).readings()}
    (way,) = Walk([nodes["source"], nodes["r3"], nodes["r1"]]).ways("r3")
    assert way.problem == "10.9.3.0, whom r3 asks for it, has not answered"
    pruned = nodes["r2"].flows[0].route
    assert pruned is not None
    silent = replace(nodes["r2"], flows=(replace(nodes["r2"].flows[0], route=replace(pruned, outputs=())),))
    (way,) = Walk([*(nodes[n] for n in ("source", "r1", "r3")), silent]).ways("r3")
    assert way.problem == f"r2 does not send {FLOW} out of down3"
    routeless = replace(nodes["r2"], flows=(FlowReading(FLOW),))
    (way,) = Walk([*(nodes[n] for n in ("source", "r1", "r3")), routeless]).ways("r3")
    assert way.problem == f"r2 has no route for {FLOW}"


def test_a_router_that_cannot_tell_whom_it_asks() -> None:
    nodes = []
    for node in Tree([0, 1, 2]).readings():
        (flow,) = node.flows
        route = None if flow.route is None else replace(flow.route, neighbour=None)
        nodes.append(replace(node, flows=(replace(flow, route=route),)))
    (way,) = Walk(nodes).ways("r3")
    assert [hop.appliance for hop in way.hops] == ["r3", "r2", "r1", "source"]


def test_what_daemon_and_kernel_print() -> None:
    entry = {"source": "10.61.1.10", "group": "232.61.1.1", "rpfInterface": "eth1", "rpfAddress": "0.0.0.0"}
    told = {"nexthopLookups": 2, "232.61.1.1": {"10.61.1.10": entry, "x": {"source": "1.1.1.1"}, "y": 3}}
    assert parse_rpf(told) == {("10.61.1.10", "232.61.1.1"): ("eth1", "")}
    text = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n"
        "  eth1:  900 9 1 2 0 0 0 0 800 8 3 4 0 0 0 0\n    lo: x\n"
    )
    assert parse_net_dev(text) == {"eth1": 10}


def test_a_reading_of_nothing() -> None:
    for data in ({}, None, [], {"appliance": "x", "addresses": {"eth1": ["x"]}}):
        with pytest.raises(IntegrityError):
            reading_of(data)
