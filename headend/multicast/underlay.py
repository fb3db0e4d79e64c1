"""The underlay: addresses and routing that stand with any line-up, also with none."""

from __future__ import annotations

from collections.abc import Iterator

from headend.multicast.documents import FrrInterface, FrrSection, InterfaceConfig, InterfacesSection
from headend.multicast.spt import Topology
from nf.documents.fleet import Fleet, Role
from nf.documents.model import DocumentModel
from nf.errors import Problem


def underlay(topology: Topology) -> dict[str, dict[str, DocumentModel]]:
    """Sections `interfaces` (every appliance with an address) and `frr` (every router with a loopback)."""
    sections: dict[str, dict[str, DocumentModel]] = {}
    for name, appliance in topology.appliances.items():
        own: dict[str, DocumentModel] = {}
        if appliance.interfaces or appliance.loopback is not None:
            own["interfaces"] = InterfacesSection(
                loopback=appliance.loopback,
                forwarding=name in topology.routers,
                interfaces=tuple(InterfaceConfig(name=f.name, address=f.address) for f in topology.faces[name]),
            )
        if name in topology.routers and appliance.loopback is not None:
            own["frr"] = FrrSection(router_id=appliance.loopback, interfaces=_routing(topology, name))
        sections[name] = own
    return sections


def loopback_problems(fleet: Fleet) -> Iterator[Problem]:
    for number, appliance in enumerate(fleet.spec.appliances):
        if appliance.role in (Role.CORE, Role.POP) and appliance.loopback is None:
            yield Problem(
                f"the router {appliance.id} has no loopback, which is its router id",
                "add loopback: with an address of its own",
                key=f"spec.appliances[{number}].loopback",
            )


def _routing(topology: Topology, router: str) -> tuple[FrrInterface, ...]:
    """An adjacency needs exactly two routers on the link; a LAN with hosts is advertised and stays passive."""
    return tuple(
        FrrInterface(
            name=face.name,
            cost=face.cost,
            passive=face.link not in topology.adjacencies,
            bfd=face.link in topology.adjacencies,
            igmp=topology.has_role(face.link, Role.PROBE),
        )
        for face in topology.faces[router]
    )
