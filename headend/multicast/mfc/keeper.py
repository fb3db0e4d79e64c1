"""The process that keeps pinned entries in the kernel's table, also over a restart of pimd.

    python -m headend.multicast.mfc.keeper --pin S,G,OUTPUT[,OUTPUT] [--pin ...]

At every change of links, routes, virtual interfaces or entries it resolves the numbers of virtual interfaces and the
way to S anew. SIGTERM takes the pins out.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from headend.multicast.mfc.kernel import MfcSocket, drain, open_changes, read_kernel
from headend.multicast.mfc.pins import Keeper, Pin
from nf.errors import NfError

RECHECK_S = 2.0
"""Also without a change, for whatever the kernel does not tell of."""


async def run(pins: Sequence[Pin]) -> None:
    """Until SIGTERM."""
    loop, keeper, moved, stop = asyncio.get_running_loop(), Keeper(pins), asyncio.Event(), asyncio.Event()
    sources = [pin.source for pin in pins]

    def end() -> None:
        stop.set()
        moved.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    with MfcSocket() as table, open_changes() as changes:
        loop.add_reader(changes, moved.set)
        while not stop.is_set():
            drain(changes)
            moved.clear()
            try:
                table.write(keeper.reconcile(await read_kernel(sources)))
            except (NfError, OSError) as error:
                print(error, file=sys.stderr, flush=True)  # noqa: T201 - the unit's log
            with suppress(TimeoutError):
                async with asyncio.timeout(RECHECK_S):
                    await moved.wait()
        loop.remove_reader(changes)
        table.write(keeper.release())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="keeper", description=__doc__)
    parser.add_argument("--pin", type=Pin.parse, action="append", default=[], metavar="S,G,OUTPUT")
    asyncio.run(run(parser.parse_args(arguments).pin))


if __name__ == "__main__":
    main()
