"""Asks Kamailio whether it would take a configuration, without touching the one that runs."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from nf.errors import DeadlineError, RefusedError
from sip.kamailio import installing
from sip.kamailio.documents import KamailioSection
from sip.kamailio.installing import Resolve
from sip.kamailio.paths import CONFIG_FILE
from sip.kamailio.places import Places
from sip.kamailio.units import program

_LIMIT_S: Final = 60.0
_LINES: Final = 12


async def check_candidate(section: KamailioSection, resolve: Resolve, rpc_port: int, where: str) -> None:
    """`kamailio -c` with everything in a directory of its own, secrets too, that nobody else may read.

    Raises RefusedError with what Kamailio says, or with the line of the accounts that is none.
    """
    with tempfile.TemporaryDirectory(prefix="nf-kamailio-") as name:
        places = Places(Path(name) / "run", Path(name) / "state", rpc_port)
        await asyncio.to_thread(installing.install, section, places, resolve)
        words = ("-c", "-E", "-Y", str(places.run), "-f", str(places.file(CONFIG_FILE)))
        code, text = await _run(str(program()), *words)
        if code != 0:
            told = "\n".join(line.replace(name, "") for line in text.splitlines()[-_LINES:])
            raise RefusedError(f"Kamailio refuses the configuration: {told}", where=where, remedy="report this")


async def _run(*argv: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise DeadlineError(f"kamailio -c took longer than {_LIMIT_S:.0f} s", where=argv[0]) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")
