"""Where parts of the voice core are reached by one another. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

from nf.documents.fleet import Appliance, Fleet, Interface
from sip.documents import Listener, Proxy, Relay, Voice


def plain_listener(proxy: Proxy) -> Listener | None:
    """By which other parts ask a proxy, datagrams first: nothing that is encrypted goes between them. None: it has
    none."""
    plain = [one for one in proxy.listeners if one.transport in {"udp", "tcp"}]
    return min(plain, key=lambda one: (one.transport != "udp", one.port), default=None)


def segment(appliance: Appliance, address: IPv4Address) -> Interface | None:
    """The interface in whose subnet the address is."""
    return next((one for one in appliance.interfaces if address in one.address.network), None)


def asking_address(voice: Voice, fleet: Fleet, relay: Relay) -> IPv4Address:
    """From which a relay asks proxies: its own, or, where that moves between partners, its appliance's beside it."""
    paired = any(one.id == relay.partner for one in voice.relays)
    beside = segment(fleet.appliance(relay.appliance), relay.address) if paired else None
    return beside.address.ip if beside is not None else relay.address
