"""At which site a client is, by its address."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import Request

from nf.documents.fleet import Fleet, Role
from nf.media.network import Network
from nf.media.northbound.settings import PlayerSettings, Prefix


def site_prefixes(fleet: Fleet) -> dict[str, tuple[Prefix, ...]]:
    """Site -> the subnets of its PoPs in which receivers are."""
    network = Network(fleet)
    found: dict[str, list[Prefix]] = {}
    for appliance in fleet.spec.appliances:
        if appliance.role is Role.POP:
            subnets = [face.address.network for face in network.access_interfaces(appliance.id)]
            found.setdefault(appliance.site, []).extend(subnets)
    return {site: tuple(dict.fromkeys(prefixes)) for site, prefixes in found.items()}


class Whereabouts:
    """The longest prefix counts; of two that are alike the one that was set by hand."""

    def __init__(self, fleet: Fleet, settings: PlayerSettings) -> None:
        pairs = [(prefix, site) for site, prefixes in settings.clients.items() for prefix in prefixes]
        pairs += [(prefix, site) for site, prefixes in site_prefixes(fleet).items() for prefix in prefixes]
        self._sites: Sequence[tuple[Prefix, str]] = sorted(pairs, key=lambda pair: -pair[0].prefixlen)

    def site_of(self, address: IPv4Address | IPv6Address | None) -> str:
        """Empty when nothing is known of it."""
        if address is None:
            return ""
        return next((site for prefix, site in self._sites if address in prefix), "")


def client_address(request: Request, proxies: Sequence[Prefix]) -> IPv4Address | IPv6Address | None:
    """Of the client itself: behind proxies of ours the last one that is none of them (X-Forwarded-For)."""
    peer = _address(request.client.host) if request.client is not None else None
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    for text in reversed(forwarded.split(",") if forwarded else []):
        if peer is None or not any(peer in prefix for prefix in proxies):
            break
        peer = _address(text.strip())
    return peer


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
