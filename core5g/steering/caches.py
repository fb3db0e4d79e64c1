"""The cache of a site: where it is, and what it answers. Pure.

What the fleet's equipment says of it is read as JSON, since those parts are another domain's: `cdn` (https at the
edge), `cdn-front` (https before it), `anycast` (addresses that it has beside its own).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from core5g.steering.n6.documents import PortForward
from nf.contracts.json import Json, JsonObject
from nf.documents.fleet import Fleet

HTTP: Final = 80
HTTPS: Final = 443

_CDN: Final = "cdn"
_FRONT: Final = "cdn-front"
_ANYCAST: Final = "anycast"


@dataclass(frozen=True, slots=True)
class CachePlace:
    """`address`: where it listens; `interface`, `via`: how the UPF's appliance reaches it, None where it is its own.

    address6    where it listens too; None: IPv6 is not steered to it. Of a cache on another appliance it is None, since
                that takes connections for VIPs, which are of IPv4
    https   the port of its https listener; None: it has none
    vips    addresses beside its own for which it takes connections
    """

    appliance: str
    address: IPv4Address
    address6: IPv6Address | None = None
    interface: str | None = None
    via: IPv4Address | None = None
    https: int | None = None
    vips: frozenset[IPv4Address] = frozenset()

    @property
    def local(self) -> bool:
        return self.interface is None

    @property
    def versions(self) -> frozenset[int]:
        """Of IP: what is steered to it."""
        return frozenset({4} if self.address6 is None else {4, 6})

    @property
    def addresses(self) -> str:
        """For people."""
        return str(self.address) if self.address6 is None else f"{self.address} and {self.address6}"

    @property
    def ports(self) -> tuple[int, ...]:
        """TCP: what is steered to it. Only to a cache of the same appliance can a port be translated."""
        secure = self.https is not None and (self.local or self.https == HTTPS)
        return (HTTP, HTTPS) if secure else (HTTP,)

    @property
    def forwards(self) -> tuple[PortForward, ...]:
        if self.https is None or self.https == HTTPS or not self.local:
            return ()
        return (PortForward(port=HTTPS, to=self.https),)


def https_port(fleet: Fleet, appliance: str) -> int | None:
    """Of the edge's own listener, or of the front before it; that which UEs ask for anyway where one is there."""
    found = [*_edge_ports(fleet, appliance), *_front_ports(fleet, appliance)]
    return HTTPS if HTTPS in found else next(iter(found), None)


def vips(fleet: Fleet, appliance: str) -> frozenset[IPv4Address]:
    listed = _objects(_part(fleet, _ANYCAST).get("vips"))
    return frozenset(IPv4Address(str(vip["address"])) for vip in listed if appliance in _names(vip))


def _edge_ports(fleet: Fleet, appliance: str) -> Iterator[int]:
    """An entry that names no edge is for those that no other names."""
    entries = _objects(_part(fleet, _CDN).get("edges"))
    named = [entry for entry in entries if appliance in _names(entry)]
    for entry in (named or [entry for entry in entries if not _names(entry)])[:1]:
        tls = entry.get("tls")
        if isinstance(tls, dict):
            yield _port(tls)


def _front_ports(fleet: Fleet, appliance: str) -> Iterator[int]:
    front = _part(fleet, _FRONT)
    if front and appliance in fleet.placed(_FRONT):
        yield _port(front)


def _part(fleet: Fleet, name: str) -> JsonObject:
    part = fleet.spec.equipment.get(name)
    return part.to_json() if part is not None else {}


def _port(listener: JsonObject) -> int:
    port = listener.get("port")
    return port if isinstance(port, int) else HTTPS


def _objects(value: Json) -> list[JsonObject]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _names(entry: JsonObject) -> list[str]:
    found = entry.get("appliances")
    return [str(name) for name in found] if isinstance(found, list) else []
