"""nft(8): whole transactions in, objects out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final

from nf.contracts.json import JsonObject
from nf.errors import DriverError

_TIMEOUT_S: Final = 20.0


async def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit status, output and error output. Raises DriverError when nft is absent or does not end."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec("nft", *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
    except FileNotFoundError as error:
        raise DriverError("nft is not installed", where="nft", remedy="install the package nftables") from error
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, errors = await process.communicate(stdin.encode())
    except TimeoutError as error:
        raise DriverError(f"nft has not answered in {_TIMEOUT_S:.0f} s", where="nft") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")


async def transact(commands: Sequence[JsonObject], *, where: str, remedy: str = "", dry: bool = False) -> None:
    """All of `commands` (libnftables-json(5)) at once or none; `dry`: only ask whether they would be taken.

    Raises DriverError.
    """
    await load(json.dumps({"nftables": list(commands)}), *(("-c",) if dry else ()), "-j", where=where, remedy=remedy)


async def load(text: str, *flags: str, where: str, remedy: str = "") -> None:
    """A whole file, all of it or nothing. Raises DriverError."""
    status, _, told = await run(*flags, "-f", "-", stdin=text)
    if status != 0:
        raise DriverError(f"nft refuses it: {' '.join(told.split())[:500]}", where=where, remedy=remedy)


async def listed(*what: str) -> tuple[JsonObject, ...] | None:
    """What `nft -j list WHAT` shows; None when there is no such thing. Raises DriverError."""
    where = " ".join(what)
    status, output, told = await run("-j", "list", *what)
    if status != 0:
        if "No such file or directory" in told:
            return None
        raise DriverError(f"nftables cannot be read: {' '.join(told.split())}", where=where)
    try:
        objects = json.loads(output)["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise DriverError(f"nft did not print its JSON: {error}", where=where) from error
    return tuple(one for one in objects if isinstance(one, dict) and "metainfo" not in one)
