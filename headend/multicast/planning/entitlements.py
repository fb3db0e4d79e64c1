"""The access edge: what subscriber ports are entitled to, as groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address

from headend.multicast.access.documents import AccessLan, AccessPort, AccessSection
from headend.multicast.documents import SsmPath
from headend.multicast.equipment import SubscriberLan, SubscriberPort
from headend.multicast.planning.planned import Planned
from headend.multicast.planning.ways import given_out_group
from nf.documents.fleet import Role
from nf.documents.lineup import LineUp
from nf.documents.rules import nearest, unique, unknown
from nf.errors import Problem

_KEY = "spec.equipment.multicast"


def access_sections(plan: Planned, lineup: LineUp) -> dict[str, AccessSection]:
    """PoP -> its edge."""
    groups = _groups_by_channel(plan, lineup)
    bouquets = {bouquet.id: bouquet.channels for bouquet in plan.equipment.bouquets}
    lans: dict[str, list[AccessLan]] = defaultdict(list)
    for edge in plan.equipment.access:
        for lan in edge.lans:
            ports = tuple(_port(port, groups, bouquets) for port in sorted(lan.ports, key=lambda port: port.name))
            lans[edge.appliance].append(AccessLan(bridge=lan.bridge, ports=ports))
    return {
        pop: AccessSection(lans=tuple(sorted(found, key=lambda lan: lan.bridge or lan.ports[0].name)))
        for pop, found in lans.items()
    }


def _port(
    port: SubscriberPort, groups: dict[str, set[IPv4Address]], bouquets: dict[str, tuple[str, ...]]
) -> AccessPort:
    entitled: tuple[IPv4Address, ...] | None = None
    if port.channels is not None or port.bouquets is not None:
        channels = {*(port.channels or ()), *(c for name in port.bouquets or () for c in bouquets.get(name, ()))}
        entitled = tuple(sorted({group for channel in channels for group in groups.get(channel, ())}))
    return AccessPort(
        name=port.name,
        max_channels=port.max_channels,
        igmp_rate=port.igmp_rate,
        fast_leave=port.fast_leave,
        groups=entitled,
    )


def _groups_by_channel(plan: Planned, lineup: LineUp) -> dict[str, set[IPv4Address]]:
    """What receivers join for a channel, whichever way it comes."""
    found: dict[str, set[IPv4Address]] = defaultdict(set)
    for channel in lineup.spec.channels:
        for path in channel.delivery:
            if isinstance(path, SsmPath):
                group = plan.groups.get((channel.id, path.id, "output" if path.given_out else "a"))
            else:
                group = given_out_group(path)
            if isinstance(group, IPv4Address):
                found[channel.id].add(group)
    return found


def access_problems(plan: Planned) -> Iterator[Problem]:
    """References that do not resolve. Channels are the line-up's matter: it changes more often than the fleet."""
    appliances = plan.topology.appliances
    bouquets = {bouquet.id for bouquet in plan.equipment.bouquets}
    yield from unique(
        "this bouquet is listed at {first} already",
        "give every bouquet its own id",
        ((f"{_KEY}.bouquets[{n}].id", one.id, one.id) for n, one in enumerate(plan.equipment.bouquets)),
    )
    places: list[tuple[str, tuple[str, str], str]] = []
    for number, edge in enumerate(plan.equipment.access):
        key = f"{_KEY}.access[{number}]"
        if edge.appliance not in appliances:
            yield unknown("appliance in the fleet", f"{key}.appliance", edge.appliance, appliances)
            continue
        if appliances[edge.appliance].role is not Role.POP:
            yield Problem("only a PoP has subscribers", "name a PoP", key=f"{key}.appliance", value=edge.appliance)
            continue
        for index, lan in enumerate(edge.lans):
            where = f"{key}.lans[{index}]"
            if lan.bridge:
                places.append((f"{where}.bridge", (edge.appliance, lan.bridge), lan.bridge))
            places += [
                (f"{where}.ports[{at}].name", (edge.appliance, port.name), port.name)
                for at, port in enumerate(lan.ports)
            ]
            yield from _lan_problems(plan, edge.appliance, where, lan, bouquets)
    yield from unique("this interface is listed at {first} already", "list it once", places)


def _lan_problems(plan: Planned, pop: str, where: str, lan: SubscriberLan, bouquets: set[str]) -> Iterator[Problem]:
    faces = {face.name for face in plan.topology.faces[pop]}
    own, own_key = lan.bridge or lan.ports[0].name, f"{where}.bridge" if lan.bridge else f"{where}.ports[0].name"
    if own not in faces:
        yield unknown(f"interface of {pop}", own_key, own, faces)
    elif others := plan.topology.other_routers(pop, own):
        rule = (
            f"{pop}:{own} is on a link with {', '.join(others)}, and what routers send is dropped at a subscriber port"
        )
        yield Problem(rule, "name an interface with subscribers only", key=own_key, value=own)
    for at, port in enumerate(lan.ports):
        for nth, name in enumerate(port.bouquets or ()):
            if name not in bouquets:
                yield unknown("bouquet", f"{where}.ports[{at}].bouquets[{nth}]", name, bouquets)
        if lan.bridge and port.name in faces:
            yield Problem(
                "a port of a bridge has no address of its own",
                f"remove it from the interfaces of {pop}, and list {lan.bridge} there",
                key=f"{where}.ports[{at}].name",
                value=port.name,
            )


def entitlement_warnings(plan: Planned, lineup: LineUp) -> Iterator[Problem]:
    """Channels that the line-up does not have entitle to nothing: meant, when one is to come or has gone, or misspelt.

    Nothing without channels: that is the underlay."""
    known = {channel.id for channel in lineup.spec.channels}
    if not known:
        return
    named = [
        (f"{_KEY}.bouquets[{number}].channels[{index}]", name)
        for number, bouquet in enumerate(plan.equipment.bouquets)
        for index, name in enumerate(bouquet.channels)
    ]
    named += [
        (f"{_KEY}.access[{number}].lans[{at}].ports[{nth}].channels[{index}]", name)
        for number, edge in enumerate(plan.equipment.access)
        for at, lan in enumerate(edge.lans)
        for nth, port in enumerate(lan.ports)
        for index, name in enumerate(port.channels or ())
    ]
    for key, name in named:
        if name not in known:
            rule = "no such channel in the line-up: it entitles to nothing"
            yield Problem(rule, nearest(name, known), key=key, value=name)
