"""What a commit may touch, read from the live network: equal before a commit and after its rollback."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.scenarios.console import Console

CORES = ("c1", "c2")
ROUTERS = (*CORES, "pop1", "pop2")
VTY = "/run/nf/frr/vty"

Snapshot = dict[str, dict[str, Any]]

_MARK = "-----8<-----"
_READINGS = {
    "nftables": "nft -j list ruleset",
    "routes": "ip route show table all",
    "rules": "ip rule show",
    "addresses": "ip -br address show",
    "mroutes": "ip mroute show",
    "units": "nf supervisor list --json",
}
_ROUTER_READINGS = {"frr": f"vtysh --vty_socket {VTY} -c 'show running-config'"}


def snapshot(console: Console) -> Snapshot:
    """Per appliance: nftables, routes, rules, addresses, multicast routes with an oif, units, FRR's configuration."""
    nodes = ("headend", *ROUTERS)
    with ThreadPoolExecutor() as at_once:
        seen = dict(zip(nodes, at_once.map(lambda node: _node(console, node), nodes), strict=True))
    _forget_the_choice(seen)
    return seen


def _forget_the_choice(seen: Snapshot) -> None:
    """Which of two equal cores carries a tree is PIM's choice of the moment: of the cores, what both carry together."""
    together = sorted({line.partition("Oifs:")[0].strip() for core in CORES for line in seen[core]["mroutes"]})
    for core in CORES:
        seen[core]["mroutes"] = together


def _node(console: Console, node: str) -> dict[str, Any]:
    readings = _READINGS | (_ROUTER_READINGS if node in ROUTERS else {})
    script = f"; echo '{_MARK}'; ".join(["set -e", *readings.values()])
    texts = console.must(console.sh(node, "sh", "-c", script)).stdout.split(_MARK + "\n")[1:]
    return {part: _digest(part, text) for part, text in zip(readings, texts, strict=True)}


def _digest(part: str, text: str) -> list[Any]:
    """Only what is configured: no handles, no counters, nothing that the kernel merely remembers of the traffic."""
    if part == "nftables":
        entries = [entry for entry in json.loads(text)["nftables"] if "metainfo" not in entry]
        return [_strip(_without_learnt(entry)) for entry in sorted(entries, key=_table)]
    if part == "units":
        return sorted(unit["name"] for unit in json.loads(text))
    if part == "mroutes":
        own = re.compile(r"Iif: (\S+)\s+Oifs: \1\s")  # what a PoP itself gives out on its receivers' LAN
        lines = [line for line in text.splitlines() if "Oifs:" in line and not own.search(line)]
        return sorted(re.sub(r"Iif: \S+\s+", "", line) for line in lines)
    if part == "routes":
        whole = re.sub(r"^.*multicast 232\..*\n(?:[ \t]+.*\n)*", "", text, flags=re.MULTILINE)
        return sorted(whole.splitlines())
    return text.splitlines()


def _table(entry: dict[str, Any]) -> tuple[str, str]:
    """Which of two tables was made first says nothing; the order within one does."""
    ((kind, value),) = entry.items()
    return value["family"], value["name" if kind == "table" else "table"]


def _without_learnt(entry: dict[str, Any]) -> dict[str, Any]:
    """A set whose elements go by themselves holds what was learnt of the traffic."""
    found = entry.get("set", {})
    return {"set": {**found, "elem": None}} if "timeout" in found.get("flags", ()) else entry


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: None if key == "counter" else _strip(item) for key, item in value.items() if key != "handle"}
    if isinstance(value, list):
        items = [_strip(item) for item in value]
        elements = bool(items) and "elem" in str(items[0])
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if elements else items
    return value


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """One line for each part that is not equal, with the first thing that is only on one side."""
    return [
        f"{node}: {part} ({_first(value, after.get(node, {}).get(part) or [])})"
        for node, parts in before.items()
        for part, value in parts.items()
        if after.get(node, {}).get(part) != value
    ]


def _first(before: list[Any], after: list[Any]) -> str:
    gone = [item for item in before if item not in after]
    new = [item for item in after if item not in before]
    return " ".join([*(f"-{gone[0]}" for _ in gone[:1]), *(f"+{new[0]}" for _ in new[:1])]) or "another order"
