"""Who may speak PFCP with a UPF of this appliance: table `inet nf_pfcp`.

An Open5GS UPF lets whoever associates change any session (open5gs #4761), so what is sent to its N4 by anybody but its
SMFs and classifiers is dropped, and counted, before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import Final

from core5g import nftables
from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.naming import PFCP_PORT
from core5g.open5gs.units import server_of
from nf.contracts.json import JsonObject

FAMILY: Final = "inet"
TABLE: Final = "nf_pfcp"

Pairs = frozenset[tuple[str, str]]
"""(N4 address here, who may send to it); an address without a pair is open to all."""


def wanted(functions: Iterable[ManagedFunction]) -> Pairs:
    found: set[tuple[str, str]] = set()
    for function in functions:
        server = server_of(function.config, function.kind, "pfcp")
        if server is not None:
            found |= {(str(server["address"]), str(peer)) for peer in function.peers}
    return frozenset(found)


def text_of(pairs: Pairs) -> str:
    """One nft transaction; without pairs there is no table."""
    anew = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
    if not pairs:
        return anew
    own = ", ".join(sorted({address for address, _ in pairs}, key=IPv4Address))
    listed = ", ".join(f"{address} . {peer}" for address, peer in sorted(pairs))
    return (
        f"{anew}table {FAMILY} {TABLE} {{\n"
        "  counter refused { }\n"
        f"  set guarded {{ type ipv4_addr; elements = {{ {own} }}; }}\n"
        f"  set listed {{ type ipv4_addr . ipv4_addr; elements = {{ {listed} }}; }}\n"
        "  chain n4 {\n"
        "    type filter hook input priority filter; policy accept;\n"
        f"    ip daddr @guarded udp dport {PFCP_PORT} ip daddr . ip saddr != @listed counter name refused drop\n"
        "  }\n"
        "}\n"
    )


async def make(pairs: Pairs) -> None:
    """Raises DriverError."""
    if await read() != pairs:
        await nftables.load(text_of(pairs), where=f"table {FAMILY} {TABLE}")


async def read() -> Pairs | None:
    """What is guarded now; None for a table that somebody has changed. Raises DriverError."""
    return pairs_of(await nftables.listed("table", FAMILY, TABLE))


def pairs_of(listed: Sequence[JsonObject] | None) -> Pairs | None:
    """Pure."""
    if listed is None:
        return frozenset()
    found: set[tuple[str, str]] = set()
    guarded: set[str] = set()
    drops = 0
    for entry in listed:
        named, rule = entry.get("set"), entry.get("rule")
        members = named.get("elem") if isinstance(named, dict) else None
        for member in members if isinstance(members, list) else ():
            ends = member.get("concat") if isinstance(member, dict) else None
            if isinstance(ends, list) and len(ends) == 2:
                found.add((str(ends[0]), str(ends[1])))
            else:
                guarded.add(str(member))
        statements = rule.get("expr") if isinstance(rule, dict) else None
        drops += isinstance(statements, list) and {"drop": None} in statements
    whole = drops == 1 and guarded == {address for address, _ in found}
    return frozenset(found) if whole else None


async def refused() -> int:
    """Packets dropped since the table was made. Raises DriverError."""
    for entry in await nftables.listed("counters", "table", FAMILY, TABLE) or ():
        counter = entry.get("counter")
        if isinstance(counter, dict) and counter.get("name") == "refused":
            return int(str(counter.get("packets")))
    return 0
