"""What the kernel has, put in the words of section `interfaces`; and what the section asks of the kernel. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface

from headend.multicast.documents import InterfacesSection
from headend.multicast.interfaces.client import ADDRESS_PROTOCOL, Address, LinkState
from nf.contracts.json import Json, JsonObject

LOOPBACK = "lo"
MANAGEMENT = "eth0"
"""Out-of-band and never touched."""


@dataclass(frozen=True, slots=True)
class Observed:
    """`rp_filter`: effective value by interface, the larger of its own and of `all` (Linux, ip-sysctl).
    `deaf`: ends of a pair that drop what the other end sends, because its address is one of this machine."""

    links: Mapping[str, LinkState] = field(default_factory=dict)
    forwarding: bool = False
    rp_filter: Mapping[str, int] = field(default_factory=dict)
    deaf: frozenset[str] = frozenset()


def rp_filter_for(forwarding: bool, *, tap: bool = False) -> int:
    """Loose (2, RFC 3704 section 2.4) on a router, since equal-cost paths are asymmetric.

    Off (0) on a host and on a router's tap: a receiver has no route to the source of a multicast.
    """
    return 2 if forwarding and not tap else 0


def canonical(section: InterfacesSection) -> InterfacesSection:
    """Interfaces in the order of their names, secondary addresses in theirs: the kernel keeps an order of its own."""
    ordered = (f.model_copy(update={"secondary": tuple(sorted(f.secondary))}) for f in section.interfaces)
    return section.model_copy(update={"interfaces": tuple(sorted(ordered, key=lambda i: i.name))})


def is_empty(section: InterfacesSection) -> bool:
    """A section without any address owns nothing, so it is the same as no section."""
    return section.loopback is None and section.loopback6 is None and not section.interfaces


def wanted_addresses(section: InterfacesSection) -> dict[str, tuple[str, ...]]:
    """Interface -> IPv4 prefixes, the main one first; the loopback and the far ends of pairs included."""
    wanted: dict[str, tuple[str, ...]] = {}
    for interface in section.interfaces:
        wanted[interface.name] = (str(interface.address), *map(str, interface.secondary))
        if interface.pair is not None:
            wanted[interface.pair] = (str(interface.pair_address),) if interface.pair_address is not None else ()
    if section.loopback is not None:
        wanted[LOOPBACK] = (f"{section.loopback}/32",)
    elif section.loopback6 is not None:
        wanted[LOOPBACK] = ()
    return wanted


def wanted_loopback6(section: InterfacesSection | None) -> tuple[str, ...]:
    """As the kernel tells it."""
    return () if section is None or section.loopback6 is None else (f"{section.loopback6}/128",)


def wanted_pairs(section: InterfacesSection | None) -> dict[str, str]:
    """Near end -> far end."""
    interfaces = section.interfaces if section is not None else ()
    return {interface.name: interface.pair for interface in interfaces if interface.pair is not None}


def bridges_of(section: InterfacesSection | None) -> frozenset[str]:
    """Interfaces that another driver makes."""
    return (
        frozenset(interface.name for interface in section.interfaces if interface.made_by is not None)
        if section
        else frozenset()
    )


def pairs_of(links: Mapping[str, LinkState]) -> dict[str, str]:
    """Near end -> far end of the pairs that the driver made."""
    taps = {link.index: name for name, link in links.items() if link.tap}
    return {n: taps[link.peer] for n, link in links.items() if link.peer is not None and link.peer in taps}


def owned_names(links: Mapping[str, LinkState]) -> frozenset[str]:
    """Interfaces that the driver made or that have an address it set."""
    return frozenset(
        n for n, link in links.items() if link.peer is not None or link.own6 or any(a.ours for a in link.addresses)
    )


def foreign_addresses(link: LinkState, prefixes: Collection[str]) -> tuple[Address, ...]:
    """Addresses that may not stay when `prefixes` are to be the only ones. On lo, what others set is left alone."""
    return tuple(
        a for a in link.addresses if a.prefix not in prefixes and (a.ours or (link.name != LOOPBACK and prefixes))
    )


def marked(prefix: str) -> Address:
    return Address(prefix, protocol=ADDRESS_PROTOCOL)


def to_value(observed: Observed) -> JsonObject | None:
    """The section as it stands, restricted to owned interfaces; keys beyond the section tell what is out of order."""
    owned = owned_names(observed.links)
    if not owned:
        return None
    taps = pairs_of(observed.links)
    value: JsonObject = {"forwarding": observed.forwarding}
    interfaces: list[Json] = []
    extra: list[Json] = []
    for name in sorted(owned):
        link = observed.links[name]
        own = [address.prefix for address in link.addresses if address.ours]
        extra += [f"{name} {address.prefix}" for address in foreign_addresses(link, own)]
        if name == LOOPBACK:
            for key, prefixes, whole in (("loopback", own, "/32"), ("loopback6", link.own6, "/128")):
                if prefixes and prefixes[0].endswith(whole):
                    value[key] = prefixes[0].removesuffix(whole)
                extra += [f"{name} {prefix}" for prefix in prefixes[1:]]
        elif name not in taps.values():
            interfaces.append(_interface(name, own, observed, taps.get(name)))
    value["interfaces"] = interfaces
    down: list[Json] = [name for name in sorted(owned) if not observed.links[name].up]
    right = {name: rp_filter_for(observed.forwarding, tap=name in taps.values()) for name in owned}
    wrong: JsonObject = {n: v for n, v in sorted(observed.rp_filter.items()) if n in owned and v != right[n]}
    found: JsonObject = {"extra": extra, "down": down, "rp_filter": wrong, "deaf": [*sorted(observed.deaf)]}
    return value | {key: item for key, item in found.items() if item}


def _interface(name: str, own: list[str], observed: Observed, tap: str | None) -> JsonObject:
    entry: JsonObject = {"name": name, "secondary": [*sorted(own[1:], key=_prefix_key)]}
    if own:
        entry["address"] = own[0]
    if tap is not None:
        entry["pair"] = tap
        far = [address.prefix for address in observed.links[tap].addresses if address.ours]
        entry |= {"pair_address": far[0]} if far else {}
    return entry


def _prefix_key(prefix: str) -> IPv4Interface:
    return IPv4Interface(prefix)


def differences(have: JsonObject | None, want: InterfacesSection | None) -> tuple[str, ...]:
    """One line each, in an operator's words; empty = the same."""
    if want is None or is_empty(want):
        return () if have is None else ("addresses are set that should not be",)
    if have is None:
        return ("no address is set",)
    have, target = _without_makers(have), _without_makers(canonical(want).to_json())
    return tuple(
        f"{key} is {have.get(key)}, wanted {target.get(key, 'none')}"
        for key in sorted(have.keys() | target.keys())
        if have.get(key) != target.get(key)
    )


def _without_makers(value: JsonObject) -> JsonObject:
    """Who makes an interface cannot be read from it, and says nothing of its addresses."""
    entries = value.get("interfaces")
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return {**value, "interfaces": [{k: v for k, v in entry.items() if k != "made_by"} for entry in found]}
