"""The table `inet nf_n6`: what leaves the pools by the exit gets its address. In nft's JSON (libnftables-json(5)).

Answers come back through a connection's record, so what comes in by the exit is tracked, also where the appliance's
firewall takes UDP and served ports out of tracking (a packet with a zone stays tracked, and the zone is the usual one).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Final

from core5g import nftables
from core5g.documents import Network
from nf.contracts.json import JsonObject
from nf.errors import DriverError

FAMILY: Final = "inet"
TABLE: Final = "nf_n6"
_CHAIN: Final = "leaving"
_WHERE: Final = f"table {FAMILY} {TABLE}"
_REMEDY: Final = "see that the kernel has nf_tables with NAT (modules nft_masq, nft_chain_nat)"
_TRACKED: Final = "answers"
_BASES: Final = {
    _CHAIN: {"type": "nat", "hook": "postrouting", "prio": 100},
    _TRACKED: {"type": "filter", "hook": "prerouting", "prio": -310},
}

Rule = tuple[str, str]
"""(pool, exit)."""


def rules_of(pools: Iterable[Network], leaving: str) -> tuple[Rule, ...]:
    return tuple((str(pool), leaving) for pool in pools)


def ruleset(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Commands of one transaction that makes the table hold exactly these; without rules there is no table."""
    table = {"table": {"family": FAMILY, "name": TABLE}}
    # Added first, so that the deletion finds it.
    commands: list[dict[str, Any]] = [{"add": table}, {"delete": table}]
    if rules:
        place = {"family": FAMILY, "table": TABLE}
        commands.append({"add": table})
        for name, base in _BASES.items():
            commands.append({"add": {"chain": {**place, "name": name, **base, "policy": "accept"}}})
        exits = dict.fromkeys(leaving for _, leaving in rules)
        written = [(_TRACKED, _tracking(leaving)) for leaving in exits] + [
            (_CHAIN, _expressions(*one)) for one in rules
        ]
        commands += [{"add": {"rule": {**place, "chain": chain, "expr": expr}}} for chain, expr in written]
    return commands


def _tracking(leaving: str) -> list[dict[str, Any]]:
    return [
        {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": leaving}},
        {"mangle": {"key": {"ct": {"key": "zone"}}, "value": 0}},
    ]


def _expressions(pool: str, leaving: str) -> list[dict[str, Any]]:
    network = ip_network(pool)
    source = {"payload": {"protocol": "ip" if network.version == 4 else "ip6", "field": "saddr"}}
    prefix = {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
    return [
        {"match": {"op": "==", "left": source, "right": prefix}},
        {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": leaving}},
        {"masquerade": None},
    ]


def read_rules(listing: Iterable[Mapping[str, Any]] | None) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """The rules that `nft -j list table` tells and whose answers are tracked, and what is not ours, in words."""
    found: list[Rule] = []
    tracked: set[str] = set()
    strange: list[str] = []
    for item in listing or ():
        for what, value in item.items():
            if what == "chain" and not _is_ours(value):
                strange.append(f"chain {value.get('name')}")
            elif what == "rule":
                if (rule := _read(value)) is not None:
                    found.append(rule)
                elif (leaving := _read_tracking(value)) is not None:
                    tracked.add(leaving)
                else:
                    strange.append(f"rule {value.get('handle')} of chain {value.get('chain')}")
            elif what not in {"table", "chain"}:
                strange.append(f"{what} {value.get('name', '')}".strip())
    strange += [f"tracking at {name}" for name in sorted(tracked - {leaving for _, leaving in found})]
    return tuple(rule for rule in found if rule[1] in tracked), tuple(strange)


def _is_ours(chain: dict[str, Any]) -> bool:
    base = _BASES.get(str(chain.get("name")))
    return base is not None and all(chain.get(key) == value for key, value in base.items())


def _read(value: dict[str, Any]) -> Rule | None:
    """None for a rule that is none of ours."""
    try:
        source, leaving = value["expr"][0]["match"], value["expr"][1]["match"]
        prefix = source["right"]["prefix"]
        rule = (f"{prefix['addr']}/{prefix['len']}", str(leaving["right"]))
        return rule if value["expr"] == _expressions(*rule) else None
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _read_tracking(value: dict[str, Any]) -> str | None:
    """The exit; None for a rule that is none of ours."""
    try:
        leaving = str(value["expr"][0]["match"]["right"])
    except (KeyError, IndexError, TypeError):
        return None
    return leaving if value.get("chain") == _TRACKED and value["expr"] == _tracking(leaving) else None


async def listed() -> tuple[JsonObject, ...] | None:
    """None when there is no such table. Raises DriverError."""
    return await nftables.listed("table", FAMILY, TABLE)


async def listed_text() -> str:
    """The table as nft reads it back; empty when there is none. Raises DriverError."""
    code, output, error = await nftables.run("-s", "list", "table", FAMILY, TABLE)
    if code != 0 and "No such file or directory" not in error:
        raise DriverError(f"nft: {error.strip()}", where=_WHERE)
    return output if code == 0 else ""


async def load(rules: Sequence[Rule], *, only_check: bool = False) -> None:
    """Raises DriverError; then nothing has changed."""
    await nftables.transact(ruleset(rules), where=_WHERE, remedy=_REMEDY, dry=only_check)


async def restore(text: str) -> None:
    """The table as `listed_text` told it; empty removes it. Raises DriverError."""
    anew = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n{text}"
    await nftables.load(anew, where=_WHERE, remedy=_REMEDY)
