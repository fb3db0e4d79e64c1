"""`python -m sip.kamailio.keeper --run-dir DIR --state-dir DIR [--rpc-port PORT]`: beside a proxy, agent or none.

It gives a proxy that was started again its tables, whereupon it opens, hands call records on, and tells people's tools
what they may ask of the proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Final

from nf.errors import NfError, UnavailableError
from sip.kamailio import installing, pushing, records, rpc_gate
from sip.kamailio.places import Places
from sip.kamailio.rpc import RpcClient
from sip.kamailio.tables import STARTING
from sip.naming import RPC_PORT, people_socket, rpc_socket

LOOK_S: Final = 0.2
EXPORT_S: Final = 1.0
_ANSWER_S: Final = 3.0
_FORGET_S: Final = 3600.0


class Keeper:
    def __init__(self, places: Places) -> None:
        self._places = places
        self._rpc = RpcClient(rpc_socket(places.run_dir), places.keeper_clients, places.url, _ANSWER_S)
        self._exporter = records.Exporter(places)
        self._told = ""

    async def run(self) -> None:
        try:
            async with rpc_gate.serving(self._rpc, people_socket(self._places.run_dir)):
                await asyncio.gather(self._look(), self._export())
        finally:
            self._rpc.close()

    async def _look(self) -> None:
        while True:
            try:
                if await pushing.read_drain(self._rpc) == STARTING:
                    names = await pushing.push(self._rpc, self._places)
                    self._say(f"told a proxy that had started: {', '.join(names)}")
                self._told = ""
            except UnavailableError:
                pass  # it is not there, or not yet
            except NfError as error:
                self._say(str(error))
            await asyncio.sleep(LOOK_S)

    async def _export(self) -> None:
        forgotten = -_FORGET_S
        while True:
            section = installing.standing(self._places)
            if section is not None:
                try:
                    await asyncio.to_thread(self._exporter.export, section.proxy.id, time.time())
                    if time.monotonic() - forgotten >= _FORGET_S:
                        forgotten = time.monotonic()
                        await asyncio.to_thread(records.forget, self._places.cdr, time.time())
                except NfError as error:
                    self._say(str(error))
            await asyncio.sleep(EXPORT_S)

    def _say(self, text: str) -> None:
        """What lasts is said once."""
        if text != self._told:
            print(text, flush=True)  # noqa: T201 - the unit's log
        self._told = text


async def _until_told(places: Places) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = asyncio.create_task(Keeper(places).run())
    stopping = asyncio.create_task(stop.wait())
    done, pending = await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


def main() -> int:
    parser = argparse.ArgumentParser(prog="kamailio-keeper", description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--rpc-port", type=int, default=RPC_PORT)
    given = parser.parse_args()
    asyncio.run(_until_told(Places(given.run_dir, given.state_dir, given.rpc_port)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
