"""`python -m sip.interception.process --section JSON --run-dir DIR --caller USER`.

It writes nothing, not even when it ends by itself: what it could say would be about somebody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import pwd
import resource
import signal
import sys
from pathlib import Path
from typing import Final

from nf.clock import RealClock
from sip.interception.documents import InterceptionSection
from sip.interception.service import Interception, listen, say_nothing
from sip.interception.units import alive_path, socket_path

_PR_SET_DUMPABLE: Final = 4


def unseen() -> None:
    """No core dump holds what this process knows, and none of its own user's other processes may read it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def yielding() -> None:
    """The proxy's and the relay's processes go first: what is copied takes no time from the calls (sched(7))."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def user_id(name: str) -> int:
    """Where there is no such user, as in the lab, only who runs this may call."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return os.geteuid()


async def run(section: InterceptionSection, run_dir: Path, caller_uid: int) -> None:
    """Until SIGTERM or SIGINT. Raises OSError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # it would be logged with what it was about
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    interception = Interception(section, run_dir, RealClock())
    path, alive = socket_path(run_dir), alive_path(run_dir)
    server = await listen(interception, path, caller_uid)
    living = await say_nothing(alive)
    running = asyncio.create_task(interception.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for sockets, name in ((living, alive), (server, path)):
            sockets.close()
            name.unlink(missing_ok=True)
        stopping.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def main() -> int:
    parser = argparse.ArgumentParser(prog="sip-interception", description=__doc__)
    parser.add_argument("--section", required=True, help="JSON")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--caller", required=True, help="the user whose processes may connect")
    given = parser.parse_args()
    unseen()
    yielding()
    try:
        section = InterceptionSection.model_validate_json(given.section)
        asyncio.run(run(section, given.run_dir, user_id(given.caller)))
    except Exception:  # noqa: BLE001 - a traceback may name somebody
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
