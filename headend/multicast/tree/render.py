"""TreeSection <-> nftables JSON (libnftables-json). Pure.

Table `ip nf_multicast`:
  set admitted       (S, G) that may cross; the element's comment tells the channel, path and port
  chain forward      hook forward: what goes to 232.0.0.0/8 (RFC 4607) and is not admitted is counted and dropped
  chain facts        hooked nowhere: one rule for each ordering fact and each pinned output of an entry, as its
                     comment, so that they stand and fall with the entry itself

What a router sends itself does not pass `forward`: a PoP's own output is not asked about here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import cast

from headend.multicast.documents import Leg, PinnedRoute, TreeEntry, TreeSection
from nf.contracts.json import Json, JsonObject, canonical

FAMILY, TABLE, SET, CHAIN, FACTS = "ip", "nf_multicast", "admitted", "forward", "facts"
MAX_FACT = 110
"""Characters of a fact: an nftables comment holds 127."""

Commands = Sequence[JsonObject]
_PLACE: JsonObject = {"family": FAMILY, "table": TABLE}
_LABEL = re.compile(r"^([^/ ]+)/([^/ ]+) (\d{1,5})(?: leg ([ab]))?( meets)?$", re.ASCII)
_WORDS = ("requires", "provides", "pinned")


def _payload(name: str) -> JsonObject:
    return {"payload": {"protocol": "ip", "field": name}}


def _match(left: Json, right: Json, operator: str = "==") -> JsonObject:
    return {"match": {"op": operator, "left": left, "right": right}}


def _guard_expression() -> list[Json]:
    pair: JsonObject = {"concat": [_payload("saddr"), _payload("daddr")]}
    return [
        _match(_payload("daddr"), {"prefix": {"addr": "232.0.0.0", "len": 8}}),
        _match(pair, f"@{SET}", "!="),
        {"counter": {"packets": 0, "bytes": 0}},
        {"drop": None},
    ]


_CHAIN_BODY: JsonObject = {"name": CHAIN, "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}


def base_commands() -> list[JsonObject]:
    """The table without any entry: nothing crosses. Needs the table to be absent."""
    return [
        {"add": {"table": {"family": FAMILY, "name": TABLE}}},
        {"add": {"set": {**_PLACE, "name": SET, "type": ["ipv4_addr", "ipv4_addr"]}}},
        {"add": {"chain": {**_PLACE, **_CHAIN_BODY}}},
        {"add": {"chain": {**_PLACE, "name": FACTS}}},
        {"add": {"rule": {**_PLACE, "chain": CHAIN, "expr": _guard_expression(), "comment": "not committed"}}},
    ]


def delete_commands() -> list[JsonObject]:
    """Delete the table, which may be absent."""
    table: JsonObject = {"table": {"family": FAMILY, "name": TABLE}}
    return [{"add": table}, {"delete": table}]


def entry_commands(entries: Sequence[TreeEntry]) -> list[JsonObject]:
    """Add elements and fact rules; none of them may be there."""
    commands: list[JsonObject] = []
    if entries:
        elements: list[Json] = [_element(entry) for entry in entries]
        commands.append({"add": {"element": {**_PLACE, "name": SET, "elem": elements}}})
    for entry in entries:
        comments = [f"{word} {text}" for word in _WORDS for text in _told(entry, word)]
        match: list[Json] = [
            _match(_payload("saddr"), str(entry.source)),
            _match(_payload("daddr"), str(entry.group)),
            {"return": None},
        ]
        commands += [{"add": {"rule": {**_PLACE, "chain": FACTS, "expr": list(match), "comment": c}}} for c in comments]
    return commands


def _told(entry: TreeEntry, word: str) -> tuple[str, ...]:
    if word == "pinned":
        return entry.pinned.outputs if entry.pinned is not None else ()
    return entry.requires if word == "requires" else entry.provides


def _element(entry: TreeEntry) -> JsonObject:
    leg = f" leg {entry.leg}" if entry.leg is not None else ""
    meets = " meets" if entry.meets else ""
    return {"elem": {"val": _value(entry), "comment": f"{entry.channel}/{entry.path} {entry.port}{leg}{meets}"}}


def _value(entry: TreeEntry) -> JsonObject:
    return {"concat": [str(entry.source), str(entry.group)]}


def withdraw_commands(entries: Sequence[TreeEntry], listed: Sequence[JsonObject]) -> list[JsonObject]:
    """Delete what `listed` (the table as it is) holds of these (S, G): elements and fact rules."""
    keys = {(str(entry.source), str(entry.group)) for entry in entries}
    commands: list[JsonObject] = []
    present: list[Json] = [{"concat": [s, g]} for (s, g), _ in _elements(listed) if (s, g) in keys]
    if present:
        commands.append({"delete": {"element": {**_PLACE, "name": SET, "elem": present}}})
    facts = [r for r in _bodies(listed, "rule") if r.get("chain") == FACTS and _rule_key(r) in keys]
    commands += [{"delete": {"rule": {**_PLACE, "chain": FACTS, "handle": rule.get("handle")}}} for rule in facts]
    return commands


def restore_commands(listed: Sequence[JsonObject] | None) -> list[JsonObject]:
    """Make the table what `listed` says, or absent: counters and comments included."""
    commands = delete_commands()
    # Chains and sets first: libnftables lists them so, but rules and sets may refer to each other.
    order = {"table": 0, "set": 1, "chain": 2, "rule": 3}
    entries = sorted(listed or (), key=lambda entry: order.get(next(iter(entry)), 4))
    for entry in entries:
        (kind, body), *_ = entry.items()
        kept = {key: value for key, value in body.items() if key != "handle"} if isinstance(body, dict) else {}
        commands.append({"add": {kind: kept}})
    return commands


def parse_table(listed: Sequence[JsonObject]) -> tuple[tuple[TreeEntry, ...], tuple[str, ...]]:
    """(entries sorted by channel and path, what else differs from what this driver makes). Never raises."""
    damage = _damage(listed)
    facts: dict[tuple[str, str], dict[str, list[str]]] = {}
    for rule in _bodies(listed, "rule"):
        if rule.get("chain") == FACTS:
            word, _, fact = str(rule.get("comment", "")).partition(" ")
            key = _rule_key(rule)
            if key is None or word not in _WORDS:
                damage.append(f"a rule in chain {FACTS} that is not its own")
            else:
                facts.setdefault(key, {}).setdefault(word, []).append(fact)
    entries: list[TreeEntry] = []
    for (source, group), comment in _elements(listed):
        entry = _entry(source, group, comment, facts.pop((source, group), {}))
        if entry is None:
            damage.append(f"({source}, {group}) is admitted without a channel")
        else:
            entries.append(entry)
    damage += [f"facts of ({source}, {group}) without their entry" for source, group in sorted(facts)]
    return tuple(sorted(entries, key=entry_order)), tuple(damage)


def entry_order(entry: TreeEntry) -> tuple[str, str, int, int]:
    return (entry.channel, entry.path, int(entry.group), int(entry.source))


def canonical_section(section: TreeSection) -> TreeSection:
    return section.model_copy(update={"entries": tuple(sorted(section.entries, key=entry_order))})


def _entry(source: str, group: str, comment: str, facts: dict[str, list[str]]) -> TreeEntry | None:
    label = _LABEL.match(comment)
    if label is None:
        return None
    try:
        return TreeEntry(
            channel=label[1],
            path=label[2],
            source=IPv4Address(source),
            group=IPv4Address(group),
            port=int(label[3]),
            leg=cast("Leg | None", label[4]),
            meets=label[5] is not None,
            pinned=PinnedRoute(outputs=tuple(facts["pinned"])) if "pinned" in facts else None,
            requires=tuple(facts.get("requires", ())),
            provides=tuple(facts.get("provides", ())),
        )
    except ValueError:
        return None


def _damage(listed: Sequence[JsonObject]) -> list[str]:
    """What the table holds beyond its own parts, or lacks of them; counters aside."""
    damage: list[str] = []
    chains = {str(body.get("name")): body for body in _bodies(listed, "chain")}
    guard = chains.get(CHAIN, {})
    if any(guard.get(key) != value for key, value in _CHAIN_BODY.items()):
        damage.append(f"chain {CHAIN} is not hooked as it should be")
    damage += [f"chain {name} is not wanted" for name in sorted(chains.keys() - {CHAIN, FACTS})]
    sets = {str(body.get("name")): body for body in _bodies(listed, "set")}
    if sets.get(SET, {}).get("type") != ["ipv4_addr", "ipv4_addr"] or len(sets) != 1:
        damage.append(f"set {SET} is not what it should be")
    rules = [_without_counters(rule.get("expr")) for rule in _bodies(listed, "rule") if rule.get("chain") == CHAIN]
    if rules != [_without_counters(_guard_expression())]:
        damage.append(f"the rules of chain {CHAIN} are not what they should be")
    return damage


def _without_counters(expression: Json) -> str:
    statements = expression if isinstance(expression, list) else []
    return canonical([{"counter": None} if isinstance(s, dict) and "counter" in s else s for s in statements])


def _bodies(listed: Sequence[JsonObject], kind: str) -> list[JsonObject]:
    return [body for entry in listed if isinstance(body := entry.get(kind), dict)]


def _elements(listed: Sequence[JsonObject]) -> list[tuple[tuple[str, str], str]]:
    """((source, group), comment) of every element of the set."""
    found: list[tuple[tuple[str, str], str]] = []
    for body in _bodies(listed, "set"):
        elements = body.get("elem")
        if body.get("name") != SET or not isinstance(elements, list):
            continue
        for element in elements:
            inner = element.get("elem", element) if isinstance(element, dict) else {}
            value = inner.get("val", inner) if isinstance(inner, dict) else {}
            pair = value.get("concat") if isinstance(value, dict) else None
            comment = inner.get("comment", "") if isinstance(inner, dict) else ""
            if isinstance(pair, list) and len(pair) == 2:
                found.append(((str(pair[0]), str(pair[1])), str(comment)))
    return found


def _rule_key(rule: JsonObject) -> tuple[str, str] | None:
    """(source, group) that a rule of chain `facts` matches."""
    values: dict[str, str] = {}
    expression = rule.get("expr")
    for statement in expression if isinstance(expression, list) else ():
        match = statement.get("match") if isinstance(statement, dict) else None
        left = match.get("left") if isinstance(match, dict) else None
        payload = left.get("payload") if isinstance(left, dict) else None
        if isinstance(match, dict) and isinstance(payload, dict):
            values[str(payload.get("field"))] = str(match.get("right"))
    return (values["saddr"], values["daddr"]) if {"saddr", "daddr"} <= values.keys() else None
