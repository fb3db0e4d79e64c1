"""The IPTV tree's way back: from addresses, routing, admitted (S, G), source and output stages to fleet and line-up.

The inverse of the planner: compiled, what it writes gives the sections that were observed. Two interfaces in one
subnet are one link. What the fleet says in its equipment (pool, budgets, subscriber ports) stays as it is written;
where it says nothing, the addresses of protected channels, proxies and tunnels are taken from what runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Final

from headend.multicast.adopted import adopted_paths, seen_equipment
from headend.multicast.adopted_leaves import leaf_doubts
from headend.multicast.equipment import PART, MulticastEquipment
from headend.multicast.planning.facts import MONITOR_FUNCTION, OUTPUT_FUNCTION, OUTPUT_INTERFACE, SOURCE_FUNCTION
from headend.multicast.reading import Costs, Reading
from nf.contracts.adopter import Adopted, AdoptedAppliance, Observed
from nf.documents.fleet import Facing, Fleet, Interface, Link, Placement

INGEST: Final = "ingest"
_UNKNOWN_CAPACITY_BPS: Final = 1_000_000_000


class MulticastAdopter:
    @property
    def name(self) -> str:
        return "multicast"

    @property
    def sections(self) -> frozenset[str]:
        own = ("tree", "source", "output", "monitor", "access", "proxy", "amt")
        return frozenset({"interfaces", "frr", "bgp", *(f"multicast-{name}" for name in own)})

    def adopt(self, observed: Observed, known: Fleet) -> Adopted:
        reading = Reading(observed)
        appliances = {
            name: AdoptedAppliance(
                loopback=section.loopback,
                loopback6=section.loopback6,
                interfaces=tuple(
                    Interface(name=i.name, address=i.address, facing=_facing(reading, known, name, i.name))
                    for i in section.interfaces
                    if i.pair is None
                ),
            )
            for name, section in reading.interfaces.items()
        }
        found = seen_equipment(reading)
        equipment = known.spec.equipment.get(PART, found.get(PART))
        told = equipment if isinstance(equipment, MulticastEquipment) else MulticastEquipment()
        reading.problems += leaf_doubts(reading, told)
        speaking = sorted(name for name, sections in observed.items() if "bgp" in sections)
        if speaking and "bgp" not in known.spec.equipment:
            reading.problems.append(f"{', '.join(speaking)} speaks BGP, and the fleet's equipment has no part bgp")
        links, doubts = _links(appliances, reading.costs(), known, reading.problems)
        return Adopted(
            appliances,
            links,
            doubts,
            tuple(_placement(reading)),
            adopted_paths(reading, known),
            tuple(reading.problems),
            {} if PART in known.spec.equipment else found,
        )


def _facing(reading: Reading, known: Fleet, name: str, interface: str) -> Facing:
    """As it was written; of an interface that nobody has described, what the router's FRR does there."""
    for appliance in known.spec.appliances:
        for face in appliance.interfaces:
            if (appliance.id, face.name) == (name, interface):
                return face.facing
    section = reading.frr.get(name)
    if section is None or not any(one.pim for one in section.interfaces):
        return Facing.NETWORK  # no router, or one in which trees only end
    routed = next((one for one in section.interfaces if one.name == interface), None)
    if routed is None:
        return Facing.INTERNET
    return Facing.RADIO if routed.passive and not routed.pim else Facing.NETWORK


def _placement(reading: Reading) -> Iterator[Placement]:
    emitting = [name for name, section in reading.sources.items() if section.stages]
    giving = [n for n, s in reading.interfaces.items() if any(i.name == OUTPUT_INTERFACE for i in s.interfaces)]
    watching = [name for name, section in reading.monitors.items() if section.interfaces]
    for function, names in (
        (INGEST, emitting),
        (SOURCE_FUNCTION, emitting),
        (OUTPUT_FUNCTION, giving),
        (MONITOR_FUNCTION, watching),
    ):
        if names:
            yield Placement(function=function, appliances=tuple(sorted(names)))


# ---- the fleet's links ----


def _links(
    appliances: Mapping[str, AdoptedAppliance], costs: Costs, known: Fleet, problems: list[str]
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


def _cost(endpoints: Iterable[str], costs: Costs, before: Link | None) -> tuple[int, bool]:
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
