"""The IPTV tree's share of a compilation: underlay, (S, G) entries along the shortest paths, sources, probes.

PIM-SSM (RFC 4607) builds the reverse shortest path from each PoP to the source's subnet. Which of several equal-cost
paths it takes is not known beforehand, so entries and bandwidth are planned on all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from headend.multicast.documents import SourceSection, SourceStage, SsmPath, SsmProbeArguments, TreeEntry, TreeSection
from headend.multicast.spt import Edge, Face, Topology, Tree, shortest_paths
from headend.multicast.underlay import loopback_problems, underlay
from nf.contracts.planner import Contribution, Hop, LinkLoad
from nf.documents.appliance import ProbeTarget
from nf.documents.fleet import Fleet, Role
from nf.documents.lineup import Channel, LineUp, Source
from nf.documents.quantities import format_bitrate
from nf.documents.rules import unique, unknown
from nf.errors import Problem

SOURCE_FUNCTION = "multicast-source"


def source_fact(source: IPv4Address, group: IPv4Address) -> str:
    """Holds while the source stage emits (S, G)."""
    return f"ssm.source={source},{group}"


def tree_fact(source: IPv4Address, group: IPv4Address, router: str) -> str:
    """Holds while `router` lets (S, G) pass."""
    return f"ssm.tree={source},{group}@{router}"


class MulticastPlanner:
    """Planner of the path type `ssm` and of the underlay that it runs on."""

    @property
    def name(self) -> str:
        return "multicast"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        plan = _Plan(fleet, Topology(fleet), _pops_by_site(fleet), frozenset(fleet.placed(SOURCE_FUNCTION)))
        ways = list(_ways(lineup))
        plan.problems += loopback_problems(fleet)
        plan.problems += _group_problems(ways)
        plan.problems += _contribution_problems(ways)
        for way in ways:
            plan.add(way)
        return plan.contribution()


@dataclass(frozen=True, slots=True)
class _Way:
    """One delivery path of type ssm, with where it stands."""

    channel_key: str
    key: str
    channel: Channel
    path: SsmPath
    source: Source | None

    @property
    def name(self) -> str:
        return f"{self.channel.id}/{self.path.id}"


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a set of sites needs from one source, whatever the channel.

    routers     in the order in which the stream passes them, each with the routers it may receive from
    loads       every link direction that may carry the stream
    receivers   probe appliances with the interface they receive on
    """

    routers: tuple[tuple[str, tuple[str, ...]], ...]
    loads: tuple[Edge, ...]
    receivers: tuple[tuple[str, Face], ...]


def _ways(lineup: LineUp) -> Iterator[_Way]:
    sources = {source.id: source for source in lineup.spec.sources}
    for number, channel in enumerate(lineup.spec.channels):
        for index, path in enumerate(channel.delivery):
            if isinstance(path, SsmPath):
                key = f"spec.channels[{number}]"
                yield _Way(key, f"{key}.delivery[{index}]", channel, path, sources.get(channel.source))


def _group_problems(ways: list[_Way]) -> Iterator[Problem]:
    """(S, G) and the Ethernet address (low 23 bits of the group, RFC 1112 section 6.4) are used once in the plan."""
    first: dict[int, _Way] = {}
    for way in ways:
        other = first.setdefault(int(way.path.group) & 0x7FFFFF, way)
        if other is way:
            continue
        rule = f"the group is used by {other.name} already"
        if other.path.group != way.path.group:
            rule = f"the low 23 bits are those of {other.path.group} ({other.name}): both have one Ethernet address"
        yield Problem(rule, "give every path a group of its own", key=f"{way.key}.group", value=str(way.path.group))


def _contribution_problems(ways: list[_Way]) -> Iterator[Problem]:
    known = [way for way in ways if way.source is not None]
    yield from unique(
        "its contribution feeds another path already: {first}",
        "give it a channel with a source of its own, or add its sites to that path",
        ((f"{way.key}.id", way.channel.source, way.path.id) for way in known),
    )
    for way in known:
        if way.source is not None and way.path.rate_bps < way.source.bitrate_bps:
            yield Problem(
                f"less than the {format_bitrate(way.source.bitrate_bps)} that the source {way.source.id} sends",
                "reserve at least the bit rate of the source",
                key=f"{way.key}.rate",
                value=str(format_bitrate(way.path.rate_bps)),
            )


def _pops_by_site(fleet: Fleet) -> dict[str, list[str]]:
    """Every site's PoP routers, sorted; also of a site that has none."""
    pops: dict[str, list[str]] = {site.id: [] for site in fleet.spec.sites}
    for appliance in sorted(fleet.spec.appliances, key=lambda appliance: appliance.id):
        if appliance.role is Role.POP and appliance.site in pops:
            pops[appliance.site].append(appliance.id)
    return pops


@dataclass(slots=True)
class _Plan:
    fleet: Fleet
    topology: Topology
    pops: dict[str, list[str]]
    placed: frozenset[str]
    problems: list[Problem] = field(default_factory=list)
    entries: dict[str, list[TreeEntry]] = field(default_factory=lambda: defaultdict(list))
    stages: dict[str, list[SourceStage]] = field(default_factory=lambda: defaultdict(list))
    probes: dict[str, list[ProbeTarget]] = field(default_factory=lambda: defaultdict(list))
    loads: list[LinkLoad] = field(default_factory=list)
    hops: list[Hop] = field(default_factory=list)
    trees: dict[str, Tree] = field(default_factory=dict)
    reaches: dict[tuple[str, tuple[str, ...]], _Reach] = field(default_factory=dict)

    def add(self, way: _Way) -> None:
        """Plan one path; a path with a problem of its own adds the problem only."""
        sites_stand = self._check_sites(way)
        origin = self._origin(way)
        if origin is None or way.source is None:
            return
        appliance, face = origin
        tree = self._tree(face.link)
        if not self._check_reachable(way, appliance, tree) or not sites_stand:
            return
        reach = self._reach(appliance, face, tree, tuple(sorted(set(way.path.sites))))
        self._add_source(way, way.source, appliance, face)
        self._add_tree(way, face, reach)
        self._add_receivers(way, face, reach)
        for load in reach.loads:
            self.loads.append(LinkLoad(load.link, load.sender, way.path.rate_bps, way.channel.id, way.path.id))

    def contribution(self) -> Contribution:
        """The tree's section stands on every router and the source's on every placed appliance, also when empty:
        their base tables are part of the underlay."""
        sections = underlay(self.topology)
        for router in self.topology.routers:
            entries = sorted(self.entries[router], key=lambda entry: (entry.channel, entry.path))
            sections[router]["multicast-tree"] = TreeSection(entries=tuple(entries))
        for appliance in self.placed:
            if appliance in sections:
                stages = sorted(self.stages[appliance], key=lambda stage: (stage.channel, stage.path))
                sections[appliance]["multicast-source"] = SourceSection(stages=tuple(stages))
        return Contribution(
            sections=sections,
            probes={name: tuple(sorted(found, key=lambda t: t.id)) for name, found in self.probes.items()},
            loads=tuple(sorted(self.loads, key=lambda load: (load.link, load.sender, load.channel, load.path))),
            hops=tuple(self.hops),
            problems=tuple(dict.fromkeys(self.problems)),
        )

    def _check_sites(self, way: _Way) -> bool:
        found = list(
            unique(
                "the site is listed twice: {first}",
                "list it once",
                ((f"{way.key}.sites[{index}]", site, site) for index, site in enumerate(way.path.sites)),
            )
        )
        for index, site in enumerate(way.path.sites):
            key = f"{way.key}.sites[{index}]"
            if site not in self.pops:
                found.append(unknown("site in the fleet", key, site, self.pops))
            elif not self.pops[site]:
                with_pop = ", ".join(name for name in sorted(self.pops) if self.pops[name])
                remedy = f"choose among: {with_pop}" if with_pop else "add an appliance with the role pop to the fleet"
                found.append(Problem("the site has no PoP", remedy, key=key, value=site))
        self.problems += found
        return not found

    def _origin(self, way: _Way) -> tuple[str, Face] | None:
        """The appliance that emits the channel and the interface whose address is S."""
        source = way.source
        if source is None or source.appliance not in self.topology.appliances:
            return None
        key = f"{way.channel_key}.source"
        if source.appliance not in self.placed:
            rule = f"the source arrives at {source.appliance}, which does not have the function {SOURCE_FUNCTION}"
            remedy = f"place {SOURCE_FUNCTION} there in the fleet, or take a source that arrives at one that has it: "
            self.problems.append(
                Problem(rule, remedy + (", ".join(sorted(self.placed)) or "none yet"), key=key, value=source.id)
            )
            return None
        face = self.topology.shared_face(source.appliance, self.topology.routers)
        if face is None:
            rule = f"{source.appliance}, where the source arrives, is on no link with a router"
            self.problems.append(Problem(rule, "add the link to the fleet", key=key, value=source.id))
            return None
        return source.appliance, face

    def _check_reachable(self, way: _Way, appliance: str, tree: Tree) -> bool:
        found = [
            Problem(
                f"{pop} has no path over the fleet's links to {appliance}, where the channel starts",
                "add the missing link to the fleet, or remove the site",
                key=f"{way.key}.sites[{index}]",
                value=site,
            )
            for index, site in enumerate(way.path.sites)
            for pop in self.pops.get(site, ())
            if pop not in tree.distance
        ]
        self.problems += found
        return not found

    def _tree(self, link: str) -> Tree:
        if link not in self.trees:
            self.trees[link] = shortest_paths(self.topology, link)
        return self.trees[link]

    def _reach(self, appliance: str, face: Face, tree: Tree, sites: tuple[str, ...]) -> _Reach:
        if (appliance, sites) not in self.reaches:
            pops = [pop for site in sites for pop in self.pops[site]]
            routers, edges = tree.towards(pops)
            access = {
                Edge(own.link, pop)
                for pop in pops
                for own in self.topology.faces[pop]
                if self.topology.has_role(own.link, Role.PROBE)
            }
            self.reaches[appliance, sites] = _Reach(
                routers=tuple(
                    (router, tuple(sorted({edge.sender for edge in tree.upstream[router]})))
                    for router in sorted(routers, key=lambda router: (tree.distance[router], router))
                ),
                loads=tuple(sorted(edges | access | {Edge(face.link, appliance)}, key=lambda e: (e.link, e.sender))),
                receivers=tuple(self._receivers(sites)),
            )
        return self.reaches[appliance, sites]

    def _receivers(self, sites: tuple[str, ...]) -> Iterator[tuple[str, Face]]:
        for number, appliance in enumerate(self.fleet.spec.appliances):
            if appliance.role is not Role.PROBE or appliance.site not in sites:
                continue
            face = self.topology.shared_face(appliance.id, self.pops[appliance.site])
            if face is None:
                rule = f"the probe {appliance.id} is on no link with a PoP of its site {appliance.site}"
                self.problems.append(
                    Problem(rule, "add the link to the fleet", key=f"spec.appliances[{number}].interfaces")
                )
            else:
                yield appliance.id, face

    def _add_source(self, way: _Way, source: Source, appliance: str, face: Face) -> None:
        self.stages[appliance].append(
            SourceStage(
                channel=way.channel.id,
                path=way.path.id,
                contribution_port=source.port,
                source=face.address.ip,
                group=way.path.group,
                port=way.path.port,
                rate_bps=way.path.rate_bps,
                provides=(source_fact(face.address.ip, way.path.group),),
            )
        )
        self._hop(way, 0, appliance, "contribution")
        self._hop(way, 1, appliance, "source")

    def _add_tree(self, way: _Way, face: Face, reach: _Reach) -> None:
        s, g = face.address.ip, way.path.group
        facts = {router: tree_fact(s, g, router) for router, _ in reach.routers}
        from_source = (source_fact(s, g),)
        for order, (router, senders) in enumerate(reach.routers, start=2):
            self.entries[router].append(
                TreeEntry(
                    channel=way.channel.id,
                    path=way.path.id,
                    source=s,
                    group=g,
                    port=way.path.port,
                    requires=tuple(facts[sender] for sender in senders) or from_source,
                    provides=(facts[router],),
                )
            )
            self._hop(way, order, router, "tree")

    def _add_receivers(self, way: _Way, face: Face, reach: _Reach) -> None:
        order = 2 + len(reach.routers)
        for receiver, own in reach.receivers:
            arguments = SsmProbeArguments(
                source=face.address.ip,
                group=way.path.group,
                port=way.path.port,
                interface=own.address.ip,
                rate_bps=way.path.rate_bps,
            )
            target = ProbeTarget(
                id=f"{way.name}/{receiver}",
                kind="ssm",
                channel=way.channel.id,
                path=way.path.id,
                arguments=arguments.to_json(),
            )
            self.probes[receiver].append(target)
            self._hop(way, order, receiver, "receiver")

    def _hop(self, way: _Way, order: int, appliance: str, point: str) -> None:
        self.hops.append(Hop(way.channel.id, way.path.id, order, appliance, point))
