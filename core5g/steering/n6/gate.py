"""The gate as a process: `python -m core5g.steering.n6.gate --section JSON --status SOCKET --influences FILE`.

It probes the cache and hears of links. When the cache dies, one transaction of nftables lets new flows take the default
exit, and flows that are under way are reset. While it is dead itself, everything stays as it was: the supervisor starts
it again, and its first probes decide.

Its status socket tells its state in a line of JSON; `explain UE DESTINATION` tells where such traffic goes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from core5g import nftables
from core5g.sockets import answering
from core5g.steering.n6 import reading, render, routes
from core5g.steering.n6.documents import N6Section
from core5g.steering.n6.explain import explain, view_of
from core5g.steering.n6.influences import InfluenceStore
from core5g.steering.n6.machine import GateMachine, State
from core5g.steering.n6.probe import probe
from core5g.steering.n6.resets import reset_flows
from nf.contracts.json import JsonObject
from nf.errors import NfError

_RTMGRP_LINK, _RTMGRP_IPV4_ROUTE, _RTMGRP_IPV6_ROUTE = 0x1, 0x40, 0x400
_ROUNDS_S = (0.0, 0.15, 0.35, 0.75)
"""When flows are reset, after the gate was shut: what a lost segment left is met by the next round."""
_AGAIN_S = 0.03
"""After a first failure the next probe is soon: a cache that refuses connections is known to be dead at once."""


class Gate:
    def __init__(self, section: N6Section, influences: Path) -> None:
        self._section = section
        self._influences = InfluenceStore(influences)
        self._machine = GateMachine(section.cache.health.hold_ms / 1000, time.time())
        self._applied: bool | None = None
        self._stirred = asyncio.Event()
        self._resets: asyncio.Task[None] | None = None
        self._probes = self._reset = self._errors = 0
        self._last_error = ""

    async def run(self, stop: asyncio.Event) -> None:
        interval = self._section.cache.health.interval_ms / 1000
        await self._check_link()
        wire = asyncio.create_task(self._trip())
        while not stop.is_set():
            failure = await probe(self._section.cache)
            self._probes += 1
            self._machine.probed(failure, time.time())
            await self._act()
            soon = self._machine.state in {State.DOUBTED, State.SUSPECTED}
            await self._pause(_AGAIN_S if soon else interval)
        wire.cancel()
        if self._resets is not None:
            self._resets.cancel()

    async def _trip(self) -> None:
        """An idle connection, which a cache that dies takes with it: that is known at once, not at the next probe."""
        cache = self._section.cache
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(str(cache.address), cache.health.port)
                try:
                    await reader.read(1)
                finally:
                    writer.transport.abort()
                self.stir()
            await asyncio.sleep(cache.health.interval_ms / 1000)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return
        self._stirred.clear()
        await self._check_link()

    def stir(self) -> None:
        """Something of links or routes has changed."""
        self._stirred.set()

    async def _check_link(self) -> None:
        """A link that is up gets its route again; one that is down shuts the gate before any probe fails."""
        interface = self._section.cache.interface
        if interface is None:
            return
        try:
            async with routes.open_routes() as opened:
                up = (await opened.links()).get(interface, (0, False))[1]
                if up:
                    await opened.make(routes.wanted(self._section))
        except NfError as error:
            self._note(str(error))
            return
        if not up:
            self._machine.link_down(interface, time.time())
            await self._act()

    async def _act(self) -> None:
        steers = self._machine.steers
        if steers is None or steers is self._applied:
            return
        try:
            await nftables.transact(render.gate_commands(self._section, is_open=steers), where="n6-gate")
        except NfError as error:
            self._note(str(error))  # done again with the next probe
            return
        self._applied = steers
        if self._resets is not None:
            self._resets.cancel()
        self._resets = None if steers else asyncio.create_task(self._reset_all())

    async def _reset_all(self) -> None:
        began = time.monotonic()
        for number, due in enumerate(_ROUNDS_S):
            await asyncio.sleep(max(0.0, began + due - time.monotonic()))
            try:
                found = await asyncio.to_thread(reset_flows, local=self._section.cache.local)
            except OSError as error:
                self._note(f"flows cannot be reset: {error}")
                continue
            self._reset += found if number == 0 else 0

    def _note(self, error: str) -> None:
        self._errors += 1
        self._last_error = error

    async def answer(self, line: bytes) -> JsonObject:
        words = line.decode(errors="replace").split()
        listed = await nftables.listed("table", render.FAMILY, render.TABLE) if words else None
        if words[:1] == ["explain"] and len(words) == 3:
            return await self._explain(words[1], words[2], listed or ())
        if words:
            return {"error": "there is: explain UE DESTINATION"}
        counters = await nftables.listed("counters", "table", render.FAMILY, render.TABLE)
        return {
            "version": 1,
            "pid": os.getpid(),
            "open": self._applied if self._applied is not None else self._machine.steers,
            "state": self._machine.state.value,
            "why": self._machine.why,
            "since": self._machine.since,
            "cache": str(self._section.cache.address),
            "probes": self._probes,
            "flows_reset": self._reset,
            "packets": {**reading.counters_of(counters or ())},
            "errors": self._errors,
            "last_error": self._last_error,
        }

    async def _explain(self, ue: str, destination: str, listed: tuple[JsonObject, ...]) -> JsonObject:
        behind = ""
        with contextlib.suppress(ValueError):
            address = ip_address(ue)
            async with routes.open_routes() as opened:
                behind = await opened.exit_of(address)
        influences = self._influences.read()
        view = view_of(self._section, influences, listed, why=self._machine.why, behind=behind)
        return explain(view, ue, destination)


@contextmanager
def _changes(gate: Gate) -> Iterator[None]:
    """Wake the gate by any change of a link or a route. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.setblocking(False)
        sock.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_ROUTE))

        def read() -> None:
            with contextlib.suppress(OSError):  # also ENOBUFS: what was lost has stirred it as well
                while True:
                    sock.recv(65_536)
            gate.stir()

        loop = asyncio.get_running_loop()
        loop.add_reader(sock.fileno(), read)
        try:
            yield
        finally:
            loop.remove_reader(sock.fileno())


async def main_loop(section: N6Section, status: Path, influences: Path) -> None:
    """Until SIGTERM or SIGINT. Raises OSError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gate = Gate(section, influences)
    with _changes(gate):
        async with answering(status, gate.answer):
            running = asyncio.create_task(gate.run(stop))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
            gate.stir()
            await running


def main() -> int:
    parser = argparse.ArgumentParser(prog="n6-gate", description=__doc__)
    parser.add_argument("--section", required=True, help="JSON")
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    parser.add_argument("--influences", type=Path, required=True, help="directory")
    given = parser.parse_args()
    try:
        section = N6Section.model_validate_json(given.section)
        asyncio.run(main_loop(section, given.status, given.influences))
    except (OSError, ValueError, NfError) as error:
        sys.stderr.write(f"n6-gate: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
