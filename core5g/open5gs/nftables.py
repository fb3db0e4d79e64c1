"""Runs nft(8)."""

from __future__ import annotations

import asyncio
from typing import Final

from nf.errors import DriverError

_TIMEOUT_S: Final = 10.0


async def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit status, output and error output. Raises DriverError when nft is absent or does not end."""
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
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
