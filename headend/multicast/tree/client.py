"""The gate's own nft table, and the kernel's multicast routes."""

from __future__ import annotations

from pathlib import Path

from headend.multicast import nft
from headend.multicast.tree.mroute import MulticastRoute, parse_ip_mr_cache
from headend.multicast.tree.render import FAMILY, TABLE, Commands
from nf.contracts.json import JsonObject

# Of the thread, since a thread may live in a network namespace of its own.
_IP_MR_CACHE = Path("/proc/thread-self/net/ip_mr_cache")


async def run_transaction(commands: Commands, *, check_only: bool = False) -> None:
    """All of `commands` at once or none; `check_only` asks the kernel and changes nothing. Raises DriverError."""
    await nft.run_transaction(commands, where=f"table {FAMILY} {TABLE}", check_only=check_only)


async def list_table() -> tuple[JsonObject, ...] | None:
    """The table's objects as libnftables lists them; None when there is no such table. Raises DriverError."""
    return await nft.list_table(FAMILY, TABLE)


def read_routes() -> dict[tuple[str, str], MulticastRoute]:
    """(source, group) -> its route and counters; empty while no multicast routing daemon runs."""
    try:
        return parse_ip_mr_cache(_IP_MR_CACHE.read_text())
    except FileNotFoundError:
        return {}  # a kernel without multicast routing
