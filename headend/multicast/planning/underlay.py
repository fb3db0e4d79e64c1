"""The underlay: addresses and routing that stand with any line-up, also with none."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Interface

from headend.multicast.documents import FrrInterface, FrrSection, InterfaceConfig, InterfacesSection
from headend.multicast.equipment import MulticastEquipment, multicast_equipment
from headend.multicast.planning.facts import (
    OUTPUT_ADDRESS,
    OUTPUT_INTERFACE,
    RELAY_ADDRESS,
    RELAY_INTERFACE,
    RELAY_TAP,
    RELAY_TAP_ADDRESS,
    TAP,
    TAP_ADDRESS,
)
from headend.multicast.planning.forest import access_faces
from headend.multicast.planning.planned import subscriber_faces
from headend.multicast.planning.spt import ROUTERS, Topology
from headend.multicast.planning.streams import face_of
from nf.documents.fleet import Facing, Fleet, Role
from nf.documents.model import DocumentModel
from nf.errors import Problem


def underlay(
    topology: Topology, equipment: MulticastEquipment, output_pops: AbstractSet[str]
) -> dict[str, dict[str, DocumentModel]]:
    """Sections `interfaces` (every appliance with an address) and `frr` (every router with a loopback)."""
    subscribers = subscriber_faces(equipment)
    relays = topology.transit & {relay.appliance for relay in equipment.amt.relays}
    sections: dict[str, dict[str, DocumentModel]] = {}
    for name, appliance in topology.appliances.items():
        own: dict[str, DocumentModel] = {}
        if appliance.interfaces or appliance.loopback is not None or appliance.loopback6 is not None:
            own["interfaces"] = InterfacesSection(
                loopback=appliance.loopback,
                loopback6=appliance.loopback6,
                forwarding=name in topology.routers,
                interfaces=(
                    *_interfaces(topology, equipment, name),
                    *(_pair() if name in output_pops else ()),
                    *(_relay_pair() if name in relays else ()),
                ),
            )
        if name in topology.routers and name not in topology.proxies and appliance.loopback is not None:
            receivers = frozenset(face.name for face in access_faces(topology, name, subscribers))
            own["frr"] = FrrSection(
                router_id=appliance.loopback,
                interfaces=(
                    *_routing(topology, name, receivers),
                    *(_served(OUTPUT_INTERFACE) if name in output_pops and name in topology.transit else ()),
                    *(_served(RELAY_INTERFACE) if name in relays else ()),
                ),
            )
        sections[name] = own
    return sections


def loopback_problems(fleet: Fleet) -> Iterator[Problem]:
    """A PoP without routing daemons needs no router id."""
    proxies = {one.appliance for one in multicast_equipment(fleet).proxies}
    for number, appliance in enumerate(fleet.spec.appliances):
        if appliance.id in proxies and appliance.role is Role.POP:
            continue
        if appliance.role in (Role.CORE, Role.POP) and appliance.loopback is None:
            yield Problem(
                f"the router {appliance.id} has no loopback, which is its router id",
                "add loopback: with an address of its own",
                key=f"spec.appliances[{number}].loopback",
            )


def facing_problems(fleet: Fleet) -> Iterator[Problem]:
    """Where another router is, there has to be routing."""
    routers = {appliance.id for appliance in fleet.spec.appliances if appliance.role in ROUTERS}
    links = {end: link for link in fleet.spec.links for end in link.endpoints}
    for number, appliance in enumerate(fleet.spec.appliances):
        for index, interface in enumerate(appliance.interfaces):
            link = links.get(f"{appliance.id}:{interface.name}")
            if appliance.id not in routers or interface.facing is Facing.NETWORK or link is None:
                continue
            others = sorted({end.partition(":")[0] for end in link.endpoints} & routers - {appliance.id})
            if others:
                yield Problem(
                    f"the router {others[0]} is on the link {link.id} behind it: no routes and no channels would "
                    "cross that link",
                    "leave facing out, or end the link elsewhere",
                    key=f"spec.appliances[{number}].interfaces[{index}].facing",
                    value=interface.facing.value,
                )


def _interfaces(topology: Topology, equipment: MulticastEquipment, name: str) -> Iterator[InterfaceConfig]:
    """With the addresses of protected channels beside the one of the interface in whose subnet they are."""
    secondary: dict[str, list[IPv4Interface]] = {}
    for pair in equipment.sources:
        for address in (pair.a, pair.b) if pair.appliance == name else ():
            face = face_of(topology, name, address)
            if face is not None:
                length = face.address.network.prefixlen
                secondary.setdefault(face.name, []).append(IPv4Interface((address, length)))
    bridges = {lan.bridge for edge in equipment.access if edge.appliance == name for lan in edge.lans}
    for face in topology.faces[name]:
        yield InterfaceConfig(
            name=face.name,
            address=face.address,
            secondary=tuple(sorted(secondary.get(face.name, ()))),
            made_by="multicast-access" if face.name in bridges else None,
        )


def _pair() -> Iterator[InterfaceConfig]:
    """How the output stage of a PoP asks its router for feeds."""
    yield InterfaceConfig(name=OUTPUT_INTERFACE, address=OUTPUT_ADDRESS, pair=TAP, pair_address=TAP_ADDRESS)


def _relay_pair() -> Iterator[InterfaceConfig]:
    """How a relay asks its router for what its gateways want."""
    yield InterfaceConfig(name=RELAY_INTERFACE, address=RELAY_ADDRESS, pair=RELAY_TAP, pair_address=RELAY_TAP_ADDRESS)


def _served(name: str) -> Iterator[FrrInterface]:
    yield FrrInterface(name=name, ospf=False, igmp=True)


def _routing(topology: Topology, router: str, receivers: AbstractSet[str]) -> Iterator[FrrInterface]:
    """An adjacency needs exactly two routers on the link; a LAN with hosts is advertised and stays passive, and so
    does the link to a proxy, which is a host that asks. No multicast crosses the uplink of a PoP behind a tunnel.

    A radio cell's subnet is advertised too, since user planes elsewhere (N9) and an SMF reach it, and no multicast goes
    there. Towards the internet nothing is said at all: what UEs send leaves with an address of the interface."""
    unicast = {
        face.link for name in topology.gateways for face in topology.faces[name] if face.link in topology.adjacencies
    }
    asking = {face.link for name, up in topology.proxies.items() for face in topology.faces[name] if face.name == up}
    for face in topology.faces[router]:
        if face.facing is Facing.INTERNET:
            continue
        multicast = router in topology.transit and face.facing is Facing.NETWORK
        yield FrrInterface(
            name=face.name,
            cost=face.cost,
            passive=face.link not in topology.adjacencies,
            bfd=face.link in topology.adjacencies,
            pim=multicast and face.link not in unicast,
            igmp=multicast and (face.name in receivers or (face.link != "" and face.link in asking)),
        )
