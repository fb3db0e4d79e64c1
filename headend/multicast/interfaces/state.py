"""What the kernel has, put in the words of section `interfaces`; and what the section asks of the kernel. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headend.multicast.documents import InterfacesSection
from headend.multicast.interfaces.client import ADDRESS_PROTOCOL, Address, LinkState
from nf.contracts.json import Json, JsonObject

LOOPBACK = "lo"
MANAGEMENT = "eth0"
"""Out-of-band and never touched."""


@dataclass(frozen=True, slots=True)
class Observed:
    """`rp_filter`: effective value by interface, the larger of its own and of `all` (Linux, ip-sysctl)."""

    links: Mapping[str, LinkState] = field(default_factory=dict)
    forwarding: bool = False
    rp_filter: Mapping[str, int] = field(default_factory=dict)


def rp_filter_for(forwarding: bool) -> int:
    """Loose (2, RFC 3704 section 2.4) on a router, since equal-cost paths are asymmetric.

    Off (0) on a host: a receiver has no route to the source of a multicast.
    """
    return 2 if forwarding else 0


def canonical(section: InterfacesSection) -> InterfacesSection:
    return section.model_copy(update={"interfaces": tuple(sorted(section.interfaces, key=lambda i: i.name))})


def is_empty(section: InterfacesSection) -> bool:
    """A section without any address owns nothing, so it is the same as no section."""
    return section.loopback is None and not section.interfaces


def wanted_addresses(section: InterfacesSection) -> dict[str, str]:
    """Interface -> prefix, the loopback included."""
    wanted = {interface.name: str(interface.address) for interface in section.interfaces}
    if section.loopback is not None:
        wanted[LOOPBACK] = f"{section.loopback}/32"
    return wanted


def owned_names(links: Mapping[str, LinkState]) -> frozenset[str]:
    """Interfaces with an address that the driver set."""
    return frozenset(name for name, link in links.items() if any(address.ours for address in link.addresses))


def foreign_addresses(link: LinkState, prefix: str | None) -> tuple[Address, ...]:
    """Addresses that may not stay when `prefix` is to be the only one. On lo, all that others set is left alone."""
    return tuple(a for a in link.addresses if a.prefix != prefix and (a.ours or (link.name != LOOPBACK and prefix)))


def marked(prefix: str) -> Address:
    return Address(prefix, protocol=ADDRESS_PROTOCOL)


def to_value(observed: Observed) -> JsonObject | None:
    """The section as it stands, restricted to owned interfaces; keys beyond the section tell what is out of order."""
    owned = owned_names(observed.links)
    if not owned:
        return None
    value: JsonObject = {"forwarding": observed.forwarding}
    interfaces: list[Json] = []
    extra: list[Json] = []
    for name in sorted(owned):
        link = observed.links[name]
        own = next(address for address in link.addresses if address.ours)
        extra += [f"{name} {address.prefix}" for address in foreign_addresses(link, own.prefix)]
        if name != LOOPBACK:
            interfaces.append({"name": name, "address": own.prefix})
        elif own.prefix.endswith("/32"):
            value["loopback"] = own.prefix.removesuffix("/32")
    value["interfaces"] = interfaces
    down: list[Json] = [name for name in sorted(owned) if not observed.links[name].up]
    right = rp_filter_for(observed.forwarding)
    wrong: JsonObject = {n: v for n, v in sorted(observed.rp_filter.items()) if n in owned and v != right}
    found: JsonObject = {"extra": extra, "down": down, "rp_filter": wrong}
    return value | {key: item for key, item in found.items() if item}


def differences(have: JsonObject | None, want: InterfacesSection | None) -> tuple[str, ...]:
    """One line each, in an operator's words; empty = the same."""
    if want is None or is_empty(want):
        return () if have is None else ("addresses are set that should not be",)
    target = canonical(want).to_json()
    if have is None:
        return ("no address is set",)
    return tuple(
        f"{key} is {have.get(key)}, wanted {target.get(key, 'none')}"
        for key in sorted(have.keys() | target.keys())
        if have.get(key) != target.get(key)
    )
