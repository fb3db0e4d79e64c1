"""Planned paths as sections: entries, reverse paths and pins of routers, stages of sources, outputs of PoPs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from headend.multicast.documents import (
    Feed,
    Flow,
    MonitorSection,
    Output,
    OutputMode,
    OutputSection,
    PinnedRoute,
    ReversePath,
    SourceSection,
    SourceStage,
    TreeEntry,
    TreeSection,
    Watch,
)
from headend.multicast.planning.facts import OUTPUT_INTERFACE, TAP, output_fact
from headend.multicast.planning.planned import Planned, PlannedStream, PlannedWay
from headend.multicast.planning.spt import Edge, Face, Topology
from headend.multicast.trusted import trusted
from nf.documents.model import DocumentModel

_MODES: Final = {"none": OutputMode.SINGLE, "hot-hot": OutputMode.MERGE, "switch": OutputMode.SWITCH}
_LEGS: Final = {None: 0, "a": 1, "b": 2}


@dataclass(slots=True)
class Sections:
    """IPv4 paths only: nothing programs IPv6."""

    plan: Planned
    entries: dict[str, list[TreeEntry]] = field(default_factory=lambda: defaultdict(list))
    stages: dict[str, list[SourceStage]] = field(default_factory=lambda: defaultdict(list))
    outputs: dict[str, list[Output]] = field(default_factory=lambda: defaultdict(list))
    watches: dict[str, list[Watch]] = field(default_factory=lambda: defaultdict(list))
    reverse: dict[str, dict[IPv4Address, IPv4Address]] = field(default_factory=lambda: defaultdict(dict))
    _lan_addresses: dict[str, tuple[IPv4Address, ...]] = field(default_factory=dict)
    _told: set[tuple[object, int]] = field(default_factory=set)
    _merging: dict[tuple[tuple[str, ...], tuple[str, ...]], frozenset[str]] = field(default_factory=dict)

    def add(self, planned: PlannedWay, output_pops: frozenset[str], monitor_pops: frozenset[str]) -> None:
        self._add_stages(planned)
        meets = self._meets(planned)
        for one in planned.streams:
            pins = dict(self._pins(planned, one))
            self._add_entries(planned, one, meets, pins)
            if one.stream.leg is not None:
                self._add_reverse_paths(planned, one)
        watches = [_watch(planned, one) for one in planned.streams]
        for pop in planned.pops:
            if pop in monitor_pops:
                self.watches[pop] += watches
        self._add_outputs(planned, output_pops)

    def _add_stages(self, planned: PlannedWay) -> None:
        way, streams = planned.way, [one.stream for one in planned.streams]
        twice = way.path.protection == "hot-hot"
        for stream in streams[:1] if twice else streams:
            other = streams[1] if twice else None
            self.stages[stream.appliance].append(
                SourceStage(
                    channel=way.channel.id,
                    path=way.path.id,
                    leg=None if twice else stream.leg,
                    contribution_port=stream.contribution.port,
                    source=stream.source,
                    group=stream.group,
                    port=stream.port,
                    rate_bps=way.path.rate_bps,
                    dscp=way.path.dscp,
                    encapsulation=stream.encapsulation,
                    second=None if other is None else Flow(source=other.source, group=other.group, port=other.port),
                    provides=tuple(one.fact for one in (streams if twice else [stream])),
                )
            )

    def _meets(self, planned: PlannedWay) -> frozenset[str]:
        """Where the plan lets both legs meet: at PoPs that merge them, and at routers that both have to pass."""
        if len(planned.streams) == 1:
            return frozenset()
        key = (planned.links, planned.pops)
        if key not in self._merging:
            cuts = self.plan.forest.pair(*planned.links).cuts
            self._merging[key] = frozenset(planned.pops).union(*(cuts.get(pop, ()) for pop in planned.pops))
        return self._merging[key]

    def _add_entries(
        self, planned: PlannedWay, one: PlannedStream, meets: frozenset[str], pins: Mapping[str, PinnedRoute]
    ) -> None:
        way, stream = planned.way, one.stream
        anywhere = stream.fact_at("")
        facts = {router: anywhere + router for router, _ in one.reach.routers}
        from_source = (stream.fact,)
        for router, senders in one.reach.routers:
            if router in self.plan.topology.gateways:  # nothing crosses it: its gateway has the facts
                continue
            self.entries[router].append(
                trusted(
                    TreeEntry,
                    channel=way.channel.id,
                    path=way.path.id,
                    source=stream.source,
                    group=stream.group,
                    port=stream.port,
                    leg=stream.leg,
                    meets=router in meets,
                    pinned=pins.get(router),
                    requires=tuple(facts[sender] for sender in senders) or from_source,
                    provides=(facts[router],),
                )
            )

    def _add_reverse_paths(self, planned: PlannedWay, one: PlannedStream) -> None:
        """Where OSPF would not choose the leg's upstream by itself, or not that one alone."""
        stream, topology = one.stream, self.plan.topology
        if (stream.source, id(one.reach)) in self._told:
            return
        self._told.add((stream.source, id(one.reach)))
        tree = self.plan.forest.tree(stream.leg, planned.links)
        chosen = self.plan.forest.shortest(stream.face.link).upstream
        for router, _ in one.reach.routers:
            for edge in tree.upstream[router]:
                neighbour = address_on(topology, edge)
                if chosen.get(router) != (edge,) and neighbour is not None and isinstance(stream.source, IPv4Address):
                    self.reverse[router][stream.source] = neighbour

    def _pins(self, planned: PlannedWay, one: PlannedStream) -> Iterator[tuple[str, PinnedRoute]]:
        """Along the tree to the pinned sites: every router's interfaces towards them; at a PoP, its receivers'."""
        pops = self.plan.pops_of(planned.way.path.pinned)
        if not pops:
            return
        tree = self.plan.forest.tree(one.stream.leg, planned.links)
        _, edges = tree.towards(pops)
        outputs: dict[str, set[str]] = defaultdict(set)
        for edge in edges:
            face = self.plan.topology.face_on(edge.sender, edge.link)
            if face is not None:
                outputs[edge.sender].add(face.name)
        for pop in pops:
            given_out = planned.output is not None
            outputs[pop].update([OUTPUT_INTERFACE] if given_out else [face.name for face in self.plan.lans(pop)])
        for router, names in outputs.items():
            if names:
                yield router, PinnedRoute(outputs=tuple(sorted(names)))

    def _add_outputs(self, planned: PlannedWay, output_pops: frozenset[str]) -> None:
        if planned.output is None:
            return
        way, (group, port) = planned.way, planned.output
        anywhere = [one.stream.fact_at("") for one in planned.streams]
        given_out = output_fact(group, "")
        feeds = tuple(_feed(one, ()) for one in planned.streams)
        for pop in planned.pops:
            if pop not in output_pops:
                continue
            self.outputs[pop].append(
                trusted(
                    Output,
                    channel=way.channel.id,
                    path=way.path.id,
                    mode=_MODES[way.path.protection],
                    feeds=feeds if way.path.protected else (self._single_feed(planned, pop),),
                    addresses=self._addresses(pop),
                    group=group,
                    port=port,
                    rate_bps=way.path.rate_bps,
                    dscp=way.path.dscp,
                    requires=tuple(fact + pop for fact in anywhere),
                    provides=(given_out + pop,),
                )
            )

    def _single_feed(self, planned: PlannedWay, pop: str) -> Feed:
        one = planned.streams[0]
        edges = self.plan.forest.alternates(pop, one.stream.face.link)
        found = (address_on(self.plan.topology, edge) for edge in edges)
        return _feed(one, tuple(address for address in found if address is not None))

    def _addresses(self, pop: str) -> tuple[IPv4Address, ...]:
        if pop not in self._lan_addresses:
            self._lan_addresses[pop] = tuple(sorted(face.address.ip for face in self.plan.lans(pop)))
        return self._lan_addresses[pop]

    # -- whole sections ------------------------------------------------------------------------------------------------

    def tree(self, router: str) -> TreeSection:
        entries = sorted(self.entries[router], key=lambda entry: (entry.channel, entry.path, _LEGS[entry.leg]))
        return trusted(TreeSection, entries=tuple(entries))

    def source(self, appliance: str) -> SourceSection:
        stages = sorted(self.stages[appliance], key=lambda stage: (stage.channel, stage.path, _LEGS[stage.leg]))
        return SourceSection(stages=tuple(stages))

    def output(self, pop: str) -> OutputSection:
        outputs = sorted(self.outputs[pop], key=lambda output: (output.channel, output.path))
        return trusted(OutputSection, tap=TAP, outputs=tuple(outputs))

    def monitor(self, pop: str) -> MonitorSection:
        flows = sorted(self.watches[pop], key=lambda watch: (watch.channel, watch.path, _LEGS[watch.leg]))
        return trusted(MonitorSection, interfaces=_uplinks(self.plan.topology, pop), flows=tuple(flows))

    def reverse_paths(self, router: str) -> tuple[ReversePath, ...]:
        found = self.reverse.get(router, {})
        return tuple(ReversePath(source=source, neighbour=found[source]) for source in sorted(found))


def address_on(topology: Topology, edge: Edge) -> IPv4Address | None:
    """The sender's own address on the link."""
    face: Face | None = topology.face_on(edge.sender, edge.link)
    return face.address.ip if face is not None else None


def _uplinks(topology: Topology, pop: str) -> tuple[str, ...]:
    if pop in topology.leaves:
        return (topology.leaves[pop].uplink,)
    return tuple(face.name for face in topology.faces[pop] if face.link in topology.adjacencies)


def _feed(one: PlannedStream, alternates: tuple[IPv4Address, ...]) -> Feed:
    stream = one.stream
    return Feed(
        source=stream.source,
        group=stream.group,
        port=stream.port,
        encapsulation=stream.encapsulation,
        alternates=alternates,
    )


def _watch(planned: PlannedWay, one: PlannedStream) -> Watch:
    stream = one.stream
    return Watch(
        channel=planned.way.channel.id,
        path=planned.way.path.id,
        leg=stream.leg,
        source=stream.source,
        group=stream.group,
        port=stream.port,
        encapsulation=stream.encapsulation,
        rate_bps=planned.way.path.rate_bps,
    )


def with_reverse_paths(section: DocumentModel, paths: Sequence[ReversePath]) -> DocumentModel:
    return section.model_copy(update={"reverse_paths": tuple(paths)}) if paths else section
