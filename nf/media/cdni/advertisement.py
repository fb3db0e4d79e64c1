"""Footprint and capabilities advertisement (RFC 8008; capacity limits: RFC 9808), of the documents. Pure.

A capability with footprints holds where they are (RFC 8006, 4.2.2.2): at a site, for the subnets of its receivers.
"""

from __future__ import annotations

from collections.abc import Iterable

from nf.contracts.json import JsonObject
from nf.contracts.paths import PathHealth, Verdict
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.media.documents import CdnPath
from nf.media.network import Network
from nf.media.northbound.whereabouts import site_prefixes
from nf.media.placement import EDGE

_SOFT = 0.8
"""Of the links' capacity: what an upstream is asked to stay below."""


def advertisement(lineup: LineUp, fleet: Fleet, health: Iterable[PathHealth]) -> JsonObject:
    """What the edges serve, and how much each site can give out. A site whose edges are down offers nothing now."""
    paths = [path for channel in lineup.spec.channels for path in channel.delivery if isinstance(path, CdnPath)]
    sites = [site.id for site in fleet.spec.sites if any(site.id in path.sites for path in paths)]
    prefixes = site_prefixes(fleet)
    down = _down(health)
    network = Network(fleet)
    capabilities: list[JsonObject] = []
    if sites:
        everywhere = _footprints([str(prefix) for site in sites for prefix in prefixes.get(site, ())])
        capabilities.append(_capability("FCI.DeliveryProtocol", {"delivery-protocols": ["http/1.1"]}, everywhere))
        capabilities.append(_capability("FCI.AcquisitionProtocol", {"acquisition-protocols": ["http/1.1"]}, everywhere))
    for site in sites:
        capacity = _egress_bps(fleet, network, site)
        usable = 0 if site in down else capacity
        limit: JsonObject = {
            "id": f"egress-{site}",
            "limit-type": "egress",
            "maximum-hard": usable,
            "maximum-soft": int(usable * _SOFT),
        }
        footprints = _footprints([str(prefix) for prefix in prefixes.get(site, ())])
        capabilities.append(_capability("FCI.CapacityLimits", {"limits": [limit]}, footprints))
    return {"capabilities": [*capabilities]}


def _capability(kind: str, value: JsonObject, footprints: list[JsonObject]) -> JsonObject:
    made: JsonObject = {"capability-type": kind, "capability-value": value}
    return {**made, "footprints": [*footprints]} if footprints else made


def _footprints(prefixes: Iterable[str]) -> list[JsonObject]:
    """Types of RFC 8006, 4.3.5; an object has one type."""
    found = list(dict.fromkeys(prefixes))
    kinds = {"ipv4cidr": [p for p in found if ":" not in p], "ipv6cidr": [p for p in found if ":" in p]}
    return [{"footprint-type": kind, "footprint-value": [*values]} for kind, values in kinds.items() if values]


def _down(health: Iterable[PathHealth]) -> frozenset[str]:
    """Sites at which every CDN path that is measured is down."""
    verdicts: dict[str, set[Verdict]] = {}
    for one in health:
        if one.type == "cdn":
            verdicts.setdefault(one.site, set()).add(one.verdict)
    return frozenset(site for site, found in verdicts.items() if found == {Verdict.DOWN})


def _egress_bps(fleet: Fleet, network: Network, site: str) -> int:
    """What the links of the site's edges towards receivers carry, each once."""
    edges = [name for name in fleet.placed(EDGE) if name in network.appliances]
    ends = {
        f"{name}:{face.name}"
        for name in edges
        if network.appliances[name].site == site
        for face in network.access_interfaces(name)
    }
    return sum(link.capacity_bps for link in fleet.spec.links if ends.intersection(link.endpoints))
