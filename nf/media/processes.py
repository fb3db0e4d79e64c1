"""Programs that are asked one thing and end, and places that a daemon's own user must get to."""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from nf.errors import DriverError


async def ask_program(
    argv: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit status and output, both streams together. Raises DriverError when it does not end in time or is absent."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd="/",
        )
    except FileNotFoundError as error:
        raise DriverError(f"{argv[0]} is not installed", where=argv[0], remedy="make setup installs it") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise DriverError(f"no answer in {timeout_s:.0f} s", where=argv[0]) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace").strip()


def check_user(user: str, package: str, place: Path) -> None:
    """Raises DriverError when `user` is missing or cannot get to `place`. Changes nothing."""
    try:
        pwd.getpwnam(user)
    except KeyError as error:
        raise DriverError(f"there is no user {user}", remedy=f"install the package {package}") from error
    for parent in place.parents:
        if parent.exists() and not parent.stat().st_mode & stat.S_IXOTH:
            raise DriverError(
                f"user {user} cannot pass through {parent}", where=str(place), remedy=f"chmod o+x {parent}"
            )
