"""What the line-up and the fleet make of every path: its streams, their trees, whom it serves, what it loads.

The planner writes sections of it, `nf tree` shows it and thinks links away from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headend.multicast.addresses import IpAddress
from headend.multicast.equipment import MulticastEquipment, multicast_equipment
from headend.multicast.planning.facts import OUTPUT_FUNCTION
from headend.multicast.planning.forest import Forest, Reach, access_faces
from headend.multicast.planning.spt import Edge, Face, Topology
from headend.multicast.planning.streams import Stream, Streams, output_of
from headend.multicast.planning.ways import Groups, Way, contribution_problems, groups_of, ways_of
from nf.contracts.planner import LinkLoad
from nf.documents.fleet import Fleet, Role
from nf.documents.lineup import LineUp
from nf.documents.rules import unique, unknown
from nf.errors import Problem


@dataclass(frozen=True, slots=True)
class PlannedStream:
    stream: Stream
    reach: Reach


@dataclass(frozen=True, slots=True)
class PlannedWay:
    """A path that can be planned. `output`: (group, port) that receivers join, of a path that PoPs give out.

    pops        that serve receivers; `edges`: link direction -> how many streams of the path may be on it
    """

    way: Way
    streams: tuple[PlannedStream, ...]
    pops: tuple[str, ...]
    output: tuple[IpAddress, int] | None
    edges: Mapping[Edge, int]

    @property
    def links(self) -> tuple[str, ...]:
        """On which its sources are."""
        return tuple(one.stream.face.link for one in self.streams)

    def loads(self) -> Iterator[LinkLoad]:
        rate, channel, path = self.way.path.rate_bps, self.way.channel.id, self.way.path.id
        for edge, times in self.edges.items():
            yield LinkLoad(edge.link, edge.sender, times * rate, channel, path)


@dataclass(slots=True)
class Planned:
    """`problems` refuse the line-up; paths with a problem of their own are not among the ways."""

    fleet: Fleet
    topology: Topology
    equipment: MulticastEquipment
    forest: Forest
    pops: Mapping[str, tuple[str, ...]]
    groups: Groups
    subscribers: frozenset[tuple[str, str]]
    ways: list[PlannedWay] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    _lans: dict[str, tuple[Face, ...]] = field(default_factory=dict)
    _edges: dict[tuple[object, ...], Mapping[Edge, int]] = field(default_factory=dict)

    def lans(self, pop: str) -> tuple[Face, ...]:
        """The PoP's interfaces towards receivers."""
        if pop not in self._lans:
            self._lans[pop] = access_faces(self.topology, pop, self.subscribers)
        return self._lans[pop]

    def edges(self, way: Way, streams: tuple[PlannedStream, ...], pops: tuple[str, ...]) -> Mapping[Edge, int]:
        """Link directions that the streams and what is given to receivers may use; the same for like paths."""
        key = (pops, way.path.given_out, *((one.stream.leg, one.stream.appliance, id(one.reach)) for one in streams))
        if key not in self._edges:
            found = Counter(e for one in streams for edge in one.reach.edges for e in self.topology.carried(edge))
            found.update(Edge(one.stream.face.link, one.stream.appliance) for one in streams)
            found.update(Edge(face.link, pop) for pop in pops for face in self.lans(pop) if face.link)
            self._edges[key] = found
        return self._edges[key]

    def pops_of(self, sites: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(pop for site in set(sites) for pop in self.pops.get(site, ())))


def subscriber_faces(equipment: MulticastEquipment) -> frozenset[tuple[str, str]]:
    """(PoP, interface) of the subscriber LANs that the fleet names."""
    return frozenset(
        (edge.appliance, lan.bridge or lan.ports[0].name) for edge in equipment.access for lan in edge.lans
    )


def plan_ways(lineup: LineUp, fleet: Fleet) -> Planned:
    """Pure."""
    topology = Topology(fleet)
    equipment = multicast_equipment(fleet)
    ways = ways_of(lineup)
    groups, problems = groups_of(ways, equipment.pool, lineup)
    plan = Planned(
        fleet, topology, equipment, Forest(topology), _pops_by_site(fleet), groups, subscriber_faces(equipment)
    )
    plan.problems += problems
    plan.problems += contribution_problems(ways, lineup)
    streams = Streams.of(fleet, topology, groups)
    partners = _Partners()
    outputs = frozenset(fleet.placed(OUTPUT_FUNCTION))
    for way in ways:
        sites_stand = _check_sites(plan, way)
        emitted = streams.of_way(way)
        if not emitted:
            continue
        reachable = _check_reachable(plan, way, emitted)
        outputs_stand = _check_outputs(plan, way, outputs)
        if not partners.fit(plan, way, emitted) or not (sites_stand and reachable and outputs_stand):
            continue
        _warn_of_cuts(plan, way, emitted)
        plan.ways.append(_planned(plan, way, emitted))
    plan.problems += streams.problems
    return plan


def _pops_by_site(fleet: Fleet) -> dict[str, tuple[str, ...]]:
    """Every site's PoP routers, sorted; also of a site that has none."""
    pops: dict[str, list[str]] = {site.id: [] for site in fleet.spec.sites}
    for appliance in fleet.spec.appliances:
        if appliance.role is Role.POP and appliance.site in pops:
            pops[appliance.site].append(appliance.id)
    return {site: tuple(sorted(names)) for site, names in pops.items()}


def _planned(plan: Planned, way: Way, emitted: tuple[Stream, ...]) -> PlannedWay:
    pops = plan.pops_of(way.path.sites)
    links = tuple(stream.face.link for stream in emitted)
    single = way.path.given_out and not way.path.protected
    streams = tuple(
        PlannedStream(stream, plan.forest.reach(stream.leg, links, pops, with_alternates=single)) for stream in emitted
    )
    return PlannedWay(way, streams, pops, output_of(way, plan.groups), plan.edges(way, streams, pops))


# ---- what may be asked for -------------------------------------------------------------------------------------------


def _check_sites(plan: Planned, way: Way) -> bool:
    pops = plan.pops
    found = list(
        unique(
            "the site is listed twice: {first}",
            "list it once",
            ((f"{way.key}.sites[{index}]", site, site) for index, site in enumerate(way.path.sites)),
        )
    )
    for index, site in enumerate(way.path.sites):
        key = f"{way.key}.sites[{index}]"
        if site not in pops:
            found.append(unknown("site in the fleet", key, site, pops))
        elif not pops[site]:
            with_pop = ", ".join(name for name in sorted(pops) if pops[name])
            remedy = f"choose among: {with_pop}" if with_pop else "add an appliance with the role pop to the fleet"
            found.append(Problem("the site has no PoP", remedy, key=key, value=site))
    found += unique(
        "the site is pinned twice: {first}",
        "list it once",
        ((f"{way.key}.pinned[{index}]", site, site) for index, site in enumerate(way.path.pinned)),
    )
    for index, site in enumerate(way.path.pinned):
        if not any(plan.lans(pop) for pop in pops.get(site, ())):
            rule = "no PoP of the site has a LAN with receivers, so that nothing can be pinned to it"
            remedy = "remove it, or add its receivers' LAN to the fleet"
            found.append(Problem(rule, remedy, key=f"{way.key}.pinned[{index}]", value=site))
    plan.problems += found
    return not found


def _check_reachable(plan: Planned, way: Way, emitted: tuple[Stream, ...]) -> bool:
    links = tuple(stream.face.link for stream in emitted)
    served = {pop for site in way.path.sites for pop in plan.pops.get(site, ())}
    # Proxies and tunnels that hang on nothing are told as such.
    loose = served & (plan.topology.proxies.keys() | plan.topology.gateways.keys()) - plan.topology.leaves.keys()
    found = [
        Problem(
            f"{pop} has no path over the fleet's links to {appliance}, where the channel starts",
            "add the missing link to the fleet, or remove the site",
            key=f"{way.key}.sites[{index}]",
            value=site,
        )
        for index, site in enumerate(way.path.sites)
        for pop in plan.pops.get(site, ())
        if pop not in loose
        for appliance in {
            stream.appliance for stream in emitted if pop not in plan.forest.tree(stream.leg, links).distance
        }
    ]
    plan.problems += found
    return not found and not loose


def _check_outputs(plan: Planned, way: Way, placed: frozenset[str]) -> bool:
    """A PoP that gives a path out has an output stage, and somebody to give it to."""
    if not way.path.given_out:
        return True
    found = []
    for index, site in enumerate(way.path.sites):
        for pop in plan.pops.get(site, ()):
            key = f"{way.key}.sites[{index}]"
            if pop not in placed:
                rule = f"{pop} does not have the function {OUTPUT_FUNCTION}, which gives the path out"
                remedy = f"place {OUTPUT_FUNCTION} there in the fleet, or remove the site"
                found.append(Problem(rule, remedy, key=key, value=site))
            elif not plan.lans(pop):
                rule = f"{pop} has no LAN with receivers to give the path out on"
                remedy = "add the LAN to the fleet (spec.equipment.multicast.access, or a probe), or remove the site"
                found.append(Problem(rule, remedy, key=key, value=site))
    plan.problems += found
    return not found


def _warn_of_cuts(plan: Planned, way: Way, emitted: tuple[Stream, ...]) -> None:
    """Where both legs have to pass one router, its loss takes both."""
    if len(emitted) == 1:
        return
    cuts = plan.forest.pair(emitted[0].face.link, emitted[1].face.link).cuts
    behind: dict[str, list[str]] = {}
    for pop in plan.pops_of(way.path.sites):
        for cut in cuts.get(pop, ()):
            behind.setdefault(cut, []).append(pop)
    plan.warnings += [
        Problem(
            f"both legs to {_some(pops)} pass {cut}: no two ways are disjoint there, and its loss takes both",
            f"add a link around {cut} to the fleet, or live with it",
            key=f"{way.key}.protection",
            value=way.path.protection,
        )
        for cut, pops in sorted(behind.items())
    ]


def _some(names: list[str], most: int = 6) -> str:
    shown = ", ".join(sorted(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


class _Partners:
    """A router takes everything of an address from one neighbour, so that a leg's address has one partner."""

    def __init__(self) -> None:
        self._partner: dict[IpAddress, tuple[IpAddress, str]] = {}

    def fit(self, plan: Planned, way: Way, emitted: tuple[Stream, ...]) -> bool:
        if len(emitted) == 1:
            return True
        a, b = (stream.source for stream in emitted)
        for own, other in ((a, b), (b, a)):
            partner, name = self._partner.setdefault(own, (other, way.name))
            if partner != other:
                plan.problems.append(
                    Problem(
                        f"{own} is paired with {other} here and with {partner} for {name}: a router has one way to it",
                        "take the two encoders of all such paths from the same two appliances",
                        key=f"{way.key}.protection",
                        value=way.path.protection,
                    )
                )
                return False
        return True
