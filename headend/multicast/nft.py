"""nftables by `nft -j`: whole transactions in, tables out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError

TIMEOUT_S = 10.0

Commands = Sequence[JsonObject]


async def run_transaction(commands: Commands, *, where: str, check_only: bool = False) -> None:
    """All of `commands` at once or none; `check_only` asks the kernel and changes nothing. Raises DriverError."""
    if not commands:
        return
    flags = ("-c",) if check_only else ()
    document = json.dumps({"nftables": list(commands)}).encode()
    status, _, errors = await _nft((*flags, "-j", "-f", "-"), document)
    if status != 0:
        raise DriverError(f"nftables refused: {errors}", where=where)


async def list_table(family: str, table: str) -> tuple[JsonObject, ...] | None:
    """The table's objects as libnftables lists them; None when there is no such table. Raises DriverError."""
    where = f"table {family} {table}"
    status, output, errors = await _nft(("-j", "list", "ruleset", family))
    if status != 0:
        raise DriverError(f"nftables cannot be read: {errors}", where=where)
    try:
        listed: Json = json.loads(output).get("nftables", [])
    except (ValueError, AttributeError) as error:
        raise DriverError(f"nft did not print JSON: {error}", where=where) from error
    objects = tuple(entry for entry in listed if _of_table(entry, table)) if isinstance(listed, list) else ()
    return tuple(entry for entry in objects if isinstance(entry, dict)) or None


async def print_ruleset(family: str) -> str:
    """The family's tables as text, which tells what the JSON of nft 1.0.6 leaves out. Raises DriverError."""
    status, output, errors = await _nft(("list", "ruleset", family))
    if status != 0:
        raise DriverError(f"nftables cannot be read: {errors}", where=f"family {family}")
    return output


def _of_table(entry: Json, table: str) -> bool:
    if not isinstance(entry, dict) or len(entry) != 1:
        return False
    (kind, body), *_ = entry.items()
    return isinstance(body, dict) and body.get("name" if kind == "table" else "table") == table


async def _nft(arguments: tuple[str, ...], document: bytes = b"") -> tuple[int, str, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise DriverError("nft is not installed", remedy="install the package nftables") from error
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, errors = await process.communicate(document)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise DriverError(f"nft did not answer in {TIMEOUT_S:.0f} s") from error
    return process.returncode or 0, output.decode(), " ".join(errors.decode(errors="replace").split())
