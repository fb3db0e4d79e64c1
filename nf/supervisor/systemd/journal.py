"""What a unit wrote, from systemd's journal (journalctl(1))."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE

from nf.errors import DriverError

_TIMEOUT_S = 20.0
_SPAWN_FAILED = "641257651c1b4ec9a8624d7a40a9e1e7"  # SD_MESSAGE_SPAWN_FAILED, sd-messages.h


async def tail(file: str, lines: int) -> tuple[str, ...]:
    """The last lines of the unit's own processes; of systemd's words only why it could not be started.

    Raises DriverError.
    """
    if lines <= 0:
        return ()
    await _journalctl("--sync")  # what was written a moment ago may still be on its way
    # Who says why it failed is gone at once: often before the journal has seen which unit that was of.
    match = (f"_SYSTEMD_UNIT={file}", "+", f"UNIT={file}", f"MESSAGE_ID={_SPAWN_FAILED}")
    written = await _journalctl("--quiet", "--no-pager", "--all", "--output=cat", f"--lines={lines}", *match)
    return tuple(written.splitlines()[-lines:])


async def _journalctl(*arguments: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "journalctl", *arguments, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        )
    except OSError as error:
        raise DriverError(f"the journal cannot be read: {error}", where="journalctl") from error
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise DriverError(f"no answer in {_TIMEOUT_S:.0f} s", where="journalctl") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode("utf-8", "replace")
