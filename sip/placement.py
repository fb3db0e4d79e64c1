"""Where parts of the voice core are reached by one another, and the order in which a site of it is emptied. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

from nf.documents.fleet import Appliance, Fleet, Interface
from sip.documents import Listener, Proxy, Relay, Voice

PROXY_DRIVER, RELAY_DRIVER, MEDIA_DRIVER, GATEWAY_DRIVER, TURN_DRIVER = (
    "kamailio",
    "rtpengine",
    "freeswitch",
    "janus",
    "turn",
)
Carrier = tuple[str, str]
"""Appliance and driver of what is drained."""


def draining_order(voice: Voice) -> tuple[tuple[Carrier, ...], ...]:
    """What begins nothing new when its site is drained, stage after stage; relays, which their proxies hold, come after
    all of it. A browser's session is in a call of a proxy, or a way to a relay for one: proxies come first. What its
    document drains is no matter of operations, and is left out."""
    edge = [(one.appliance, GATEWAY_DRIVER) for one in voice.gateways if not one.drained]
    edge += [(one.appliance, TURN_DRIVER) for one in voice.turns if not one.drained]
    proxies = sorted((one.appliance, PROXY_DRIVER) for one in voice.proxies)
    servers = sorted((one.appliance, MEDIA_DRIVER) for one in voice.media_servers)
    return tuple(proxies), tuple(sorted(edge)), tuple(servers)


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
