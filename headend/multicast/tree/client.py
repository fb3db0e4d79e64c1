"""The gate's own nft table."""

from __future__ import annotations

from headend.multicast import nft
from headend.multicast.tree.render import FAMILY, TABLE, Commands
from nf.contracts.json import JsonObject


async def run_transaction(commands: Commands, *, check_only: bool = False) -> None:
    """All of `commands` at once or none; `check_only` asks the kernel and changes nothing. Raises DriverError."""
    await nft.run_transaction(commands, where=f"table {FAMILY} {TABLE}", check_only=check_only)


async def list_table() -> tuple[JsonObject, ...] | None:
    """The table's objects as libnftables lists them; None when there is no such table. Raises DriverError."""
    return await nft.list_table(FAMILY, TABLE)
