"""Where the traffic of a UE for a destination goes, and why. Pure; from what the kernel has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from core5g.documents import Network
from core5g.steering.n6.documents import Influence, IpAddress, N6Section
from core5g.steering.n6.reading import interfaces_of, names_of, prefixes_of
from core5g.steering.n6.render import OPEN
from nf.contracts.json import JsonObject

Exit = Literal["cache", "default", "unknown-ue"]


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
    rule, ports = _rule(view, address, destination)
    if not rule:
        return told("default", f"{destination} is neither a prefix nor a name of the CDN", "")
    target = _address(destination)
    version = target.version if target is not None else 4
    cache = view.section.cache.address if version == 4 else view.section.cache.address6
    if cache is None:
        return told("default", "the cache has no IPv6 address", rule)
    if not view.is_open:
        return told("default", f"the gate is shut: {view.why}", rule)
    shown = ", ".join(map(str, ports))
    return told("cache", f"new TCP flows to port {shown} go to the cache: {view.why}", rule, str(cache))


def _rule(view: View, ue: IpAddress, destination: str) -> tuple[str, tuple[int, ...]]:
    """The first that applies, as the kernel tries them, and its ports; empty when none does."""
    ports = view.section.ports
    target = _address(destination)
    if target is None:
        named = destination.lower().rstrip(".") in view.section.names
        return (f"name {destination.lower().rstrip('.')}", ports) if named else ("", ports)
    for influence in sorted(view.influences, key=lambda one: one.id):
        own = not influence.ues or any(ue in prefix for prefix in influence.ues)
        if own and any(target in prefix for prefix in influence.prefixes):
            return f"influence {influence.id}", influence.ports or ports
    for prefix in view.prefixes:
        if target in prefix:
            return f"prefix {prefix}", ports
    return ("an address of the CDN's names", ports) if target in view.names else ("", ports)


def _address(text: str) -> IpAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def told(way: Exit, why: str, rule: str, cache: str | None = None) -> JsonObject:
    return {"exit": way, "why": why, "rule": rule, "cache": cache}
