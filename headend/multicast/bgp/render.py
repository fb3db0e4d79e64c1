"""BgpSection -> configuration of bgpd, and back from what it runs. Lines are rendered as FRR 8.4 shows them. Pure.

Only host routes and prefixes that the fleet names go in or out. A route that comes back with the own AS in its path is
taken (`allowas-in 1`): it is another place of the same AS, the one to send to while the own is sick.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from pydantic import ValidationError

from headend.multicast.bgp.documents import BgpSection, Neighbour, RpkiCache
from headend.multicast.frr.config import Line

DAEMON = "bgpd"
OWN, KNOWN, IN, OUT = "nf-own", "nf-known", "nf-in", "nf-out"
KEEPALIVE_S, HOLD_S = 1, 3
"""A router that dies without a word is missed after three seconds at most (RFC 4271 section 4.2: the least)."""
_FAMILY = "address-family ipv4 unicast"
_POLLING_S, _RETRY_S = 60, 10  # a notice that comes while a router still takes the one before it is lost
_LIST = re.compile(r"^ip prefix-list (\S+) seq \d+ permit (\S+)$", re.ASCII)
_CACHE = re.compile(r"^rpki cache (\S+) (\d+) preference 1$", re.ASCII)


def canonical(section: BgpSection) -> BgpSection:
    """Everything in order and once."""
    return section.model_copy(
        update={
            "neighbours": tuple(sorted(section.neighbours, key=lambda n: n.address)),
            "originates": tuple(sorted(set(section.originates))),
            "known": tuple(sorted({*section.known, *section.originates})),
        }
    )


def render(section: BgpSection) -> tuple[Line, ...]:
    """In an order in which bgpd takes them: what is referred to stands before what refers to it."""
    section = canonical(section)
    lines: list[Line] = []
    if section.rpki is not None:
        cache = section.rpki
        lines += [("rpki",), ("rpki", f"rpki polling_period {_POLLING_S}")]
        lines.append(("rpki", f"rpki retry_interval {_RETRY_S}"))
        lines.append(("rpki", f"rpki cache {cache.address} {cache.port} preference 1"))
    for name, prefixes in ((OWN, section.originates), (KNOWN, section.known)):
        lines += [(f"ip prefix-list {name} seq {5 * n} permit {p}",) for n, p in enumerate(prefixes, start=1)]
    for name, allowed in ((OWN, OWN), (IN, KNOWN), (OUT, KNOWN)):
        head = f"route-map {name} permit 10"
        lines += [(head,), (head, f"match ip address prefix-list {allowed}")]
        lines += [(head, "match rpki valid")] if name == IN and section.rpki is not None else []
    lines += _router(section)
    return tuple(lines)


def _router(section: BgpSection) -> list[Line]:
    head = f"router bgp {section.as_number}"
    lines: list[Line] = [
        (head,),
        (head, f"bgp router-id {section.router_id}"),
        (head, "no bgp default ipv4-unicast"),
        (head, f"timers bgp {KEEPALIVE_S} {HOLD_S}"),
    ]
    inside: list[str] = [f"redistribute kernel route-map {OWN}"] if section.originates else []
    for neighbour in section.neighbours:
        name = f"neighbor {neighbour.address}"
        lines += [(head, f"{name} remote-as {neighbour.as_number}"), (head, f"{name} timers connect 1")]
        inside += [f"{name} activate"]
        inside += [f"{name} next-hop-self"] if neighbour.as_number == section.as_number else []
        inside += [f"{name} soft-reconfiguration inbound"] if section.rpki is not None else []
        inside += [f"{name} allowas-in 1", f"{name} route-map {IN} in", f"{name} route-map {OUT} out"]
    return [*lines, (head, _FAMILY), *((head, _FAMILY, line) for line in inside)]


def parse(lines: Iterable[Line]) -> BgpSection | None:
    """The section that the configuration most likely came from; `parse(render(s)) == canonical(s)`."""
    every = tuple(lines)
    head = next((line[0] for line in every if line[0].startswith("router bgp ")), "")
    router_id = next((line[1] for line in every if len(line) == 2 and line[1].startswith("bgp router-id ")), "")
    found: dict[str, list[str]] = {OWN: [], KNOWN: []}
    for line in every:
        if (match := _LIST.match(line[0])) is not None:
            found.setdefault(match[1], []).append(match[2])
    caches = [match for line in every if len(line) == 2 and (match := _CACHE.match(line[1])) is not None]
    try:
        return BgpSection(
            router_id=IPv4Address(router_id.rpartition(" ")[2]),
            as_number=int(head.rpartition(" ")[2]),
            neighbours=tuple(_neighbours(line[1] for line in every if line[0] == head and len(line) == 2)),
            originates=tuple(IPv4Network(text) for text in found[OWN]),
            known=tuple(IPv4Network(text) for text in found[KNOWN]),
            rpki=RpkiCache(address=IPv4Address(caches[0][1]), port=int(caches[0][2])) if caches else None,
        )
    except (ValueError, ValidationError):
        return None


def _neighbours(lines: Iterable[str]) -> Iterable[Neighbour]:
    matches = (re.fullmatch(r"neighbor (\S+) remote-as (\d+)", line) for line in lines)
    found = [Neighbour(address=IPv4Address(m[1]), as_number=int(m[2])) for m in matches if m is not None]
    return sorted(found, key=lambda neighbour: neighbour.address)


def deviations(have: Sequence[Line], section: BgpSection | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(extra, missing): lines that run and are not the section's, and the other way round."""
    want = render(section) if section is not None else ()
    extra = tuple(" / ".join(line) for line in have if line not in frozenset(want))
    return extra, tuple(" / ".join(line) for line in want if line not in frozenset(have))
