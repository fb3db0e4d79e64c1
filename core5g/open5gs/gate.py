"""Keeps new sessions off a UPF while it is drained: table `inet nf_open5gs`.

An SMF of Open5GS has no reload, and a restart would drop the sessions of all its UPFs, so it goes on choosing a UPF
that is drained. Its PFCP Session Establishment Requests (TS 29.244 clause 7.5.2, type 50) are dropped before the UPF;
everything else about sessions that stand passes. The UE asks again and the SMF, which takes the UPFs that match in
turn, comes to another where there is one. The gate opens by itself when its time is over.
"""

from __future__ import annotations

import math
from ipaddress import IPv4Address
from typing import Final

from core5g import nftables
from core5g.open5gs.naming import PFCP_PORT

FAMILY: Final = "inet"
TABLE: Final = "nf_open5gs"
_SET: Final = "draining"
_WHERE: Final = f"table {FAMILY} {TABLE}"
_ESTABLISHMENT: Final = 50


def closing(address: IPv4Address, seconds: float) -> str:
    """One nft transaction. The message type is the second octet after the UDP header."""
    return (
        f"add table {FAMILY} {TABLE}\n"
        f"delete table {FAMILY} {TABLE}\n"
        f"table {FAMILY} {TABLE} {{\n"
        f"  set {_SET} {{ type ipv4_addr; flags timeout; elements = {{ {address} timeout {math.ceil(seconds)}s }}; }}\n"
        "  chain n4 {\n"
        "    type filter hook input priority filter; policy accept;\n"
        f"    ip daddr @{_SET} udp dport {PFCP_PORT} @th,72,8 {_ESTABLISHMENT} counter drop\n"
        "  }\n"
        "}\n"
    )


async def close(address: IPv4Address, seconds: float) -> None:
    """Raises DriverError."""
    await nftables.load(closing(address, seconds), where=_WHERE)


async def open_again() -> None:
    """Raises DriverError."""
    await nftables.load(f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n", where=_WHERE)


async def closed() -> bool:
    """Whether the gate keeps anything off now. Raises DriverError."""
    found = await nftables.listed("set", FAMILY, TABLE, _SET)
    sets = [one["set"] for one in found or () if "set" in one]
    return any(isinstance(one, dict) and bool(one.get("elem")) for one in sets)
