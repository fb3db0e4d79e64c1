"""The PFCP proxy as a process: `python -m core5g.pfcp.proxy.process --section JSON --status SOCKET --events SOCKET
--store FILE [--gate SOCKET]`.

A line to the status socket, empty or a JSON object with `command`, is answered by one line of JSON. Whoever connects to
the events' socket is told of every session that stands, and then of every change, a line each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pwd
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from core5g.pfcp.proxy.control import Control
from core5g.pfcp.proxy.documents import ProxySection
from core5g.pfcp.proxy.engine import Proxy
from core5g.pfcp.proxy.exchanges import Outgoing
from core5g.pfcp.proxy.store import remembered
from core5g.pfcp.proxy.units import OBSERVER, ask
from core5g.pfcp.transactions import Peer
from core5g.sockets import answering, bound
from nf.contracts.json import JsonObject
from nf.errors import StorageError

_TICK_S, _GATE_S = 0.1, 0.5
_READS = 128
_BUFFER = 8 << 20
_SO_RCVBUFFORCE = 33
_LONGEST = 65_536
_MOST_UNREAD = 16 << 20


class Process:
    """Reads a batch, has the engine work on it, keeps what changed, and only then sends.

    Without a file that it can use it begins as one that was never there, and keeps nothing beyond its own end. Its
    recovery time stamps are then those of its start: for SMFs and UPFs it is a restart.
    """

    def __init__(self, section: ProxySection, store: Path) -> None:
        self._store, kept, unkept = remembered(store, section)
        self._section = section
        self.proxy = Proxy(
            section,
            time.time,
            stamps=kept.stamps,
            sessions=kept.sessions,
            influences=kept.influences,
            first_seq=secrets.randbits(19),
        )
        self.proxy.counters["damaged"] = kept.damaged
        self.proxy.unkept, self._in_memory = unkept, bool(unkept)
        if unkept:
            self.proxy.counters["store-errors"] += 1
            sys.stderr.write(f"pfcp-proxy: keeps sessions in memory alone: {unkept}\n")
        self._kept_stamps: JsonObject = {}
        self.observers: set[asyncio.StreamWriter] = set()
        self.socket = _udp(str(section.listen), section.port)
        self._keep()

    def read(self) -> None:
        sending: list[Outgoing] = []
        now = time.monotonic()
        for _ in range(_READS):
            try:
                data, address = self.socket.recvfrom(_LONGEST)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an ICMP of an earlier datagram
                continue
            sending += self.proxy.receive(data, Peer(*address), now)
        self._finish(sending)

    def tick(self) -> None:
        self._finish(self.proxy.tick(time.monotonic()))

    def _finish(self, sending: Iterable[Outgoing]) -> None:
        self._keep()
        for data, to in sending:
            try:
                self.socket.sendto(data, to)
            except OSError:  # repeated by whoever waits for an answer
                self.proxy.counters["send-errors"] += 1
        self.proxy.observed = bool(self.observers)
        for event in self.proxy.take_events():
            line = json.dumps(event).encode() + b"\n"
            for observer in tuple(self.observers):
                self._tell(observer, line)

    def _keep(self) -> None:
        changed = self.proxy.take_changed()
        stamps = self.proxy.stamps.to_json()
        if not changed and stamps == self._kept_stamps and not self.proxy.unsaved:
            return
        try:
            self._store.save(self._section, self.proxy.stamps, changed, self.proxy.steerer.influences)
        except StorageError as error:  # steering may be lost with the next restart; sessions are not
            self.proxy.counters["store-errors"] += 1
            self.proxy.unkept = error.message
        else:
            if not self._in_memory:
                self.proxy.unkept = ""
        self._kept_stamps = stamps
        self.proxy.unsaved = False

    def _tell(self, observer: asyncio.StreamWriter, line: bytes) -> None:
        if observer.transport.get_write_buffer_size() > _MOST_UNREAD:
            self.observers.discard(observer)  # it connects again and is told all that stands
            observer.transport.abort()
        else:
            observer.write(line)

    def observe(self, observer: asyncio.StreamWriter) -> None:
        for event in self.proxy.standing():
            observer.write(json.dumps(event).encode() + b"\n")
        self.observers.add(observer)
        self.proxy.observed = True

    def close(self) -> None:
        self._keep()
        self.socket.close()
        self._store.close()


def _udp(address: str, port: int) -> socket.socket:
    """Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def _observer() -> int | None:
    """Whose the events' socket is. None: this process's own user's, on a machine without the observer."""
    try:
        return pwd.getpwnam(OBSERVER).pw_uid
    except KeyError:
        return None


def _events(path: Path) -> socket.socket:
    """Of the observer, if this process may give it away: unobserved it relays all the same. Raises OSError."""
    try:
        return bound(path, _observer())
    except PermissionError as error:
        sys.stderr.write(f"pfcp-proxy: nobody can follow its sessions: {error}\n")
        return bound(path)


async def run(process: Process, status: Path, events: Path, gate: Path | None) -> None:
    """Until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    control = Control(process.proxy)

    async def answer(line: bytes) -> JsonObject:
        return {"version": 1, "pid": os.getpid(), **control.answer(line)}

    async def observed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        process.observe(writer)
        with contextlib.suppress(OSError, ValueError):
            while await reader.readline():
                pass
        process.observers.discard(writer)
        writer.close()

    async def watch() -> None:
        while gate is not None:
            told = await ask(gate)
            healthy = told is not None and told.get("open") is True
            why = "the gate of the edge's N6 steering does not answer" if told is None else str(told.get("why", ""))
            process.proxy.steerer.set_healthy("" if healthy else why or "the edge's gate is closed", healthy=healthy)
            await asyncio.sleep(_GATE_S)

    loop.add_reader(process.socket.fileno(), process.read)
    telling = await asyncio.start_unix_server(observed, sock=_events(events))
    watching = asyncio.create_task(watch())
    try:
        async with answering(status, answer):
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _TICK_S)
                process.tick()
    finally:
        watching.cancel()
        loop.remove_reader(process.socket.fileno())
        telling.close()
        process.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="pfcp-proxy", description=__doc__)
    parser.add_argument("--section", required=True, help="JSON")
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    parser.add_argument("--events", type=Path, required=True, help="unix socket")
    parser.add_argument("--store", type=Path, required=True, help="file")
    parser.add_argument("--gate", type=Path, help="status socket of the edge's N6 gate")
    given = parser.parse_args()
    try:
        process = Process(ProxySection.model_validate_json(given.section), given.store)
        asyncio.run(run(process, given.status, given.events, given.gate))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"pfcp-proxy: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
