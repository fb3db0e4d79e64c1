"""Makes TUN devices: in this process where it may open /dev/net/tun, otherwise in a unit that does that and no more.

The agent of an image has no devices (systemd.exec(5), PrivateDevices). `python -m core5g.open5gs.n6.maker --ready FILE
NAME...` makes them, writes the file and waits to be ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core5g.open5gs.n6.tun import TunKernel, open_tuns
from nf.contracts.units import Readiness, ReadyKind, Sandbox, Units, UnitSpec

UNIT: Final = "n6-tun"
_DEVICE: Final = "/dev/net/tun"
_MODULE: Final = "core5g.open5gs.n6.maker"


def may_make() -> bool:
    """Whether this process may open the device by which others are made."""
    try:
        os.close(os.open(_DEVICE, os.O_RDWR))
    except OSError:
        return False
    return True


class TunMaker:
    def __init__(self, run_dir: Path, units: Units) -> None:
        self.directory = run_dir / "n6-tun"
        self._units = units

    async def make(self, kernel: TunKernel, names: Sequence[str]) -> None:
        """Persistent, marked as ours, down and without addresses. Raises DriverError."""
        if not names:
            return
        if may_make():
            for name in names:
                await kernel.make(name)
            return
        ready = self.directory / "made"
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        ready.unlink(missing_ok=True)
        await self._units.define(unit_spec(ready, names))
        try:
            await self._units.start(UNIT)
        finally:
            await self._units.remove(UNIT)


def unit_spec(ready: Path, names: Sequence[str]) -> UnitSpec:
    sandbox = Sandbox(
        capabilities=("CAP_NET_ADMIN",),
        families=("AF_NETLINK",),
        writable=(ready.parent,),
        devices=(f"{_DEVICE} rw",),
    )
    return UnitSpec(
        name=UNIT,
        argv=(sys.executable, "-m", _MODULE, "--ready", str(ready), *names),
        ready=Readiness(ReadyKind.FILE, str(ready), 20.0),
        restart=False,
        sandbox=sandbox,
    )


async def _run(names: Sequence[str], ready: Path) -> None:
    async with open_tuns() as kernel:
        there = await kernel.links()
        for name in names:
            if name not in there:
                await kernel.make(name)
    ready.touch()  # noqa: ASYNC240 - nothing else goes on in this process
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="makes TUN devices")
    parser.add_argument("--ready", type=Path, required=True)
    parser.add_argument("names", nargs="+")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(arguments.names, arguments.ready))


if __name__ == "__main__":
    main()
