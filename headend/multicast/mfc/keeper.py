"""The process that keeps pinned entries in the kernel's table, also over a restart of pimd.

    python -m headend.multicast.mfc.keeper --pin S,G,OUTPUT[,OUTPUT] [--pin ...]

At every change of links, routes, virtual interfaces or entries it resolves the numbers of virtual interfaces and the
way to S anew. SIGTERM takes the pins out.
"""

from __future__ import annotations

import argparse
import select
import signal
import sys
from collections.abc import Sequence

from headend.multicast.mfc.kernel import MfcSocket, drain, open_changes, read_kernel
from headend.multicast.mfc.pins import Keeper, Pin
from nf.errors import NfError

RECHECK_S = 2.0
"""Also without a change, for whatever the kernel does not tell of."""


class _TerminatedError(Exception):
    pass


def _terminate(_number: int, _frame: object) -> None:
    raise _TerminatedError


def run(pins: Sequence[Pin]) -> None:
    keeper = Keeper(pins)
    sources = [pin.source for pin in pins]
    with MfcSocket() as table, open_changes() as changes:
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGINT, _terminate)
        try:
            while True:
                drain(changes)
                try:
                    table.write(keeper.reconcile(read_kernel(sources)))
                except NfError as error:
                    print(error, file=sys.stderr, flush=True)  # noqa: T201 - the unit's log
                select.select([changes], [], [], RECHECK_S)
        except _TerminatedError:
            table.write(keeper.release())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="keeper", description=__doc__)
    parser.add_argument("--pin", type=Pin.parse, action="append", default=[], metavar="S,G,OUTPUT")
    run(parser.parse_args(arguments).pin)


if __name__ == "__main__":
    main()
