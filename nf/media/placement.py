"""Which appliance does what for the CDN, and at which addresses (placement in the fleet document)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from nf.documents.fleet import Appliance, Fleet
from nf.errors import Problem
from nf.media.documents import PART, CdnEquipment, Parent
from nf.media.network import Network

PACKAGER, ORIGIN, SHIELD, EDGE = "packager", "s3-origin", "cdn-shield", "cdn-edge"
LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class ShieldPlace:
    address: IPv4Address
    requires: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EdgePlace:
    listen: tuple[IPv4Address, ...]
    requires: tuple[str, ...]
    listen6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class Caches:
    """`origin`: who keeps the buckets; empty: the packager of each path does."""

    packagers: frozenset[str]
    origin: str
    shields: Mapping[str, ShieldPlace]
    edges: Mapping[str, EdgePlace]
    problems: tuple[Problem, ...]
    equipment: CdnEquipment = field(default_factory=CdnEquipment)

    @property
    def parents(self) -> tuple[Parent, ...]:
        return tuple(Parent(address=shield.address) for shield in self.shields.values())


def find_caches(fleet: Fleet, network: Network) -> Caches:
    """A shield listens on its loopback, which is reached by any link; an edge also on its receivers' links, and on its
    IPv6 loopback."""
    problems: list[Problem] = []
    shields: dict[str, ShieldPlace] = {}
    edges: dict[str, EdgePlace] = {}
    keys = {appliance.id: f"spec.appliances[{n}].interfaces" for n, appliance in enumerate(fleet.spec.appliances)}
    for function in (SHIELD, EDGE):
        for name in fleet.placed(function):
            if name not in network.appliances:
                continue
            appliance = network.appliances[name]
            faces = [(face.name, face.address.ip) for face in network.access_interfaces(name)]
            places = _places(appliance, [] if function == SHIELD else faces)
            if not places:
                rule = f"{name} has the function {function} and no address to listen on"
                problems.append(Problem(rule, "give it a loopback or an interface in the fleet", key=keys[name]))
                continue
            requires = tuple(f"{name}.interface.{face}" for face, _ in places)
            if function == SHIELD:
                shields[name] = ShieldPlace(places[0][1], requires)
            else:
                if appliance.loopback6 is not None:
                    requires = tuple(dict.fromkeys((*requires, f"{name}.interface.{LOOPBACK}")))
                edges[name] = EdgePlace(tuple(address for _, address in places), requires, appliance.loopback6)
    origin = [name for name in fleet.placed(ORIGIN) if name in network.appliances]
    equipment = fleet.spec.equipment.get(PART)
    known = equipment if isinstance(equipment, CdnEquipment) else CdnEquipment()
    problems += _strangers(known, edges)
    return Caches(
        frozenset(fleet.placed(PACKAGER)), origin[0] if origin else "", shields, edges, tuple(problems), known
    )


def _strangers(equipment: CdnEquipment, edges: Mapping[str, EdgePlace]) -> Iterator[Problem]:
    for number, entry in enumerate(equipment.edges):
        for index, name in enumerate(entry.appliances):
            if name not in edges:
                key = f"spec.equipment.{PART}.edges[{number}].appliances[{index}]"
                remedy = f"place {EDGE} there, or remove it: " + (", ".join(sorted(edges)) or "there is no edge yet")
                yield Problem(f"{name} does not have the function {EDGE}", remedy, key=key, value=name)


def _places(appliance: Appliance, access: list[tuple[str, IPv4Address]]) -> list[tuple[str, IPv4Address]]:
    """Interface and address, each once; without a loopback and receivers' links, the first interface."""
    loopback = [(LOOPBACK, appliance.loopback)] if appliance.loopback is not None else []
    own = [*loopback, *access]
    return own or [(face.name, face.address.ip) for face in appliance.interfaces[:1]]
