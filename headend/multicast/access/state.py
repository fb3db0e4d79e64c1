"""What the kernel has, put in the words of section `multicast-access`, and how that differs from a section. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headend.multicast.access.bridge import BRIDGE_SETTINGS, Link, port_settings
from headend.multicast.access.client import FollowerStatus
from headend.multicast.access.documents import AccessLan, AccessPort, AccessSection
from headend.multicast.access.render import TABLE, parse_table
from nf.contracts.json import Json, JsonObject
from nf.errors import Problem

RESERVED = frozenset({"eth0", "lo"})
"""The management interface and the loopback."""


@dataclass(frozen=True, slots=True)
class Observed:
    """`table` None: there is none. `follower` None: none answers."""

    links: Mapping[str, Link] = field(default_factory=dict)
    table: Sequence[JsonObject] | None = None
    devices: Mapping[str, str] = field(default_factory=dict)
    follower: FollowerStatus | None = None


def canonical(section: AccessSection) -> AccessSection:
    lans = [
        lan.model_copy(update={"ports": tuple(sorted(map(_canonical_port, lan.ports), key=lambda port: port.name))})
        for lan in section.lans
    ]
    return AccessSection(lans=tuple(sorted(lans, key=_lan_order)))


def _canonical_port(port: AccessPort) -> AccessPort:
    return port if port.groups is None else port.model_copy(update={"groups": tuple(sorted(set(port.groups)))})


def _lan_order(lan: AccessLan) -> tuple[str, str]:
    return (lan.bridge or "", lan.ports[0].name)


def all_ports(section: AccessSection | None) -> tuple[AccessPort, ...]:
    return tuple(port for lan in section.lans for port in lan.ports) if section is not None else ()


def bridges(section: AccessSection | None) -> dict[str, AccessLan]:
    return {lan.bridge: lan for lan in section.lans if lan.bridge is not None} if section is not None else {}


def to_value(observed: Observed) -> JsonObject | None:
    """The section as it stands; None when nothing of the driver's is there. `damage`: what is out of order."""
    own = {name: link for name, link in observed.links.items() if link.ours}
    if observed.table is None and not own:
        return None
    ports, damage = parse_table(observed.table or (), observed.devices)
    lans: dict[str, list[AccessPort]] = {}
    plain: list[AccessLan] = []
    for port in ports:
        link = observed.links.get(port.name)
        if link is None:
            damage = (*damage, f"port {port.name} does not exist")
        if link is not None and link.master in own and link.master is not None:
            lans.setdefault(link.master, []).append(port)
        else:
            plain.append(AccessLan(ports=(port,)))
    named = {port.name for port in ports}
    section = canonical(
        AccessSection(lans=(*plain, *(AccessLan(bridge=name, ports=tuple(found)) for name, found in lans.items())))
    )
    damage = (*damage, *(_bridge_damage(own, lans, observed.links, named)), *_follower_damage(observed.follower, named))
    value = section.to_json()
    if observed.table is None:
        damage = (*damage, f"table {TABLE} does not exist: any multicast may leave")
    return {**value, "damage": [*damage]} if damage else value


def _bridge_damage(
    own: Mapping[str, Link], lans: Mapping[str, list[AccessPort]], links: Mapping[str, Link], known: set[str]
) -> Iterator[str]:
    for name, bridge in sorted(own.items()):
        yield from _wrong(name, bridge.bridge, BRIDGE_SETTINGS)
        if not bridge.up:
            yield f"bridge {name} is down"
        if name not in lans:
            yield f"bridge {name} has no port"
        for port in lans.get(name, ()):
            link = links[port.name]
            yield from _wrong(port.name, link.port, port_settings(fast_leave=port.fast_leave))
            if not link.up:
                yield f"port {port.name} is down"
        foreign = sorted(link.name for link in links.values() if link.master == name and link.name not in known)
        yield from (f"{other} is a port of bridge {name} without limits" for other in foreign)


def _wrong(name: str, have: Mapping[str, int], want: Mapping[str, int]) -> Iterator[str]:
    yield from (
        f"{name}: {key} is {have.get(key)}, not {value}" for key, value in want.items() if have.get(key) != value
    )


def _follower_damage(follower: FollowerStatus | None, ports: set[str]) -> Iterator[str]:
    if not ports:
        return
    if follower is None:
        yield "the follower does not answer: joins are not followed"
    elif follower.ports.keys() != ports:
        yield f"the follower follows {', '.join(sorted(follower.ports)) or 'nothing'}"


def section_of(value: JsonObject | None) -> AccessSection | None:
    if value is None:
        return None
    return AccessSection.model_validate({key: item for key, item in value.items() if key != "damage"})


def damage_of(value: JsonObject | None) -> tuple[str, ...]:
    damage = (value or {}).get("damage")
    return tuple(map(str, damage)) if isinstance(damage, list) else ()


def differences(have: JsonObject | None, want: AccessSection | None) -> tuple[str, ...]:
    """One line each, in an operator's words; empty = the same."""
    if want is None or not want.lans:
        return () if have is None else ("bridges or limits stand that should not",)
    if have is None:
        return ("no limit stands on any port",)
    live, wanted = _by_port(section_of(have)), _by_port(canonical(want))
    return (
        *(f"port {name} has no limits" for name in sorted(wanted.keys() - live.keys())),
        *(f"port {name} has limits and should not" for name in sorted(live.keys() - wanted.keys())),
        *(
            f"port {name} is {_told(live[name])}, wanted {_told(wanted[name])}"
            for name in sorted(live.keys() & wanted.keys())
            if live[name] != wanted[name]
        ),
        *damage_of(have),
    )


def _by_port(section: AccessSection | None) -> dict[str, tuple[str | None, AccessPort]]:
    lans = section.lans if section is not None else ()
    return {port.name: (lan.bridge, port) for lan in lans for port in lan.ports}


def _told(found: tuple[str | None, AccessPort]) -> Json:
    bridge, port = found
    return {"bridge": bridge, **port.to_json()}


def problems(section: AccessSection, links: Mapping[str, Link]) -> Iterator[Problem]:
    """Rules of the section itself, and what the links as they are do not allow."""
    names = Counter(port.name for port in all_ports(section))
    names.update(lan.bridge for lan in section.lans if lan.bridge is not None)
    for name, count in sorted(names.items()):
        if count > 1:
            yield Problem("named more than once", "a port or bridge belongs to one LAN", key=name)
        if name in RESERVED:
            yield Problem("is not part of the data plane", "leave it out", key=name)
    for lan in section.lans:
        if lan.bridge is None and len(lan.ports) > 1:
            yield Problem("more than one port without a bridge", "name a bridge", key=lan.ports[0].name)
        standing = links.get(lan.bridge or "")
        if standing is not None and not standing.ours:
            yield Problem("there is such an interface, and it is not ours", "choose another name", key=standing.name)
        yield from _port_problems(lan, links)


def _port_problems(lan: AccessLan, links: Mapping[str, Link]) -> Iterator[Problem]:
    for port in lan.ports:
        link = links.get(port.name)
        if link is None:
            remedy = "check the name in the fleet document, and that the card is there"
            yield Problem("does not exist", remedy, key=port.name)
        elif link.master is not None and not links[link.master].ours:
            yield Problem(f"is a port of {link.master} already", "take it out there first", key=port.name)
