"""Where the traffic of a UE for a destination goes, and why. Pure; from what the kernel has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from core5g.documents import Network
from core5g.steering.contract import Exit
from core5g.steering.destinations import covering, network_of, overlaps, shown
from core5g.steering.n6.documents import Influence, IpAddress, N6Section
from core5g.steering.n6.reading import interfaces_of, names_of, prefixes_of
from core5g.steering.n6.render import OPEN
from nf.contracts.json import JsonObject


@dataclass(frozen=True, slots=True)
class View:
    """What is steered now. `why` the gate is as it is; `behind`: the interface by which the UE is reached."""

    section: N6Section
    influences: tuple[Influence, ...]
    is_open: bool
    why: str
    prefixes: tuple[Network, ...]
    names: frozenset[IpAddress]
    behind: str


def view_of(
    section: N6Section, influences: Sequence[Influence], listed: Sequence[JsonObject], *, why: str, behind: str
) -> View:
    """`listed`: the table as it stands."""
    is_open = bool(interfaces_of(listed, OPEN))
    return View(section, tuple(influences), is_open, why, prefixes_of(listed), names_of(listed), behind)


def explain(view: View, ue: str, destination: str) -> JsonObject:
    """Result of `steer-explain`: exit, why, rule, cache."""
    address = _address(ue)
    if address is None:
        return told("unknown-ue", "steering at N6 knows UEs by their address: ask for that (SMF, /pdu-info)", "")
    if view.behind not in view.section.tuns:
        reached = f"reached by {view.behind}" if view.behind else "not reached at all"
        return told("unknown-ue", f"{ue} is {reached}, not by {' or '.join(view.section.tuns)}", "")
    target = network_of(destination)
    found = _named(view, destination) if target is None else _found(view, address, target)
    if found is None:
        return told("default", f"{destination} is neither a prefix nor a name of the CDN", "")
    version = target.version if target is not None else address.version
    rule = shown(found.rules)
    cache = view.section.cache.address if version == 4 else view.section.cache.address6
    if cache is None or not view.is_open:
        why = f"the gate is shut: {view.why}" if cache is not None else "the cache has no IPv6 address"
        return told("default", why, rule)
    to = f"to port {', '.join(map(str, found.ports))}"
    if found.part:
        why = f"of it {shown(found.part)}: new TCP flows {to} go to the cache, all else by the default exit: {view.why}"
        return told("partly", why, rule, str(cache))
    return told("cache", f"new TCP flows {to} go to the cache: {view.why}", rule, str(cache))


@dataclass(frozen=True, slots=True)
class _Found:
    """Rules that apply, and the ports they are about. `part` of the destination; empty: all of it."""

    rules: tuple[str, ...]
    ports: tuple[int, ...]
    part: tuple[Network, ...] = ()


def _named(view: View, destination: str) -> _Found | None:
    name = destination.lower().rstrip(".")
    return _Found((f"name {name}",), view.section.ports) if name in view.section.names else None


def _found(view: View, ue: IpAddress, target: Network) -> _Found | None:
    """In the order in which the kernel tries them."""
    rules, part = covering(target, _rules(view, ue, target))
    if not rules:
        return None
    ports = tuple(sorted({port for _, ports in rules for port in ports}))
    return _Found(tuple(rule for rule, _ in rules), ports, part if part != (target,) else ())


def _rules(
    view: View, ue: IpAddress, target: Network
) -> Iterator[tuple[tuple[str, tuple[int, ...]], tuple[Network, ...]]]:
    ports = view.section.ports
    for influence in sorted(view.influences, key=lambda one: one.id):
        if not influence.ues or any(ue in prefix for prefix in influence.ues):
            yield (f"influence {influence.id}", influence.ports or ports), influence.prefixes
    for prefix in view.prefixes:
        if overlaps(target, prefix):
            yield (f"prefix {prefix}", ports), (prefix,)
    learnt = tuple(ip_network(address) for address in view.names if address in target)
    yield ("an address of the CDN's names", ports), learnt


def _address(text: str) -> IpAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def told(way: Exit, why: str, rule: str, cache: str | None = None) -> JsonObject:
    return {"exit": way, "why": why, "rule": rule, "cache": cache}
