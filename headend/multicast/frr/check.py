"""Asks FRR whether it would take a configuration: its own grammar (`vtysh --dryrun`), and `frr-reload.py --test`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from headend.multicast.frr.daemons import DAEMON_DIRECTORY
from headend.multicast.frr.render import DAEMONS
from nf.errors import DriverError

TIMEOUT_S = 15.0
RELOAD = DAEMON_DIRECTORY / "frr-reload.py"
VTYSH = Path("/usr/bin/vtysh")


def check_installed() -> None:
    """Raises DriverError naming what is not installed."""
    missing = [str(p) for p in (*(DAEMON_DIRECTORY / d for d in DAEMONS), VTYSH, RELOAD) if not p.exists()]
    if missing:
        raise DriverError(f"not installed: {', '.join(missing)}", remedy="install the packages frr and frr-pythontools")


async def check_candidate(text: str, vty_directory: Path | None) -> None:
    """Changes nothing. `vty_directory`: of the daemons, if all of them run. Raises DriverError with FRR's complaint."""
    with tempfile.TemporaryDirectory(prefix="nf-frr-") as name:
        place = Path(name)
        candidate = place / "frr.conf"
        candidate.write_text(text)
        (place / "vtysh.conf").touch()
        where = ("--config_dir", str(place))
        status, output = await _run((str(VTYSH), "--dryrun", "--inputfile", str(candidate), *where))
        if status != 0:
            raise DriverError(f"FRR would not take the configuration: {output}", where="vtysh --dryrun")
        if vty_directory is None:
            return
        places = ("--confdir", name, "--rundir", name, "--vty_socket", str(vty_directory))
        status, output = await _run((str(RELOAD), "--test", "--stdout", *places, str(candidate)))
        if status != 0:
            raise DriverError(f"FRR would not take the configuration: {output}", where="frr-reload.py --test")


async def _run(argv: Sequence[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise DriverError(f"no answer in {TIMEOUT_S:.0f} s", where=argv[0]) from error
    return process.returncode or 0, output.decode(errors="replace").strip()
