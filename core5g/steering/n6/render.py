"""N6Section -> nftables JSON (libnftables-json). Pure; `reading` is the way back.

Table `inet nf_steer`; only what comes in by the TUN devices of the UPF is looked at:
  sets open, shut        interfaces: the TUN devices are in the one or the other, as the gate is
  sets cdn4, cdn6        prefixes of the CDN
  sets names4, names6    what its names resolve to, each for as long as the answer holds
  chain steer            nat prerouting, so for the first packet of a flow alone: a SYN by an open TUN may be steered
  chain choose           what is steered: influences, then the section's own; each rule's comment says which
  chains cache4, cache6  the flow gets our bit in its connection mark; for a local cache its destination is translated
  chain watch            filter prerouting, behind `steer`: packets of steered flows are counted and, for a cache on
                         another host, marked for the policy rule. While the gate is shut they are answered with a reset
  chain own              the gate's segments, which make a waiting player speak, are no part of any connection

What was steered stays so until its end: opening and shutting changes new flows, and ends those of a dead cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core5g.documents import Network
from core5g.steering.n6.documents import Influence, IpAddress, N6Section
from nf.contracts.json import Json, JsonObject

FAMILY, TABLE = "inet", "nf_steer"
OPEN, SHUT = "open", "shut"
STEER_BIT = 0x0400_0000
"""In the connection mark of steered flows, and in the mark of their packets where a policy rule routes them."""
NUDGE_MARK = 0x0200_0000
"""Mark of the segments that the gate sends in the cache's place."""
STEERED, DEFAULT, RESET, REFUSED = "steered", "default", "reset", "refused"
COUNTERS = (STEERED, DEFAULT, RESET, REFUSED)
QUIC_PORT = 443

_PLACE: JsonObject = {"family": FAMILY, "table": TABLE}
SETS: Mapping[str, JsonObject] = {
    OPEN: {"type": "ifname"},
    SHUT: {"type": "ifname"},
    "cdn4": {"type": "ipv4_addr", "flags": ["interval"]},
    "cdn6": {"type": "ipv6_addr", "flags": ["interval"]},
    "names4": {"type": "ipv4_addr", "flags": ["timeout"]},
    "names6": {"type": "ipv6_addr", "flags": ["timeout"]},
}
CHAINS: Mapping[str, JsonObject] = {
    "steer": {"type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"},
    "choose": {},
    "cache4": {},
    "cache6": {},
    "watch": {"type": "filter", "hook": "prerouting", "prio": -90, "policy": "accept"},
    "own": {"type": "filter", "hook": "output", "prio": -300, "policy": "accept"},
}
Rules = dict[str, list[tuple[str, list[Json]]]]
"""Chain -> its rules, each a comment and its statements."""


def _match(left: Json, right: Json, operator: str = "==") -> JsonObject:
    return {"match": {"op": operator, "left": left, "right": right}}


def _field(protocol: str, name: str) -> JsonObject:
    return {"payload": {"protocol": protocol, "field": name}}


def _meta(key: str) -> JsonObject:
    return {"meta": {"key": key}}


_CT_MARK: JsonObject = {"ct": {"key": "mark"}}
_IS_STEERED = _match({"&": [_CT_MARK, STEER_BIT]}, STEER_BIT)
_IS_SYN = _match({"&": [_field("tcp", "flags"), ["fin", "syn", "rst", "ack"]]}, "syn")


def _by(interfaces: str) -> JsonObject:
    return _match(_meta("iifname"), f"@{interfaces}")


def _is_tcp() -> JsonObject:
    return _match(_meta("l4proto"), "tcp")


def _any_of(values: Sequence[Json]) -> Json:
    return values[0] if len(values) == 1 else {"set": [*values]}


def element(network: Network) -> Json:
    """As nft lists it."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def _chosen(section: N6Section, influences: Sequence[Influence]) -> Iterator[tuple[str, int, list[Json], list[int]]]:
    """(comment, version of IP, what the addresses must be, TCP ports) of all that is steered."""
    versions = (4, 6) if section.cache.address6 is not None else (4,)
    for version in versions:
        protocol = "ip" if version == 4 else "ip6"
        for influence in sorted(influences, key=lambda one: one.id):
            to = [element(prefix) for prefix in influence.prefixes if prefix.version == version]
            ues = [element(prefix) for prefix in influence.ues if prefix.version == version]
            if not to or (influence.ues and not ues):
                continue
            match: list[Json] = [_match(_field(protocol, "saddr"), _any_of(ues))] if ues else []
            match.append(_match(_field(protocol, "daddr"), _any_of(to)))
            yield f"influence {influence.id}", version, match, [*(influence.ports or section.ports)]
        for kind, comment in (("cdn", "prefixes"), ("names", "names")):
            yield comment, version, [_match(_field(protocol, "daddr"), f"@{kind}{version}")], [*section.ports]


def rules(section: N6Section, influences: Sequence[Influence]) -> Rules:
    chains: Rules = {name: [] for name in CHAINS}
    chains["steer"] = [("", [_by(OPEN), _IS_SYN, {"jump": {"target": "choose"}}])]
    for comment, version, addresses, ports in _chosen(section, influences):
        to_port = _match(_field("tcp", "dport"), _any_of(ports))
        chains["choose"].append((comment, [*addresses, to_port, {"goto": {"target": f"cache{version}"}}]))
    chains["cache4"] = _to_cache(section, "ip", section.cache.address)
    chains["cache6"] = _to_cache(section, "ip6", section.cache.address6)
    chains["watch"] = [*_watching(section, influences)]
    chains["own"] = [("", [_match(_meta("mark"), NUDGE_MARK), {"notrack": None}])]
    return chains


def _to_cache(section: N6Section, protocol: str, address: IpAddress | None) -> list[tuple[str, list[Json]]]:
    if address is None:
        return []
    found: list[tuple[str, list[Json]]] = [
        ("", [{"mangle": {"key": _CT_MARK, "value": {"|": [_CT_MARK, STEER_BIT]}}}]),
    ]
    if section.cache.local:
        for forward in section.cache.forwards:
            target: JsonObject = {"dnat": {"family": protocol, "addr": str(address), "port": forward.to}}
            found.append(("", [_match(_field("tcp", "dport"), forward.port), target]))
        found.append(("", [_is_tcp(), {"dnat": {"family": protocol, "addr": str(address)}}]))
    return found


def _watching(section: N6Section, influences: Sequence[Influence]) -> Iterator[tuple[str, list[Json]]]:
    yield "", [_by(SHUT), _IS_STEERED, _is_tcp(), {"counter": RESET}, {"reject": {"type": "tcp reset"}}]
    mark: JsonObject = {"mangle": {"key": _meta("mark"), "value": {"|": [_meta("mark"), STEER_BIT]}}}
    tuns = _match(_meta("iifname"), _any_of([*section.tuns]))
    yield "", [tuns, _IS_STEERED, {"counter": STEERED}, *(() if section.cache.local else (mark,)), {"accept": None}]
    if section.quic == "reject":
        for comment, _, addresses, ports in _chosen(section, influences):
            if QUIC_PORT not in ports:
                continue
            first = _match({"ct": {"key": "state"}}, "new", "in")
            quic = _match(_field("udp", "dport"), QUIC_PORT)
            refuse: JsonObject = {"reject": {"type": "icmpx", "expr": "port-unreachable"}}
            yield comment, [_by(OPEN), first, *addresses, quic, {"counter": REFUSED}, refuse]
    yield "", [tuns, {"counter": DEFAULT}]


def delete_commands() -> list[JsonObject]:
    """Delete the table, which may be absent."""
    table: JsonObject = {"table": {"family": FAMILY, "name": TABLE}}
    return [{"add": table}, {"delete": table}]


def table_commands(section: N6Section, influences: Sequence[Influence]) -> list[JsonObject]:
    """Make the table say this. What is in `open`, `shut` and the sets of names stays, and so do counters."""
    commands: list[JsonObject] = [{"add": {"table": {"family": FAMILY, "name": TABLE}}}]
    commands += [{"add": {"counter": {**_PLACE, "name": name}}} for name in COUNTERS]
    commands += [{"add": {"set": {**_PLACE, "name": name, **body}}} for name, body in SETS.items()]
    commands += [{"add": {"chain": {**_PLACE, "name": name, **body}}} for name, body in CHAINS.items()]
    commands += [{"flush": {"chain": {**_PLACE, "name": name}}} for name in CHAINS]
    for version in (4, 6):
        commands.append({"flush": {"set": {**_PLACE, "name": f"cdn{version}"}}})
        commands += _add(f"cdn{version}", [element(p) for p in section.prefixes if p.version == version])
    commands += rule_commands(rules(section, influences))
    return commands


def rule_commands(chains: Rules) -> list[JsonObject]:
    commands: list[JsonObject] = []
    for chain, listed in chains.items():
        for comment, statements in listed:
            told: JsonObject = {"comment": comment} if comment else {}
            commands.append({"add": {"rule": {**_PLACE, "chain": chain, "expr": statements, **told}}})
    return commands


def influence_commands(section: N6Section, influences: Sequence[Influence]) -> list[JsonObject]:
    """Change what influences say in a table that stands."""
    changed = {name: listed for name, listed in rules(section, influences).items() if name in {"choose", "watch"}}
    flushes: list[JsonObject] = [{"flush": {"chain": {**_PLACE, "name": name}}} for name in changed]
    return flushes + rule_commands(changed)


def gate_commands(section: N6Section, *, is_open: bool) -> list[JsonObject]:
    commands: list[JsonObject] = [{"flush": {"set": {**_PLACE, "name": name}}} for name in (OPEN, SHUT)]
    return [*commands, *(_add(OPEN, [*section.tuns]) if is_open else _add(SHUT, shut_interfaces(section)))]


def shut_interfaces(section: N6Section) -> list[Json]:
    """By what a shut gate answers with resets: UEs, and a cache on another host that still sends."""
    return [*section.tuns, *([section.cache.interface] if section.cache.interface is not None else [])]


def name_commands(addresses: Mapping[IpAddress, int]) -> list[JsonObject]:
    """Steer these for so many seconds from now, whether they are there already or not."""
    commands: list[JsonObject] = []
    for version in (4, 6):
        found = [(str(one), life) for one, life in sorted(addresses.items(), key=str) if one.version == version]
        if found:
            plain: list[Json] = [one for one, _ in found]
            # A timeout is only taken with a new element; the first `add` is for the `delete`, which needs one.
            commands += _add(f"names{version}", plain)
            commands.append({"delete": {"element": {**_PLACE, "name": f"names{version}", "elem": plain}}})
            commands += _add(f"names{version}", [{"elem": {"val": one, "timeout": life}} for one, life in found])
    return commands


def restore_commands(listed: Sequence[JsonObject] | None) -> list[JsonObject]:
    """Make the table what `listed` says, counters and timeouts too, or absent."""
    commands = delete_commands()
    order = {"table": 0, "counter": 1, "set": 2, "chain": 3, "rule": 4}
    for entry in sorted(listed or (), key=lambda entry: order.get(next(iter(entry)), 5)):
        (kind, body), *_ = entry.items()
        if isinstance(body, dict):
            kept: JsonObject = {key: value for key, value in body.items() if key != "handle"}
            commands.append({"add": {kind: speakable(kept)}})
    return commands


def rebuild_commands(
    section: N6Section, influences: Sequence[Influence], listed: Sequence[JsonObject]
) -> list[JsonObject]:
    """The table anew, for one whose parts are other ones than ours; what was learned of names is kept."""
    kept = [command for name in ("names4", "names6") for command in _add(name, elements(listed, name))]
    return [*delete_commands(), *table_commands(section, influences), *kept]


def _add(name: str, members: Sequence[Json]) -> list[JsonObject]:
    return [{"add": {"element": {**_PLACE, "name": name, "elem": [*members]}}}] if members else []


def speakable(value: Json) -> Json:
    """nft 1.0.6 lists `tcpreset` and only takes `tcp reset`."""
    if isinstance(value, dict):
        if value.get("type") == "tcpreset":
            return {**value, "type": "tcp reset"}
        return {key: speakable(inner) for key, inner in value.items()}
    return [speakable(inner) for inner in value] if isinstance(value, list) else value


def bodies(listed: Sequence[JsonObject], kind: str) -> Iterator[JsonObject]:
    return (body for entry in listed if isinstance(body := entry.get(kind), dict))


def elements(listed: Sequence[JsonObject], name: str) -> list[Json]:
    for body in bodies(listed, "set"):
        found = body.get("elem")
        if body.get("name") == name and isinstance(found, list):
            return found
    return []
