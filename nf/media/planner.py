"""The CDN's share of a compilation: packager, bucket, shields and edges, the load between them, probes.

An edge draws from one shield at a time, and which one is not known beforehand: the rate of a path is planned once for
each edge on every link that any of its shields may send over, and once for each shield towards the origin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nf.contracts.planner import Contribution, FleetOperation, Hop, LinkLoad
from nf.documents.appliance import ProbeTarget
from nf.documents.fleet import Fleet, Role
from nf.documents.handovers import Handover, handovers
from nf.documents.lineup import LineUp, Source
from nf.documents.model import DocumentModel
from nf.errors import Problem
from nf.media.documents import (
    HLS_MANIFEST,
    Bucket,
    CdnPath,
    EdgeChannel,
    EdgeSection,
    HlsProbeArguments,
    IngestSection,
    IntakeChannel,
    IntakeOutput,
    IntakeSection,
    OmeSection,
    OmeStream,
    OriginSection,
    PackagerChannel,
    PackagerSection,
    Pathways,
    ShieldChannel,
    ShieldSection,
    pathway_host,
)
from nf.media.entrances import add_entrances, entrance_problems
from nf.media.ingest.planner import FAILBACK, INGEST, ingests, source_problems
from nf.media.network import Network
from nf.media.placement import EDGE, ORIGIN, SHIELD, Caches, find_caches
from nf.media.purge.message import EVERY_EDGE, PURGE, PURGE_RULES
from nf.media.routes import Routes
from nf.media.ways import (
    Way,
    bucket_fact,
    cdn_ways,
    edge_fact,
    ladder_problems,
    packaged_fact,
    shared_problems,
    shield_fact,
)

E = TypeVar("E", Bucket, PackagerChannel, ShieldChannel, EdgeChannel, IntakeChannel)

PROBE_BUDGET = "30s"
"""From the first packet of a contribution to a manifest that stands at the edge: several segments at least."""


class MediaPlanner:
    """Planner of the path type `cdn`."""

    @property
    def name(self) -> str:
        return "media"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        network = Network(fleet)
        caches = find_caches(fleet, network)
        takers: dict[tuple[str, str], list[Handover]] = defaultdict(list)
        for handover in handovers(lineup, fleet):
            takers[handover.channel, handover.giver].append(handover)
        sites = {site.id for site in fleet.spec.sites}
        problems = list(caches.problems)
        plan = _Plan(fleet, network, caches, Routes(network, caches, sites, problems), takers, problems)
        ways = list(cdn_ways(lineup))
        plan.problems += [
            *shared_problems(lineup, ways),
            *ladder_problems(ways),
            *entrance_problems(fleet),
            *source_problems(lineup, [w.path.source for w in ways]),
        ]
        plan.received = ingests(lineup, network.appliances)
        for way in ways:
            plan.add(way)
        return plan.contribution()


@dataclass(slots=True)
class _Plan:
    fleet: Fleet
    network: Network
    caches: Caches
    routes: Routes
    takers: Mapping[tuple[str, str], list[Handover]]
    problems: list[Problem]
    received: Mapping[str, IngestSection] = field(default_factory=dict)
    engines: dict[str, OmeSection] = field(default_factory=dict)
    packaged: dict[str, list[PackagerChannel]] = field(default_factory=lambda: defaultdict(list))
    buckets: dict[tuple[str, str], list[Bucket]] = field(default_factory=lambda: defaultdict(list))
    shielded: dict[str, list[ShieldChannel]] = field(default_factory=lambda: defaultdict(list))
    edged: dict[str, list[EdgeChannel]] = field(default_factory=lambda: defaultdict(list))
    taken_in: dict[str, list[IntakeChannel]] = field(default_factory=lambda: defaultdict(list))
    probes: dict[str, list[ProbeTarget]] = field(default_factory=lambda: defaultdict(list))
    loads: list[LinkLoad] = field(default_factory=list)
    hops: list[Hop] = field(default_factory=list)

    def add(self, way: Way) -> None:
        """Plan one path; a path with a problem of its own adds the problem only."""
        edges = self.routes.edges(way)
        packager = self.routes.packager(way)
        loads = self.routes.loads(way, packager, edges) if edges and packager else None
        if packager is None or edges is None or loads is None or way.source is None:
            return
        self._add_origin(way, way.source, packager)
        self._add_caches(way, edges)
        self._add_receivers(way, edges)
        self._add_intakes(way, edges)
        for link, sender in loads:
            self.loads.append(LinkLoad(link, sender, way.path.rate_bps, way.channel.id, way.path.id))

    def contribution(self) -> Contribution:
        """Packagers and caches stand also without a channel: they are what the channels are put upon."""
        sections: dict[str, dict[str, DocumentModel]] = defaultdict(dict)
        for appliance, section in sorted(self.received.items()):
            sections[appliance][INGEST] = section
        for appliance in sorted(self.caches.packagers & self.network.appliances.keys()):
            sections[appliance]["packager"] = PackagerSection(channels=_ordered(self.packaged[appliance]))
        for (appliance, endpoint), buckets in sorted(self.buckets.items()):
            sections[appliance]["s3-origin"] = OriginSection(endpoint=endpoint, buckets=_ordered(buckets))
        for name, shield in self.caches.shields.items():
            sections[name]["cdn-shield"] = ShieldSection(
                listen=shield.address, requires=shield.requires, channels=_ordered(self.shielded[name])
            )
        for name, taken_in in self.taken_in.items():
            sections[name]["stream-intake"] = IntakeSection(channels=_ordered(taken_in))
        if self.caches.parents:
            for name, edge in self.caches.edges.items():
                has = self.caches.equipment.of(name)
                sections[name]["cdn-edge"] = EdgeSection(
                    listen=edge.listen,
                    listen6=edge.listen6,
                    tls=has.tls,
                    congestion_control=has.congestion_control,
                    healing=has.healing,
                    requires=edge.requires,
                    shields=self.caches.parents,
                    channels=_ordered(self.edged[name]),
                )
        add_entrances(self.fleet, sections)
        for appliance, ome in sorted(self.engines.items()):
            sections[appliance]["ome"] = ome
        return Contribution(
            sections=sections,
            probes={name: tuple(sorted(found, key=lambda t: t.id)) for name, found in self.probes.items()},
            loads=tuple(sorted(self.loads, key=lambda load: (load.link, load.sender, load.channel, load.path))),
            hops=tuple(self.hops),
            problems=tuple(dict.fromkeys(self.problems)),
            operations=(*self._purges(), *self._failbacks()),
        )

    def _purges(self) -> tuple[FleetOperation, ...]:
        """Shields first: an edge that is emptied before them fills itself with what they still have."""
        edges = tuple((name, EDGE) for name, entries in sorted(self.edged.items()) if entries)
        channels = sorted({entry.channel for entries in self.edged.values() for entry in entries})
        return tuple(
            FleetOperation(
                PURGE,
                channel,
                (_serving(self.shielded, channel, SHIELD), _serving(self.edged, channel, EDGE)),
                stream=min(
                    entry.host for entries in self.edged.values() for entry in entries if entry.channel == channel
                ),
            )
            for channel in channels
        ) + ((FleetOperation(PURGE_RULES, EVERY_EDGE, (edges,)),) if edges else ())

    def _failbacks(self) -> tuple[FleetOperation, ...]:
        """One for each contribution with a backup, done where it comes in."""
        return tuple(
            FleetOperation(FAILBACK, entry.source, (((appliance, INGEST),),))
            for appliance, section in sorted(self.received.items())
            for entry in section.sources
            if entry.backup_port is not None
        )

    # -- what each appliance gets -----------------------------------------------------------------------------------

    def _add_origin(self, way: Way, source: Source, packager: str) -> None:
        origin = way.path.origin
        there = bucket_fact(origin.endpoint, origin.bucket)
        administrator = self.caches.origin or packager
        self.buckets[administrator, origin.endpoint].append(
            Bucket(
                name=origin.bucket,
                channel=way.channel.id,
                path=way.path.id,
                credentials=origin.credentials,
                provides=(there,),
            )
        )
        self.packaged[packager].append(
            PackagerChannel(
                channel=way.channel.id,
                path=way.path.id,
                contribution_port=source.port,
                rate_bps=way.path.rate_bps,
                endpoint=origin.endpoint,
                bucket=origin.bucket,
                credentials=origin.credentials,
                segment_ms=way.path.segment_ms,
                window_ms=way.path.window_ms,
                ladder=way.path.ladder,
                cues=way.path.cues,
                steering=_pathways(way.path),
                protection=way.path.protection,
                requires=(there,),
                provides=(packaged_fact(way.channel.id, way.path.id),),
            )
        )
        self._one_endpoint(way, administrator)
        self._add_engine(way, source, packager)
        self._hop(way, 0, packager, "packager")
        self._hop(way, 1, administrator, "origin")

    def _add_engine(self, way: Way, source: Source, packager: str) -> None:
        engine = way.path.engine
        if engine is None:
            return
        stream = OmeStream(
            channel=way.channel.id,
            path=way.path.id,
            app=engine.app,
            pull=engine.pull,
            to=engine.to,
            port=source.arrival or source.port,
            profile=engine.profile,
        )
        known = self.engines.get(packager)
        new = OmeSection(endpoint=engine.endpoint, token=engine.token, vhost=engine.vhost)
        if known is not None and known.model_copy(update={"streams": ()}) != new:
            rule = f"{packager} works with the engine {known.endpoint} already, and one appliance works with one"
            self.problems.append(Problem(rule, "use that engine, its token and its vhost", key=f"{way.key}.engine"))
            return
        streams = (*(known.streams if known else ()), stream)
        self.engines[packager] = new.model_copy(
            update={"streams": tuple(sorted(streams, key=lambda s: (s.channel, s.path)))}
        )

    def _one_endpoint(self, way: Way, administrator: str) -> None:
        others = {endpoint for name, endpoint in self.buckets if name == administrator} - {way.path.origin.endpoint}
        if others:
            self.problems.append(
                Problem(
                    f"{administrator} keeps the buckets of {min(others)} already, and one appliance keeps those of one",
                    f"use that endpoint, or let the other's sources arrive elsewhere ({ORIGIN} in the fleet)",
                    key=f"{way.key}.origin.endpoint",
                    value=way.path.origin.endpoint,
                )
            )

    def _add_caches(self, way: Way, edges: tuple[str, ...]) -> None:
        channel, path, origin = way.channel.id, way.path.id, way.path.origin
        for shield in self.caches.shields:
            self.shielded[shield].append(
                ShieldChannel(
                    channel=channel,
                    path=path,
                    bucket=origin.bucket,
                    endpoint=origin.endpoint,
                    segment_ms=way.path.segment_ms,
                    requires=(bucket_fact(origin.endpoint, origin.bucket),),
                    provides=(shield_fact(channel, path, shield),),
                )
            )
            self._hop(way, 2, shield, "shield")
        for edge in edges:
            self.edged[edge].append(
                EdgeChannel(
                    channel=channel,
                    path=path,
                    host=way.path.host,
                    aliases=self._aliases(way, edge),
                    bucket=origin.bucket,
                    requires=tuple(shield_fact(channel, path, shield) for shield in self.caches.shields),
                    provides=(edge_fact(channel, path, edge),),
                )
            )
            self._hop(way, 3, edge, "edge")

    def _aliases(self, way: Way, edge: str) -> tuple[str, ...]:
        return () if way.path.steering is None else (pathway_host(way.path.host, self.network.appliances[edge].site),)

    def _add_receivers(self, way: Way, edges: tuple[str, ...]) -> None:
        for number, receiver in enumerate(self.fleet.spec.appliances):
            if receiver.role is not Role.PROBE or receiver.site not in way.path.sites:
                continue
            near = [edge for edge in edges if self.network.appliances[edge].site == receiver.site]
            asked = next((i for e in near if (i := self.network.shared_interface(e, {receiver.id})) is not None), None)
            if asked is None:
                rule = f"the probe {receiver.id} is on no link with an edge of its site {receiver.site}"
                key = f"spec.appliances[{number}].interfaces"
                self.problems.append(Problem(rule, "add the link to the fleet", key=key))
                continue
            arguments = HlsProbeArguments(
                url=f"http://{asked.address.ip}/{way.channel.id}/{HLS_MANIFEST}",
                host=way.path.host,
                segment_ms=way.path.segment_ms,
                window_ms=way.path.window_ms,
                rate_bps=way.path.rate_bps,
            )
            target = ProbeTarget.model_validate(
                {
                    "id": f"{way.name}/{receiver.id}",
                    "kind": "hls",
                    "channel": way.channel.id,
                    "path": way.path.id,
                    "arguments": arguments.to_json(),
                    "budget": PROBE_BUDGET,
                }
            )
            self.probes[receiver.id].append(target)
            self._hop(way, 4, receiver.id, "receiver")

    def _add_intakes(self, way: Way, edges: tuple[str, ...]) -> None:
        """Where another path of the channel takes this one as its fallback: the PoP follows it at its own edge, or at
        the nearest, and hands it over."""
        by_appliance: dict[str, list[Handover]] = defaultdict(list)
        for taker in self.takers.get((way.channel.id, way.path.id), ()):
            by_appliance[taker.appliance].append(taker)
        if by_appliance and way.path.protection is not None:
            names = sorted({taker.taker for takers in by_appliance.values() for taker in takers})
            rule = (
                f"{', '.join(names)} falls back to this path, and a PoP has no key to make it a transport stream again"
            )
            remedy = "choose another fallback, or add a path of type cdn without protection for it"
            self.problems.append(Problem(rule, remedy, key=f"{way.key}.protection"))
            return
        for appliance, takers in sorted(by_appliance.items()):
            found = self.routes.nearest_edge(appliance, edges)
            if found is None:
                rule = f"{appliance} reaches no edge of {way.path.id}, which {takers[0].taker} falls back to"
                self.problems.append(Problem(rule, "add the missing link to the fleet", key=f"{way.key}.sites"))
                continue
            edge, carried = found
            for link, sender in sorted(carried):
                self.loads.append(LinkLoad(link, sender, way.path.rate_bps, way.channel.id, way.path.id))
            outputs = [IntakeOutput(taker=one.taker, address=one.address, port=one.port) for one in takers]
            self.taken_in[appliance].append(
                IntakeChannel(
                    channel=way.channel.id,
                    path=way.path.id,
                    url=f"http://{self.caches.edges[edge].listen[0]}/{way.channel.id}/{HLS_MANIFEST}",
                    host=way.path.host,
                    segment_ms=way.path.segment_ms,
                    outputs=tuple(sorted(outputs, key=lambda output: output.taker)),
                    requires=(edge_fact(way.channel.id, way.path.id, edge),),
                )
            )
            self._hop(way, 5, appliance, "intake")

    def _hop(self, way: Way, order: int, appliance: str, point: str) -> None:
        self.hops.append(Hop(way.channel.id, way.path.id, order, appliance, point))


def _pathways(path: CdnPath) -> Pathways | None:
    return None if path.steering is None else Pathways(server=path.steering.server, host=path.host, sites=path.sites)


def _serving(
    served: Mapping[str, Sequence[ShieldChannel | EdgeChannel]], channel: str, driver: str
) -> tuple[tuple[str, str], ...]:
    found = (name for name, entries in served.items() if any(entry.channel == channel for entry in entries))
    return tuple((name, driver) for name in sorted(found))


def _ordered(entries: list[E]) -> tuple[E, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.channel, entry.path)))
