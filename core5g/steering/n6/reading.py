"""The table as nft lists it, read back: what it steers, how it differs from what `render` makes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from core5g.documents import Network
from core5g.steering.n6.documents import Influence, IpAddress, N6Section
from core5g.steering.n6.render import (
    CHAINS,
    COUNTERS,
    OPEN,
    SETS,
    SHUT,
    Rules,
    bodies,
    elements,
    rules,
    shut_interfaces,
    speakable,
)
from nf.contracts.json import Json, JsonObject


def interfaces_of(listed: Sequence[JsonObject], name: str) -> frozenset[str]:
    """What is in `open` or `shut`."""
    return frozenset(map(str, elements(listed, name)))


def prefixes_of(listed: Sequence[JsonObject]) -> tuple[Network, ...]:
    """What is in cdn4 and cdn6, as the fewest prefixes."""
    return tuple(network for name in ("cdn4", "cdn6") for network in _networks(_spans(elements(listed, name))))


def names_of(listed: Sequence[JsonObject]) -> frozenset[IpAddress]:
    """What is in names4 and names6."""
    return frozenset(span[0] for name in ("names4", "names6") for span in _spans(elements(listed, name)))


def counters_of(listed: Sequence[JsonObject]) -> dict[str, int]:
    """Packets of each counter."""
    found = {str(body.get("name")): int(str(body.get("packets", 0))) for body in bodies(listed, "counter")}
    return {name: found.get(name, 0) for name in COUNTERS}


Span = tuple[IpAddress, IpAddress]


def _spans(members: Sequence[Json]) -> list[Span]:
    """Elements as ranges, in order, those that touch made one: nft says the same thing in several ways."""
    found: list[Span] = []
    for span in sorted((_span(one) for one in members), key=lambda span: int(span[0])):
        if found and int(span[0]) <= int(found[-1][1]) + 1:
            found[-1] = (found[-1][0], max(found[-1][1], span[1], key=int))
        else:
            found.append(span)
    return found


def _span(value: Json) -> Span:
    """Raises ValueError."""
    if isinstance(value, dict):
        if isinstance(inner := value.get("elem"), dict):
            return _span(inner.get("val"))
        if isinstance(inner := value.get("prefix"), dict):
            first = _address(inner.get("addr"))
            return first, type(first)(int(first) | ((1 << (first.max_prefixlen - int(str(inner.get("len"))))) - 1))
        if isinstance(pair := value.get("range"), list) and len(pair) == 2:
            return _address(pair[0]), _address(pair[1])
    only = _address(value)
    return only, only


def _address(value: Json) -> IpAddress:
    text = str(value)
    return IPv6Address(text) if ":" in text else IPv4Address(text)


def _networks(spans: Sequence[Span]) -> Iterator[Network]:
    for first, last in spans:
        yield from summarize_address_range(first, last)


def structure_damage(listed: Sequence[JsonObject]) -> list[str]:
    """Sets, chains and counters that are other ones than ours: such a table is made anew."""
    lines: list[str] = []
    kinds = {"set": SETS, "chain": CHAINS, "counter": dict.fromkeys(COUNTERS, JsonObject())}
    for kind, wanted in kinds.items():
        have = {str(body.get("name")): body for body in bodies(listed, kind)}
        lines += [f"{kind} {name} is not wanted" for name in sorted(have.keys() - wanted.keys())]
        lines += [f"{kind} {name} is not there" for name in sorted(wanted.keys() - have.keys())]
        for name in sorted(wanted.keys() & have.keys()):
            if any(have[name].get(key) != value for key, value in wanted[name].items()):
                lines.append(f"{kind} {name} is not what it should be")
    return lines


def damage(listed: Sequence[JsonObject], section: N6Section, influences: Sequence[Influence]) -> list[str]:
    """What differs from what this driver makes of the section, in an operator's words; its prefixes aside."""
    lines = structure_damage(listed)
    have: Rules = {}
    for body in bodies(listed, "rule"):
        statements = body.get("expr")
        told = (str(body.get("comment", "")), statements if isinstance(statements, list) else [])
        have.setdefault(str(body.get("chain")), []).append(told)
    for chain, wanted in rules(section, influences).items():
        if _normal(have.get(chain, [])) != _normal(wanted):
            lines.append(f"the rules of chain {chain} are not what they should be")
    if gate_of(listed, section) is None:
        lines.append("the TUN devices are neither all steered nor all shut")
    return lines


def gate_of(listed: Sequence[JsonObject], section: N6Section) -> bool | None:
    """Whether the gate is open; None when what is in `open` and `shut` is nothing that it does."""
    opened, shut = interfaces_of(listed, OPEN), interfaces_of(listed, SHUT)
    if opened == frozenset(section.tuns) and not shut:
        return True
    return False if not opened and shut == frozenset(map(str, shut_interfaces(section))) else None


def _normal(listed: Sequence[tuple[str, list[Json]]]) -> list[tuple[str, Json]]:
    return [(comment, _plain(speakable([*statements]))) for comment, statements in listed]


def _plain(value: Json) -> Json:
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    members = value.get("set")
    several = members if isinstance(members, list) else [value]
    if several is members or "prefix" in value or "range" in value:
        try:
            return {"spans": [[str(first), str(last)] for first, last in _spans(several)]}
        except ValueError:  # ports or interfaces
            return {"set": [*sorted(several, key=str)]}
    return {key: _plain(inner) for key, inner in value.items()}
