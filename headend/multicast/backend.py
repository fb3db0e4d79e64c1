"""What makes a PoP a multicast router: one contract over FRR and over the kernel with our own IGMPv3 proxy.

Whoever asks on an access interface gets (S, G) from the uplink, and no longer soon after it leaves; a unit that dies
comes back and serves those who still ask; entries pinned in the tree stand beside either of them. Both write the
kernel's one table, so what they forward is read in one way.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from headend.multicast.documents import FrrInterface, FrrSection, ProxySection
from headend.multicast.frr.driver import create as create_frr
from headend.multicast.kernel.driver import UNIT
from headend.multicast.kernel.driver import create as create_proxy
from headend.multicast.tree.routes import dump_routes
from nf.contracts.driver import Driver, DriverContext
from nf.documents.model import DocumentModel


@dataclass(frozen=True, slots=True)
class Place:
    """A small PoP: `uplink` to the router `gateway`, receivers on `access`. `sources`: addresses of the headend."""

    router_id: IPv4Address
    uplink: str
    gateway: IPv4Address
    access: tuple[str, ...]
    sources: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What the kernel does with (S, G) now. `packets`: forwarded since the entry was made."""

    input: str
    outputs: frozenset[str]
    packets: int


class Backend(Protocol):
    @property
    def name(self) -> str:
        """Of its section and of its driver."""

    @property
    def unit(self) -> str:
        """The unit that owns the kernel's table."""

    def section(self, place: Place) -> DocumentModel:
        """Pure."""

    def driver(self, context: DriverContext) -> Driver: ...


class FrrBackend:
    """Takes part in OSPF and PIM, so it finds another way when one fails."""

    name, unit = "frr", "pimd"

    def section(self, place: Place) -> FrrSection:
        access = (FrrInterface(name=name, passive=True, igmp=True) for name in place.access)
        uplink = FrrInterface(name=place.uplink, bfd=True)
        return FrrSection(router_id=place.router_id, interfaces=(uplink, *access))

    def driver(self, context: DriverContext) -> Driver:
        return create_frr(context)


class KernelBackend:
    """One process instead of five daemons; for a PoP with one uplink, whose router speaks IGMP towards it."""

    name, unit = "multicast-proxy", UNIT

    def section(self, place: Place) -> ProxySection:
        return ProxySection(uplink=place.uplink, access=place.access, gateway=place.gateway, sources=place.sources)

    def driver(self, context: DriverContext) -> Driver:
        return create_proxy(context)


BACKENDS: Sequence[Backend] = (FrrBackend(), KernelBackend())


def forwarding(source: IPv4Address, group: IPv4Address) -> Forwarding | None:
    """None when nobody asks for it, or the kernel does not know where it comes from."""
    route = dump_routes().get((str(source), str(group)))
    names = dict(socket.if_nameindex())
    if route is None or not route.wanted or route.input not in names:
        return None
    outputs = frozenset(names[index] for index in route.outputs if index in names)
    return Forwarding(names[route.input], outputs, route.forwarded)
