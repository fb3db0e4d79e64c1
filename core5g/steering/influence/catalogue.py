"""What the API's words mean here, from the committed documents. Pure.

    application   a path of type upf-breakout that has prefixes: what is influenced is traffic to them
    zone          a site at which it can leave; region: the fleet
    instance      the cache of a zone that serves the application

Their identifiers follow from their names: they are the same at every NOC, and after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from core5g.documents import EQUIPMENT, Core5g, Network
from core5g.steering.contract import InfluenceOrder
from core5g.steering.influence.faults import ApiError, invalid, not_applicable, out_of_range
from core5g.steering.influence.wire import Device, DeviceIntent, Intent
from core5g.steering.n6.documents import collapsed
from core5g.steering.places import Places, Steering
from core5g.steering.ways import Way, ways
from core5g.ue import prefix_of
from nf.contracts.json import JsonObject
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp

_BASE: Final = "https://streamverse.example/traffic-influence"


def identifier(kind: str, *names: str) -> UUID:
    return uuid5(NAMESPACE_URL, "/".join((_BASE, kind, *names)))


@dataclass(frozen=True, slots=True)
class Instance:
    id: UUID
    zone_id: UUID
    zone_name: str
    cache: str
    upfs: tuple[str, ...]

    def to_json(self) -> JsonObject:
        return {
            "appInstanceId": str(self.id),
            "edgeCloudZoneId": str(self.zone_id),
            "zone": self.zone_name,
            "cache": self.cache,
            "upfs": [*self.upfs],
        }


@dataclass(frozen=True, slots=True)
class Application:
    id: UUID
    name: str
    prefixes: tuple[Network, ...]
    instances: tuple[Instance, ...]

    def to_json(self) -> JsonObject:
        return {
            "appId": str(self.id),
            "name": self.name,
            "prefixes": [str(prefix) for prefix in self.prefixes],
            "instances": [one.to_json() for one in self.instances],
        }


@dataclass(frozen=True, slots=True)
class Orders:
    """What an intent comes to: an order for each UPF. `device`: the one identifier that was used, as in an answer."""

    by_upf: Mapping[str, InfluenceOrder]
    instances: tuple[UUID, ...]
    device: JsonObject | None = None


class Catalogue:
    def __init__(self, lineup: LineUp, fleet: Fleet) -> None:
        core = fleet.spec.equipment.get(EQUIPMENT)
        self._core = core if isinstance(core, Core5g) else None
        self._steering = Places(fleet, self._core).steering if self._core is not None else {}
        self.region = fleet.metadata.name
        found = (self._application(way) for way in sorted(ways(lineup), key=lambda way: way.name))
        self.applications = tuple(one for one in found if one is not None)

    def _application(self, way: Way) -> Application | None:
        by_cache: dict[tuple[str, str], list[Steering]] = {}
        for steering in self._steering.values():
            if steering.site in way.sites:
                by_cache.setdefault((steering.site, steering.cache.appliance), []).append(steering)
        if not way.path.prefixes:
            return None
        instances = tuple(
            Instance(
                id=identifier("instance", self.region, way.channel.id, way.path.id, cache),
                zone_id=identifier("zone", self.region, site),
                zone_name=site,
                cache=cache,
                upfs=tuple(sorted(one.upf.id for one in found)),
            )
            for (site, cache), found in sorted(by_cache.items())
        )
        app_id = identifier("application", self.region, way.channel.id, way.path.id)
        return Application(app_id, way.name, collapsed(way.path.prefixes), instances)

    # ---- from an intent to orders ----

    def orders(self, resource: str, intent: Intent) -> Orders:
        """Raises ApiError: what the intent names is not here, or cannot be done."""
        application = next((one for one in self.applications if one.id == intent.app_id), None)
        if application is None:
            raise invalid(f"appId {intent.app_id} is no application of this operator")
        instances = self._instances(application, intent)
        ports = _ports(intent)
        device = intent.device if isinstance(intent, DeviceIntent) else None
        ues: tuple[Network, ...] = ()
        used: JsonObject | None = None
        upfs = self._speaking([name for one in instances for name in one.upfs], ports)
        if device is not None:
            ue, used = self._ue(device)
            ues = (ue,)
            upfs = [name for name in upfs if self._serves(name, ue)]
            if not upfs:
                raise not_applicable("no instance is near the user plane that serves this device")
        order = InfluenceOrder(resource, "add", application.prefixes, ues, ports)
        chosen = tuple(one.id for one in instances if set(one.upfs) & set(upfs))
        return Orders(dict.fromkeys(sorted(upfs), order), chosen, used)

    def _instances(self, application: Application, intent: Intent) -> Sequence[Instance]:
        found = application.instances
        if intent.region is not None and intent.region != self.region:
            raise out_of_range(f"edgeCloudRegion {intent.region!r} is none of this operator: it is {self.region!r}")
        if intent.zone_id is not None:
            found = tuple(one for one in found if one.zone_id == intent.zone_id)
            if not found:
                raise out_of_range(f"edgeCloudZoneId {intent.zone_id} has no instance of the application")
        if intent.app_instance_id is not None:
            found = tuple(one for one in found if one.id == intent.app_instance_id)
            if not found:
                raise out_of_range(f"appInstanceId {intent.app_instance_id} is no instance of the application there")
        if not found:
            raise out_of_range("the application has no instance near any user plane")
        return found

    def _speaking(self, upfs: Sequence[str], ports: Sequence[int]) -> list[str]:
        """Those whose cache answers at these ports."""
        found = [name for name in upfs if set(ports) <= set(self._steering[name].cache.ports)]
        if not found:
            spoken = sorted({port for name in upfs for port in self._steering[name].cache.ports})
            asked, known = (", ".join(map(str, some)) for some in (ports, spoken))
            raise out_of_range(f"destinationPort {asked} is not supported: the instances listen on {known}")
        return found

    def _ue(self, device: Device) -> tuple[Network, JsonObject]:
        """The address by which a UE is known behind its UPF; an address behind a translation says nothing here."""
        if device.ipv4_address is not None:
            own = device.ipv4_address.private_address or device.ipv4_address.public_address
            if self._pool(IPv4Network(own)):
                return IPv4Network(own), {"ipv4Address": _shown(device)}
            if device.ipv4_address.private_address is None:
                raise not_applicable("a device behind address translation is identified by its privateAddress")
        elif device.ipv6_address is not None:
            network = prefix_of(device.ipv6_address)
            if self._pool(network):
                return network, {"ipv6Address": str(device.ipv6_address)}
        else:
            raise not_applicable("a device is identified by ipv4Address or ipv6Address here")
        raise ApiError(404, "IDENTIFIER_NOT_FOUND", "the address is of no device of this network")

    def _pool(self, ue: Network) -> frozenset[str]:
        """The DNNs whose pools have the UE."""
        if self._core is None:
            return frozenset()
        return frozenset(network.dnn for network in self._core.networks for pool in network.pools if _within(ue, pool))

    def _serves(self, upf: str, ue: Network) -> bool:
        return bool(self._pool(ue) & set(self._steering[upf].upf.dnns))


def _within(one: Network, pool: Network) -> bool:
    if isinstance(one, IPv4Network) and isinstance(pool, IPv4Network):
        return one.subnet_of(pool)
    return isinstance(one, IPv6Network) and isinstance(pool, IPv6Network) and one.subnet_of(pool)


def _shown(device: Device) -> JsonObject:
    found = device.ipv4_address.model_dump(mode="json", by_alias=True, exclude_none=True) if device.ipv4_address else {}
    return {key: str(ip_address(value)) if isinstance(value, str) else value for key, value in found.items()}


def _ports(intent: Intent) -> tuple[int, ...]:
    """TCP ports; empty: all that the instances speak. Raises ApiError for what steering cannot tell apart."""
    if intent.source is not None and intent.source.source_port is not None:
        raise out_of_range("sourceTrafficFilters are not supported: traffic is influenced by its destination")
    if intent.destination is None:
        return ()
    protocol, port = intent.destination.destination_protocol, intent.destination.destination_port
    if protocol is not None and protocol.upper() != "TCP":
        raise out_of_range(f"destinationProtocol {protocol!r} is not supported: the instances speak TCP")
    return () if port is None else (port,)
