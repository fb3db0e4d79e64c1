"""The way of a flow from a receiver back to its source, by what the appliances read, and its stretches. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from itertools import pairwise

from headend.multicast.trace.localise import Count, Stretch
from headend.multicast.trace.reading import FlowName, FlowReading, NodeReading
from nf.contracts.json import JsonObject
from nf.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Hop:
    """One appliance that a flow passes. `arrived`, `forwarded`, `sent`: packets within the interval at the input, by
    the router's own count, and at the output; None where nothing counts there. `asks`: the next one by reverse path,
    as people call it. `shared`: the other leg passes it too, and may not."""

    appliance: str
    input: str = ""
    output: str = ""
    asks: str = ""
    arrived: Count | None = None
    forwarded: Count | None = None
    sent: Count | None = None
    wrong_if: int = 0
    drops: int = 0
    shared: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """`hops`: from the receiver's end to the source's. `problem`: why it ends before the source; "" if it does not."""

    flow: FlowName
    hops: tuple[Hop, ...]
    problem: str = ""


class Walk:
    """Raises NotFoundError from `ways` when the receiver is unknown or nothing is carried for it."""

    def __init__(self, readings: Sequence[NodeReading]) -> None:
        self._nodes: Mapping[str, NodeReading] = {reading.appliance: reading for reading in readings}

    def flows(self, path: str = "") -> tuple[FlowName, ...]:
        """Every flow that an appliance knows, each once; of one path where it is given."""
        found = {one.flow for node in self._nodes.values() for one in node.flows}
        return tuple(sorted(flow for flow in found if path in ("", flow.path)))

    def ways(self, receiver: str, path: str = "") -> tuple[Way, ...]:
        """`receiver`: an appliance, or an address on a PoP's LAN. First what it gets from its PoP, then the feeds."""
        node = self._nodes.get(receiver)
        if node is None and not _is_address(receiver):
            known = ", ".join(sorted(self._nodes)) or "none"
            remedy = f"give an address on a PoP's LAN, or one that answered: {known}"
            raise NotFoundError("no such appliance has answered, nor is it an address", where=receiver, remedy=remedy)
        addresses = [p.partition("/")[0] for found in node.addresses.values() for p in found] if node else [receiver]
        ways: list[Way] = []
        flows = self.flows(path)
        for flow in (flow for flow in flows if flow.role == "output"):
            giver = self._owner(flow.source)
            place = _towards(giver, addresses) if giver is not None else None
            if giver is not None and place is not None and giver.interface_of(flow.source) == place[0]:
                hops = [self._end(node, place[1], flow), self._start(giver, flow, place[0])]
                ways.append(Way(flow, tuple(hop for hop in hops if hop is not None)))
                feeds = [feed for feed in flows if feed.path == flow.path and feed.role == "tree"]
                ways += [self._feed(giver, feed) for feed in feeds if giver.of(feed) is not None]
        served = {way.flow.path for way in ways}
        for flow in (flow for flow in flows if flow.role == "tree" and flow.path not in served):
            way = self._native(node, addresses, flow)
            if way is not None:
                ways.append(way)
        if not ways:
            known = ", ".join(sorted(self._nodes)) or "none answered"
            raise NotFoundError("nothing of this channel goes there", where=receiver, remedy=f"appliances: {known}")
        return tuple(_mark_shared(ways, self._nodes))

    def _native(self, node: NodeReading | None, addresses: Sequence[str], flow: FlowName) -> Way | None:
        """A tree's flow that the receiver joins itself; or, of a router, what it carries."""
        own = node.of(flow) if node is not None else None
        if node is not None and own is not None and own.route is not None:
            return self._feed(node, flow)
        found: list[tuple[int, NodeReading, str, str]] = []
        near: NodeReading | None = None
        for router in self._nodes.values():
            reading, place = router.of(flow), _towards(router, addresses)
            if reading is None or place is None or router is node:
                continue
            near = router
            if reading.route is not None and place[0] in reading.route.outputs:
                found.append((reading.passing(place[0], "out") or 0, router, *place))
        if not found:
            if near is None:
                return None
            return Way(flow, (), f"{near.appliance} does not send {flow} there: no receiver there asks for it")
        _, router, output, address = max(found, key=lambda one: (one[0], one[1].appliance))
        end = self._end(node, address, flow)
        hops, problem = self._up(router, flow, output)
        return Way(flow, (*([end] if end is not None else []), *hops), problem)

    def _feed(self, router: NodeReading, flow: FlowName) -> Way:
        reading = router.of(flow)
        if reading is None or reading.route is None or not reading.route.outputs:
            return Way(flow, (), f"{router.appliance} has no route for {flow} with an output: nobody there asks for it")
        hops, problem = self._up(router, flow, reading.route.outputs[0])
        return Way(flow, tuple(hops), problem)

    def _up(self, router: NodeReading, flow: FlowName, output: str) -> tuple[list[Hop], str]:
        """From `router`, which sends the flow out of `output`, to the source; and why it ends before."""
        hops: list[Hop] = []
        while True:
            if router.appliance in {hop.appliance for hop in hops}:
                return hops, f"the way comes back to {router.appliance}: reverse paths are in a circle"
            reading = router.of(flow)
            if reading is None or reading.route is None:
                start = self._start(router, flow, output)
                if start is not None:
                    return [*hops, start], ""
                return hops, f"{router.appliance} has no route for {flow}"
            route = reading.route
            if output not in route.outputs:
                return hops, f"{router.appliance} does not send {flow} out of {output}"
            following, place = self._next(router, flow)
            asks = following.appliance if following is not None else route.neighbour or flow.source
            hops.append(_hop(router, reading, output, asks))
            if following is None or place is None:
                return hops, f"{asks}, whom {router.appliance} asks for it, has not answered"
            router, output = following, place

    def _next(self, router: NodeReading, flow: FlowName) -> tuple[NodeReading | None, str | None]:
        """The next one up, and the interface by which it sends."""
        reading = router.of(flow)
        route = reading.route if reading is not None else None
        if route is None:
            return None, None
        attached = route.neighbour == "" or router.interface_towards(flow.source) == route.input
        if route.neighbour or attached:
            address = flow.source if attached else str(route.neighbour)
            owner = self._owner(address)
            return owner, owner.interface_of(address) if owner is not None else None
        # Nobody can tell whom it asked: who sends it into the subnet that it comes from?
        own = [prefix.partition("/")[0] for prefix in router.addresses.get(route.input, ())]
        for other in self._nodes.values():
            place = _towards(other, own) if other is not router else None
            sent = other.of(flow)
            if place is not None and sent is not None and sent.route is not None and place[0] in sent.route.outputs:
                return other, place[0]
        return None, None

    def _owner(self, address: str) -> NodeReading | None:
        return next((node for node in self._nodes.values() if node.interface_of(address) is not None), None)

    def _start(self, node: NodeReading, flow: FlowName, output: str) -> Hop | None:
        """The hop at which the flow begins; None when `node` is not its source."""
        if node.interface_of(flow.source) is None:
            return None
        reading = node.of(flow)
        sent = reading.passing(output, "out") if reading is not None else None
        return Hop(node.appliance, output=output, sent=_count(node, sent), drops=node.drops.get(output, 0))

    def _end(self, node: NodeReading | None, address: str, flow: FlowName) -> Hop | None:
        """The receiver, where it is an appliance."""
        interface = node.interface_of(address) if node is not None else None
        if node is None or interface is None:
            return None
        reading = node.of(flow)
        arrived = reading.passing(interface, "in") if reading is not None else None
        return Hop(node.appliance, input=interface, arrived=_count(node, arrived), drops=node.drops.get(interface, 0))


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _towards(node: NodeReading, addresses: Sequence[str]) -> tuple[str, str] | None:
    """(interface, address) of the first of `addresses` that is in one of the subnets of `node` and is not its own."""
    for address in addresses:
        if node.interface_of(address) is None:
            interface = node.interface_towards(address)
            if interface is not None:
                return interface, address
    return None


def _count(node: NodeReading, packets: int | None) -> Count | None:
    return None if packets is None or not node.seconds else Count(packets, node.began_at, node.seconds)


def _hop(node: NodeReading, reading: FlowReading, output: str, asks: str) -> Hop:
    route = reading.route
    if route is None:
        return Hop(node.appliance)
    remarks = []
    if route.rpf_interface and route.rpf_interface != route.input:
        remarks.append(f"PIM asks on {route.rpf_interface}, the kernel takes it on {route.input}")
    return Hop(
        node.appliance,
        route.input,
        output,
        asks,
        arrived=_count(node, reading.passing(route.input, "in")),
        forwarded=_count(node, route.forwarded_in_interval),
        sent=_count(node, reading.passing(output, "out")),
        wrong_if=route.wrong_if_in_interval,
        drops=node.drops.get(route.input, 0) + node.drops.get(output, 0),
        remarks=tuple(remarks),
    )


def _mark_shared(ways: Sequence[Way], nodes: Mapping[str, NodeReading]) -> Iterator[Way]:
    """Routers of both legs of a path, but for where they may meet. The source sends both."""
    for way in ways:
        others = [o for o in ways if o.flow.path == way.flow.path and {o.flow.leg, way.flow.leg} == {"a", "b"}]
        passed = {hop.appliance for other in others for hop in other.hops if hop.forwarded is not None or hop.input}

        def shared(hop: Hop, flow: FlowName = way.flow, passed: set[str] = passed) -> bool:
            reading = nodes[hop.appliance].of(flow)
            return bool(hop.input) and hop.appliance in passed and not (reading is not None and reading.meets)

        yield replace(way, hops=tuple(replace(hop, shared=shared(hop)) for hop in way.hops))


def stretches(way: Way) -> Iterator[Stretch]:
    """Between neighbouring counters, from the receiver's end on."""
    for below, above in pairwise(way.hops):
        link = f"{above.appliance}:{above.output} -> {below.appliance}:{below.input}"
        counts = (
            (above.forwarded, f"leaving {above.appliance}"),
            (above.sent, "on the wire"),
            (below.arrived, f"entering {below.appliance}"),
            (below.forwarded, ""),
        )
        there = [(place, count, part) for place, (count, part) in enumerate(counts) if count is not None]
        for (place, before, part), (other, behind, _) in pairwise(there):
            yield Stretch(link, part if other == place + 1 else "between the two", before, behind)


def way_json(way: Way) -> JsonObject:
    flow = way.flow
    return {
        "path": flow.path,
        "leg": flow.leg,
        "role": flow.role,
        "source": flow.source,
        "group": flow.group,
        "problem": way.problem,
        "hops": [
            {
                "appliance": hop.appliance,
                "input": hop.input,
                "output": hop.output,
                "asks": hop.asks,
                "arrived": hop.arrived.packets if hop.arrived is not None else None,
                "forwarded": hop.forwarded.packets if hop.forwarded is not None else None,
                "sent": hop.sent.packets if hop.sent is not None else None,
                "wrong_if": hop.wrong_if,
                "drops": hop.drops,
                "shared": hop.shared,
                "remarks": list(hop.remarks),
            }
            for hop in way.hops
        ],
    }
