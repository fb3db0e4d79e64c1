"""The IPTV tree's share of a compilation: underlay, (S, G) entries along the trees, sources, outputs, probes.

PIM-SSM (RFC 4607) builds the reverse shortest path from each PoP to the source's subnet. Which of several equal-cost
paths it takes is not known beforehand, so entries and bandwidth are planned on all of them. The two legs of a protected
path have trees of their own (`headend.multicast.planning.redundant`), which routers take by static reverse paths.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from headend.multicast.bgp.planning import bgp_problems, bgp_sections
from headend.multicast.documents import FrrSection, SsmProbeArguments
from headend.multicast.planning.admission import admission_problems
from headend.multicast.planning.entitlements import access_problems, access_sections, entitlement_warnings
from headend.multicast.planning.facts import FUNCTION_PREFIX, MONITOR_FUNCTION, OUTPUT_FUNCTION, SOURCE_FUNCTION, point
from headend.multicast.planning.leaf_problems import leaf_problems
from headend.multicast.planning.leaves import TunnelSections, proxy_section
from headend.multicast.planning.planned import Planned, PlannedWay, plan_ways
from headend.multicast.planning.sections import Sections, with_reverse_paths
from headend.multicast.planning.spt import Face
from headend.multicast.planning.streams import addresses_v6_problems, source_pair_problems
from headend.multicast.planning.underlay import facing_problems, loopback_problems, underlay
from headend.multicast.trace.operations import trace_operations
from headend.multicast.trusted import trusted
from nf.contracts.planner import Contribution, Hop
from nf.documents.appliance import ProbeTarget
from nf.documents.fleet import Fleet, Role
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.documents.rules import unknown
from nf.errors import Problem


class MulticastPlanner:
    """Planner of the path type `ssm` and of the underlay that it runs on."""

    @property
    def name(self) -> str:
        return "multicast"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        plan = plan_ways(lineup, fleet)
        programmed = [planned for planned in plan.ways if planned.way.path.family == "ipv4"]
        receivers = _Receivers(plan)
        outputs, monitors = (_placed(plan, function) for function in (OUTPUT_FUNCTION, MONITOR_FUNCTION))
        sections, tunnels = Sections(plan), TunnelSections(plan)
        for planned in programmed:
            sections.add(planned, outputs, monitors)
            tunnels.add(planned)
            receivers.add(planned)
        problems = [
            *loopback_problems(fleet),
            *facing_problems(fleet),
            *bgp_problems(fleet),
            *source_pair_problems(fleet, plan.topology),
            *addresses_v6_problems(fleet, plan.topology),
            *access_problems(plan),
            *_placement_problems(plan),
            *leaf_problems(plan),
            *plan.problems,
            *receivers.problems,
            *(_not_programmed(planned) for planned in plan.ways if planned.way.path.family == "ipv6"),
            *admission_problems(plan),
        ]
        loads = (load for planned in plan.ways for load in planned.loads())
        stations = tuple(hop for planned in programmed for hop in hops(plan, planned, receivers.of(planned)))
        whole = _whole(plan, sections, lineup, outputs, monitors)
        for appliance, section in tunnels.sections(outputs):
            whole[appliance]["multicast-amt"] = section
        for appliance, own in bgp_sections(fleet).items():
            whole[appliance] |= own
        return Contribution(
            sections=whole,
            probes={name: tuple(sorted(found, key=lambda t: t.id)) for name, found in receivers.probes.items()},
            loads=tuple(sorted(loads, key=lambda load: (load.link, load.sender, load.channel, load.path))),
            hops=stations,
            operations=trace_operations(stations),
            problems=tuple(dict.fromkeys(problems)),
            warnings=tuple(dict.fromkeys((*plan.warnings, *entitlement_warnings(plan, lineup)))),
        )


def _whole(
    plan: Planned, sections: Sections, lineup: LineUp, outputs: frozenset[str], monitors: frozenset[str]
) -> dict[str, dict[str, DocumentModel]]:
    """The tree's section stands on every router, those of functions on every placed appliance, also when empty:
    their base tables are part of the underlay."""
    whole = underlay(plan.topology, plan.equipment, outputs)
    for router in plan.topology.routers:
        own = whole[router]
        own["multicast-tree"] = sections.tree(router)
        if isinstance(frr := own.get("frr"), FrrSection):
            own["frr"] = with_reverse_paths(frr, sections.reverse_paths(router))
        if router in plan.topology.proxies:
            proxy = proxy_section(plan, router, sections.entries[router], outputs)
            own |= {"multicast-proxy": proxy} if proxy is not None else {}
        if router in outputs:
            own["multicast-output"] = sections.output(router)
        if router in monitors:
            own["multicast-monitor"] = sections.monitor(router)
    for appliance in plan.fleet.placed(SOURCE_FUNCTION):
        if appliance in whole:
            whole[appliance]["multicast-source"] = sections.source(appliance)
    for pop, access in access_sections(plan, lineup).items():
        if pop in whole:
            whole[pop]["multicast-access"] = access
    return whole


def _placed(plan: Planned, function: str) -> frozenset[str]:
    """PoPs that have the function."""
    return frozenset(
        name
        for name in plan.fleet.placed(function)
        if name in plan.topology.appliances and plan.topology.appliances[name].role is Role.POP
    )


def _placement_problems(plan: Planned) -> Iterator[Problem]:
    functions = (SOURCE_FUNCTION, OUTPUT_FUNCTION, MONITOR_FUNCTION)
    for number, placement in enumerate(plan.fleet.spec.placement):
        name = placement.function
        if name.startswith(FUNCTION_PREFIX) and name not in functions:
            yield unknown("function of multicast", f"spec.placement[{number}].function", name, functions)
        if name not in (OUTPUT_FUNCTION, MONITOR_FUNCTION):
            continue
        for index, name in enumerate(placement.appliances):
            appliance = plan.topology.appliances.get(name)
            if appliance is not None and appliance.role is not Role.POP:
                key = f"spec.placement[{number}].appliances[{index}]"
                yield Problem(f"{placement.function} belongs on a PoP", "name PoPs only", key=key, value=name)


def _not_programmed(planned: PlannedWay) -> Problem:
    return Problem(
        f"{planned.way.name} is an IPv6 path: it can be planned (nf tree plan), and nothing here programs it: the "
        "routers' FRR 8.4 has no PIM for IPv6",
        "plan it with nf tree plan, and take it out of the line-up before a commit",
        key=f"{planned.way.key}.family",
        value="ipv6",
    )


class _Receivers:
    """Probes of receivers, behind the PoPs of their site."""

    def __init__(self, plan: Planned) -> None:
        self._plan = plan
        self._near: dict[str, tuple[tuple[str, Face, Face], ...]] = {}
        self._by_site: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for number, appliance in enumerate(plan.fleet.spec.appliances):
            if appliance.role is Role.PROBE:
                self._by_site[appliance.site].append((number, appliance.id))
        self.probes: dict[str, list[ProbeTarget]] = defaultdict(list)
        self.problems: list[Problem] = []

    def of(self, planned: PlannedWay) -> list[tuple[str, Face, Face]]:
        """(receiver, its interface, the PoP's interface on the same link), in the order of the fleet."""
        sites = sorted(set(planned.way.path.sites))
        return [found for site in sites for found in self._at(site)]

    def _at(self, site: str) -> tuple[tuple[str, Face, Face], ...]:
        if site not in self._near:
            self._near[site] = tuple(self._find(site))
        return self._near[site]

    def _find(self, site: str) -> Iterator[tuple[str, Face, Face]]:
        topology, pops = self._plan.topology, self._plan.pops.get(site, ())
        for number, name in self._by_site[site]:
            own = topology.shared_face(name, pops)
            near = next((face for pop in pops if own and (face := topology.face_on(pop, own.link))), None)
            if own is None or near is None:
                rule = f"the probe {name} is on no link with a PoP of its site {site}"
                self.problems.append(
                    Problem(rule, "add the link to the fleet", key=f"spec.appliances[{number}].interfaces")
                )
            else:
                yield name, own, near

    def add(self, planned: PlannedWay) -> None:
        """What the PoP gives out, or (S, G) as it is forwarded."""
        way, stream = planned.way, planned.streams[0].stream
        group, port = planned.output or (stream.group, stream.port)
        shared = SsmProbeArguments(
            source=stream.source, group=group, port=port, interface=stream.source, rate_bps=way.path.rate_bps
        ).to_json()
        for receiver, own, near in self.of(planned):
            arguments = {**shared, "interface": str(own.address.ip)}
            if planned.output is not None:
                arguments["source"] = str(near.address.ip)
            self.probes[receiver].append(
                trusted(
                    ProbeTarget,
                    id=f"{way.name}/{receiver}",
                    kind="ssm",
                    channel=way.channel.id,
                    path=way.path.id,
                    arguments=arguments,
                )
            )


def hops(plan: Planned, planned: PlannedWay, receivers: list[tuple[str, Face, Face]]) -> Iterator[Hop]:
    """In the order of the stream; a router on both legs is measured for each."""
    channel, path = planned.way.channel.id, planned.way.path.id
    twice = planned.way.path.protection == "switch"  # two encoders; hot-hot is one stage that sends twice
    for appliance, leg in dict.fromkeys((s.stream.appliance, s.stream.leg if twice else None) for s in planned.streams):
        yield Hop(channel, path, 0, appliance, point("contribution", leg))
        yield Hop(channel, path, 1, appliance, point("source", leg))
    passed = [
        (plan.forest.tree(one.stream.leg, planned.links).distance[router], router, one.stream.leg or "")
        for one in planned.streams
        for router, _ in one.reach.routers
    ]
    gateways = plan.topology.gateways
    places = [(r, "amt-gateway" if r in gateways else point("tree", leg or None)) for _, r, leg in sorted(passed)]
    order = 2
    for router, name in dict.fromkeys(places):
        yield Hop(channel, path, order, router, name)
        order += 1
    if planned.output is not None:
        for pop in planned.pops:
            yield Hop(channel, path, order, pop, "output")
        order += 1
    for receiver, _, _ in receivers:
        yield Hop(channel, path, order, receiver, "receiver")
