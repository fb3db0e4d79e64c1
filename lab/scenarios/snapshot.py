"""What a commit may touch, read from the live network: equal before a commit and after its rollback."""

from __future__ import annotations

import json
from typing import Any

from lab.scenarios.console import Console

ROUTERS = ("c1", "c2", "pop1", "pop2")
VTY = "/run/nf/frr/vty"


def snapshot(console: Console) -> dict[str, dict[str, Any]]:
    """Per appliance: nftables, routes, rules, addresses, multicast routes with an oif, FRR's running configuration."""
    return {node: _node(console, node) for node in ("headend", *ROUTERS)}


def _node(console: Console, node: str) -> dict[str, Any]:
    state: dict[str, Any] = {
        "nftables": _nftables(console, node),
        "routes": [
            line
            for line in _lines(console, node, "ip", "route", "show", "table", "all")
            if "multicast 232." not in line
        ],
        "rules": _lines(console, node, "ip", "rule", "show"),
        "addresses": _lines(console, node, "ip", "-br", "address", "show"),
        "mroutes": [line for line in _lines(console, node, "ip", "mroute", "show") if "Oifs:" in line],
        "units": sorted(_units(console, node)),
    }
    if node in ROUTERS:
        state["frr"] = _lines(console, node, "vtysh", "--vty_socket", VTY, "-c", "show running-config")
    return state


def _lines(console: Console, node: str, *command: str) -> list[str]:
    return console.must(console.sh(node, *command)).stdout.splitlines()


def _nftables(console: Console, node: str) -> list[Any]:
    """Rules and set elements without handles and counters, which only ever grow."""
    listing = console.must(console.sh(node, "nft", "-j", "list", "ruleset")).json()["nftables"]
    return [_strip(entry) for entry in listing if "metainfo" not in entry]


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        if "counter" in value and isinstance(value["counter"], dict):
            value = {**value, "counter": None}
        return {key: _strip(item) for key, item in value.items() if key != "handle"}
    if isinstance(value, list):
        items = [_strip(item) for item in value]
        return (
            sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
            if items and "elem" in str(items[0])
            else items
        )
    return value


def _units(console: Console, node: str) -> list[str]:
    shown = console.must(console.nf("appliance", "show", node, "--json")).json()
    return [unit["name"] for unit in (shown.get("status") or {}).get("units", [])]


def differences(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
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
