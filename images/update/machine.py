"""The machine below an update: what it runs, its RAUC, its reboot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from images.update.rauc import Installer, Rauc
from images.update.release import Release, read_release
from nf.errors import DriverError


@dataclass(frozen=True, slots=True)
class Machine:
    release: Release
    rauc: Installer
    reboot: Callable[[], Awaitable[None]]


async def systemctl_reboot() -> None:
    """Asks for it and returns: units end in their order. Raises DriverError."""
    process = await asyncio.create_subprocess_exec(
        "systemctl", "reboot", "--no-block", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, told = await process.communicate()
    if process.returncode:
        raise DriverError(told.decode(errors="replace").strip() or "it failed", where="systemctl reboot")


def this_machine(root: Path = Path("/")) -> Machine | None:
    """None when it runs from no image. Raises IntegrityError."""
    release = read_release(root)
    return None if release is None else Machine(release, Rauc(), systemctl_reboot)
