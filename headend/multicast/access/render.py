"""AccessSection <-> nftables JSON (libnftables-json). Pure.

Table `netdev nf_access`, for each port:
  set pass_PORT     (S, G) that may leave by it now, kept by the follower; its size is the port's `max_channels`
  set groups_PORT   what the port is entitled to; absent where it may have anything
  chain out_PORT    hook egress: data to 232.0.0.0/8 that is not in the sets is counted and dropped
  chain in_PORT     hook ingress: queries, PIM and data from a subscriber are dropped, IGMP above its rate as well

The hooks are those of the device and not of the bridge, so that one form serves bridge ports and the router's own
interfaces; egress needs Linux 5.16. What a port of a bridge sends to itself never passes here twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from headend.multicast.access.documents import AccessPort
from nf.contracts.json import Json, JsonObject, canonical

FAMILY, TABLE = "netdev", "nf_access"
PASS, GROUPS, OUT, IN = "pass_", "groups_", "out_", "in_"

UNENTITLED = "not entitled"
UNWANTED = "not joined or beyond the limit"
QUERIES, PIM, RATE, SENT = "queries", "pim", "above the rate", "data"
FAST, SLOW = "fast leave", "slow leave"

_PLACE: JsonObject = {"family": FAMILY, "table": TABLE}
_SSM: JsonObject = {"prefix": {"addr": "232.0.0.0", "len": 8}}
_COUNTER: JsonObject = {"counter": {"packets": 0, "bytes": 0}}
_CHAIN = re.compile(r"^\s*chain (\S+) \{\s*$")
_DEVICE = re.compile(r'^\s*type filter hook \S+ device "([^"]+)"')


def _field(protocol: str, name: str) -> JsonObject:
    return {"payload": {"protocol": protocol, "field": name}}


def _match(left: Json, right: Json, operator: str = "==") -> JsonObject:
    return {"match": {"op": operator, "left": left, "right": right}}


def rules(port: AccessPort) -> dict[str, list[tuple[str, list[Json]]]]:
    """Chain -> its rules, each a comment and what it matches and does."""
    name = port.name
    to_ssm, is_igmp = _match(_field("ip", "daddr"), _SSM), _match(_field("ip", "protocol"), "igmp")
    pair: JsonObject = {"concat": [_field("ip", "saddr"), _field("ip", "daddr")]}
    end: list[Json] = [_COUNTER, {"drop": None}]
    leaving: list[tuple[str, list[Json]]] = [
        (UNWANTED, [to_ssm, _match(pair, f"@{PASS}{name}", "!="), *end]),
    ]
    if port.groups is not None:
        entitled = _match(_field("ip", "daddr"), f"@{GROUPS}{name}", "!=")
        leaving.insert(0, (UNENTITLED, [to_ssm, entitled, *end]))
    # One burst of a second's messages: a host that zaps twice in a breath is no storm.
    limit: JsonObject = {
        "limit": {"rate": port.igmp_rate, "burst": port.igmp_rate, "per": "second", "inv": True},
    }
    ip_only = _match({"meta": {"key": "protocol"}}, "ip")
    coming: list[tuple[str, list[Json]]] = [
        (QUERIES, [ip_only, _match(_field("igmp", "type"), "membership-query"), *end]),
        (PIM, [_match(_field("ip", "protocol"), "pim"), *end]),
        (f"{RATE}, {FAST if port.fast_leave else SLOW}", [is_igmp, limit, *end]),
        (SENT, [to_ssm, _match(_field("ip", "protocol"), "igmp", "!="), *end]),
    ]
    return {f"{OUT}{name}": leaving, f"{IN}{name}": coming}


def delete_commands() -> list[JsonObject]:
    """Delete the table, which may be absent."""
    table: JsonObject = {"table": {"family": FAMILY, "name": TABLE}}
    return [{"add": table}, {"delete": table}]


def table_commands(ports: Sequence[AccessPort], passing: Mapping[str, Sequence[tuple[str, str]]]) -> list[JsonObject]:
    """The table anew, whatever it was. `passing`: port -> (source, group) that go on without a gap."""
    commands = delete_commands()
    commands.append({"add": {"table": {"family": FAMILY, "name": TABLE}}})
    for port in ports:
        commands += _port_commands(port, passing.get(port.name, ()))
    return commands


def _port_commands(port: AccessPort, passing: Sequence[tuple[str, str]]) -> Iterator[JsonObject]:
    name = port.name
    kept: list[Json] = [{"concat": [source, group]} for source, group in passing[: port.max_channels]]
    pair: JsonObject = {**_PLACE, "name": f"{PASS}{name}", "type": ["ipv4_addr", "ipv4_addr"]}
    yield {"add": {"set": {**pair, "size": port.max_channels, **({"elem": kept} if kept else {})}}}
    if port.groups is not None:
        groups: list[Json] = [str(group) for group in sorted(port.groups)]
        single: JsonObject = {**_PLACE, "name": f"{GROUPS}{name}", "type": "ipv4_addr"}
        yield {"add": {"set": {**single, **({"elem": groups} if groups else {})}}}
    for chain, hook in ((f"{OUT}{name}", "egress"), (f"{IN}{name}", "ingress")):
        yield {"add": {"chain": {**_PLACE, **_chain_body(chain, hook), "dev": name}}}
    for chain, listed in rules(port).items():
        for comment, expression in listed:
            yield {"add": {"rule": {**_PLACE, "chain": chain, "expr": list(expression), "comment": comment}}}


def _chain_body(name: str, hook: str) -> JsonObject:
    return {"name": name, "type": "filter", "hook": hook, "prio": 0, "policy": "accept"}


def restore_commands(listed: Sequence[JsonObject] | None, devices: Mapping[str, str]) -> list[JsonObject]:
    """Make the table what `listed` says, or absent; a chain whose device is unknown cannot be made and is left out."""
    commands = delete_commands()
    order = {"table": 0, "set": 1, "chain": 2, "rule": 3}
    for entry in sorted(listed or (), key=lambda entry: order.get(next(iter(entry)), 4)):
        (kind, body), *_ = entry.items()
        kept = {key: value for key, value in body.items() if key != "handle"} if isinstance(body, dict) else {}
        chain = str(kept.get("chain" if kind == "rule" else "name"))
        if kind == "chain" and "hook" in kept and chain in devices:
            kept["dev"] = devices[chain]
        if (kind == "chain" and "hook" in kept and "dev" not in kept) or (kind == "rule" and chain not in devices):
            continue
        commands.append({"add": {kind: kept}})
    return commands


def parse_devices(text: str) -> dict[str, str]:
    """Chain -> the device it is hooked to, from nft's text: nft 1.0.6 leaves it out of its JSON."""
    devices: dict[str, str] = {}
    own, chain = False, ""
    for line in text.splitlines():
        if line.startswith("table "):
            own = line.split()[1:3] == [FAMILY, TABLE]
        elif own and (heading := _CHAIN.match(line)):
            chain = heading[1]
        elif own and (device := _DEVICE.match(line)):
            devices[chain] = device[1]
    return devices


def parse_table(
    listed: Sequence[JsonObject], devices: Mapping[str, str]
) -> tuple[tuple[AccessPort, ...], tuple[str, ...]]:
    """(ports sorted by name, what else differs from what this driver makes). Never raises."""
    chains = {str(body.get("name")): body for body in _bodies(listed, "chain")}
    sets = {str(body.get("name")): body for body in _bodies(listed, "set")}
    ports: list[AccessPort] = []
    damage: list[str] = []
    known: set[str] = set()
    for name in sorted(chain.removeprefix(IN) for chain in chains if chain.startswith(IN)):
        port = _port(name, sets, _rules(listed, f"{IN}{name}"))
        known |= {f"{IN}{name}", f"{OUT}{name}", f"{PASS}{name}", f"{GROUPS}{name}"}
        if port is None:
            damage.append(f"the rules of port {name} cannot be read")
            continue
        ports.append(port)
        damage += _port_damage(port, listed, chains, devices)
    damage += [f"chain or set {name} is not wanted" for name in sorted((chains.keys() | sets.keys()) - known)]
    return tuple(ports), tuple(damage)


def _port(name: str, sets: Mapping[str, JsonObject], coming: Sequence[tuple[str, list[Json]]]) -> AccessPort | None:
    size = sets.get(f"{PASS}{name}", {}).get("size")
    groups = sets.get(f"{GROUPS}{name}")
    for comment, expression in coming:
        limits = [
            statement["limit"] for statement in expression if isinstance(statement, dict) and "limit" in statement
        ]
        if not comment.startswith(RATE) or not limits or not isinstance(limits[0], dict):
            continue
        try:
            return AccessPort(
                name=name,
                max_channels=int(str(size)),
                igmp_rate=int(str(limits[0].get("rate"))),
                fast_leave=comment.endswith(FAST),
                groups=None if groups is None else tuple(map(IPv4Address, sorted(map(str, _elements(groups))))),
            )
        except ValueError:
            return None
    return None


def _port_damage(
    port: AccessPort, listed: Sequence[JsonObject], chains: Mapping[str, JsonObject], devices: Mapping[str, str]
) -> Iterator[str]:
    for (name, wanted), hook in zip(rules(port).items(), ("egress", "ingress"), strict=True):
        body = chains.get(name, {})
        hooked = all(body.get(key) == value for key, value in _chain_body(name, hook).items())
        if not hooked or devices.get(name) != port.name:
            yield f"chain {name} is not hooked to {port.name} as it should be"
        have = [(comment, _uncounted(expression)) for comment, expression in _rules(listed, name)]
        if have != [(comment, _uncounted(expression)) for comment, expression in wanted]:
            yield f"the rules of chain {name} are not what they should be"


def passing(listed: Sequence[JsonObject]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Port -> (source, group) that may leave by it."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for body in _bodies(listed, "set"):
        name = str(body.get("name"))
        if name.startswith(PASS):
            pairs = [element.get("concat") for element in _elements(body) if isinstance(element, dict)]
            found[name.removeprefix(PASS)] = tuple(
                (str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2
            )
    return found


def counters(listed: Sequence[JsonObject]) -> dict[str, dict[str, int]]:
    """Port -> comment of a rule -> packets that it dropped."""
    found: dict[str, dict[str, int]] = {}
    for body in _bodies(listed, "rule"):
        chain, comment = str(body.get("chain")), str(body.get("comment", "")).partition(",")[0]
        prefix = next((prefix for prefix in (OUT, IN) if chain.startswith(prefix)), None)
        expression = body.get("expr")
        for statement in expression if isinstance(expression, list) else ():
            counter = statement.get("counter") if isinstance(statement, dict) else None
            if prefix is not None and isinstance(counter, dict):
                packets = counter.get("packets", 0)
                found.setdefault(chain.removeprefix(prefix), {})[comment] = packets if isinstance(packets, int) else 0
    return found


def _elements(body: JsonObject) -> list[Json]:
    elements = body.get("elem")
    return elements if isinstance(elements, list) else []


def _bodies(listed: Sequence[JsonObject], kind: str) -> list[JsonObject]:
    return [body for entry in listed if isinstance(body := entry.get(kind), dict)]


def _rules(listed: Sequence[JsonObject], chain: str) -> list[tuple[str, list[Json]]]:
    found = [body for body in _bodies(listed, "rule") if body.get("chain") == chain]
    return [(str(b.get("comment", "")), e) for b in found if isinstance(e := b.get("expr"), list)]


def _uncounted(expression: list[Json]) -> str:
    return canonical([{"counter": None} if isinstance(s, dict) and "counter" in s else s for s in expression])
