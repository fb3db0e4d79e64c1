"""The IPTV tree's way back: from addresses, routing, admitted (S, G) and source stages to fleet and line-up.

The inverse of the planner: compiled, what it writes gives the sections that were observed. Two interfaces in one
subnet are one link. A PoP that admits a channel which no router takes from it serves that channel; of one that others
take it from as well, nothing tells whether it does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import Final, TypeVar

from pydantic import ValidationError

from headend.multicast.documents import (
    FrrSection,
    InterfacesSection,
    SourceSection,
    SourceStage,
    SsmPath,
    TreeEntry,
    TreeSection,
)
from headend.multicast.facts import SOURCE_FUNCTION, tree_fact
from nf.contracts.adopter import Adopted, AdoptedAppliance, AdoptedPath, Observed
from nf.contracts.json import JsonObject
from nf.documents.fleet import Fleet, Interface, Link, Placement, Role
from nf.documents.lineup import Source
from nf.documents.model import DocumentModel

INGEST: Final = "ingest"
_UNKNOWN_CAPACITY_BPS: Final = 1_000_000_000
_NOT_IN_SECTIONS: Final = frozenset({"extra", "missing", "units", "down", "rp_filter", "damage"})
"""What drivers add to an observed section to say that it is not as it should be."""

_Key = tuple[str, str]
_Costs = Mapping[str, Mapping[str, int]]
T = TypeVar("T", bound=DocumentModel)


class MulticastAdopter:
    @property
    def name(self) -> str:
        return "multicast"

    @property
    def sections(self) -> frozenset[str]:
        return frozenset({"interfaces", "frr", "multicast-tree", "multicast-source"})

    def adopt(self, observed: Observed, known: Fleet) -> Adopted:
        reading = _Reading(observed)
        appliances = {
            name: AdoptedAppliance(
                loopback=section.loopback,
                interfaces=tuple(Interface(name=i.name, address=i.address) for i in section.interfaces),
            )
            for name, section in reading.interfaces.items()
        }
        links, doubts = _links(appliances, reading.costs(), known, reading.problems)
        paths = _paths(reading, known)
        emitting = tuple(sorted(name for name, section in reading.sources.items() if section.stages))
        placement = tuple(Placement(function=f, appliances=emitting) for f in (INGEST, SOURCE_FUNCTION) if emitting)
        return Adopted(appliances, links, doubts, placement, paths, tuple(reading.problems))


class _Reading:
    """The observation as sections; what does not fit them is a problem."""

    def __init__(self, observed: Observed) -> None:
        self.problems: list[str] = []
        self.interfaces = self._all(observed, "interfaces", InterfacesSection)
        self.frr = self._all(observed, "frr", FrrSection)
        self.trees = self._all(observed, "multicast-tree", TreeSection)
        self.sources = self._all(observed, "multicast-source", SourceSection)

    def _all(self, observed: Observed, section: str, model: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        for appliance, sections in sorted(observed.items()):
            value = sections.get(section)
            if value is None:
                continue
            self.problems += [f"{appliance}, section {section}: {text}" for text in _faults(value)]
            try:
                found[appliance] = model.model_validate(
                    {key: inner for key, inner in value.items() if key not in _NOT_IN_SECTIONS}
                )
            except ValidationError as error:
                told = error.errors()[0]
                where = ".".join(map(str, told["loc"]))
                self.problems.append(f"{appliance}, section {section}: {where}: {told['msg']}")
        return found

    def costs(self) -> _Costs:
        return {name: {i.name: i.cost for i in section.interfaces} for name, section in self.frr.items()}


def _faults(value: JsonObject) -> list[str]:
    """What the driver says is there beyond the section, or lacks."""
    return [f"{key}: {value[key]}" for key in sorted(_NOT_IN_SECTIONS & value.keys())]


# ---- the fleet's links ----


def _links(
    appliances: Mapping[str, AdoptedAppliance], costs: _Costs, known: Fleet, problems: list[str]
) -> tuple[tuple[Link, ...], dict[str, tuple[str, ...]]]:
    subnets: dict[IPv4Network, list[str]] = defaultdict(list)
    for name, appliance in sorted(appliances.items()):
        for interface in appliance.interfaces:
            subnets[interface.address.network].append(f"{name}:{interface.name}")
    by_ends = {frozenset(link.endpoints): link for link in known.spec.links}
    taken = {link.id for link in known.spec.links}
    links: list[Link] = []
    doubts: dict[str, tuple[str, ...]] = {}
    for network, endpoints in sorted(subnets.items()):
        if len(endpoints) < 2:
            continue
        before = by_ends.get(frozenset(endpoints))
        cost, agreed = _cost(endpoints, costs, before)
        if not agreed:
            problems.append(f"{', '.join(endpoints)} ({network}) have different OSPF costs; a link has one")
        name = before.id if before else _free_name(endpoints, taken)
        taken.add(name)
        capacity = before.capacity_bps if before else _UNKNOWN_CAPACITY_BPS
        ends = before.endpoints if before else tuple(endpoints)
        links.append(Link(id=name, endpoints=ends, capacity_bps=capacity, cost=cost))
        if before is None:
            doubts[name] = ("id", "capacity")
    return tuple(links), doubts


def _cost(endpoints: Iterable[str], costs: _Costs, before: Link | None) -> tuple[int, bool]:
    """The cost that its routers use, and whether they agree; without a router, what was known, or the default."""
    ends = [end.partition(":") for end in endpoints]
    seen = sorted({costs[name][interface] for name, _, interface in ends if interface in costs.get(name, {})})
    if not seen:
        return (before.cost if before else Link.model_fields["cost"].default), True
    return seen[0], len(seen) == 1


def _free_name(endpoints: Iterable[str], taken: set[str]) -> str:
    """`c1-pop1`, cut to the length of a name; numbered where there are several."""
    stem = "-".join(end.partition(":")[0] for end in endpoints)[:35].rstrip("-")
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


# ---- the line-up's paths ----


def _paths(reading: _Reading, known: Fleet) -> tuple[AdoptedPath, ...]:
    admitted: dict[_Key, dict[str, TreeEntry]] = defaultdict(dict)
    for router, tree in reading.trees.items():
        for entry in tree.entries:
            admitted[entry.channel, entry.path][router] = entry
    emitted: dict[_Key, tuple[str, SourceStage]] = {}
    for appliance, section in reading.sources.items():
        for stage in section.stages:
            key = (stage.channel, stage.path)
            if key in emitted:
                reading.problems.append(f"{stage.channel}/{stage.path} is emitted by {emitted[key][0]} and {appliance}")
            emitted[key] = (appliance, stage)
    reading.problems += [
        f"{c}/{p} is admitted, and nothing emits it" for c, p in sorted(admitted.keys() - emitted.keys())
    ]
    reading.problems += _several_contributions(emitted)
    found = (
        _path(appliance, stage, admitted[key], known, reading) for key, (appliance, stage) in sorted(emitted.items())
    )
    return tuple(path for path in found if path is not None)


def _several_contributions(emitted: Mapping[_Key, tuple[str, SourceStage]]) -> list[str]:
    ports: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for (channel, _), (appliance, stage) in emitted.items():
        ports[channel].add((appliance, stage.contribution_port))
    return [
        f"{name} has several contributions; a channel has one source" for name in sorted(ports) if len(ports[name]) > 1
    ]


def _path(
    appliance: str, stage: SourceStage, entries: Mapping[str, TreeEntry], known: Fleet, reading: _Reading
) -> AdoptedPath | None:
    name = f"{stage.channel}/{stage.path}"
    stream = (stage.source, stage.group, stage.port)
    for router, entry in sorted(entries.items()):
        if (entry.source, entry.group, entry.port) != stream:
            reading.problems.append(
                f"{router} admits ({entry.source}, {entry.group}):{entry.port} as {name}, not what is emitted"
            )
    served, unsure = _sites(stage, entries, known)
    if not served:
        reading.problems.append(f"{name} is emitted, and no PoP admits it")
        return None
    path = SsmPath(
        id=stage.path,
        type="ssm",
        group=stage.group,
        port=stage.port,
        rate_bps=stage.rate_bps,
        sites=tuple(sorted(served)),
    )
    port = stage.contribution_port
    source = Source(
        id=f"{appliance[:33].rstrip('-')}-{port}", appliance=appliance, port=port, bitrate_bps=stage.rate_bps
    )
    return AdoptedPath(stage.channel, path, source, (*(("sites",) if unsure else ()), "source.id", "source.bitrate"))


def _sites(stage: SourceStage, entries: Mapping[str, TreeEntry], known: Fleet) -> tuple[set[str], bool]:
    """The sites that are served, and whether one of them may only pass the channel on."""
    taken = {fact for entry in entries.values() for fact in entry.requires}
    pops: dict[str, list[str]] = defaultdict(list)
    for appliance in known.spec.appliances:
        if appliance.role is Role.POP:
            pops[appliance.site].append(appliance.id)
    sure, perhaps = set(), set()
    for site, names in pops.items():
        admitting = [name for name in names if name in entries]
        if any(tree_fact(stage.source, stage.group, name) not in taken for name in admitting):
            sure.add(site)
        elif admitting and len(admitting) == len(names):
            perhaps.add(site)
    return sure | perhaps, bool(perhaps)
