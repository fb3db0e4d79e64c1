"""The source stage: takes a contribution (MPEG-TS over UDP) and emits it as (S, G), datagram by datagram, unchanged.

A process of its own: `python -m headend.multicast.source.stage --listen 0.0.0.0:6001 --source 10.1.0.10
--group 232.10.1.1 --port 5000 --rate 1000000 --status /run/nf/source/x.sock`. A connection to its status socket
is answered by one line of JSON. Imports little, since it is started in the middle of a commit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from headend.multicast.receive import bind_to_interface, drain, open_receiver, open_sender
from headend.multicast.source.policer import Policer
from headend.transport.continuity import ContinuityMonitor

_SEARCH_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class StageArguments:
    """`rate_bps` bounds what leaves, counted over the content of the datagrams."""

    channel: str
    path: str
    listen: tuple[str, int]
    source: IPv4Address
    group: IPv4Address
    port: int
    rate_bps: int
    status: Path


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return str(IPv4Address(host)), int(port)


def parse_arguments(argv: Sequence[str]) -> StageArguments:
    """Of the command line after the module's name. Raises SystemExit with a usage text."""
    parser = argparse.ArgumentParser(prog="source-stage", description=__doc__)
    parser.add_argument("--channel", default="")
    parser.add_argument("--path", default="")
    parser.add_argument("--listen", type=_address, required=True, help="address:port of the contribution")
    parser.add_argument("--source", type=IPv4Address, required=True)
    parser.add_argument("--group", type=IPv4Address, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True, help="bit/s")
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    given = parser.parse_args(argv)
    return StageArguments(
        given.channel, given.path, given.listen, given.source, given.group, given.port, given.rate, given.status
    )


class Stage:
    """The stream between two sockets, and what is known of both sides of it."""

    def __init__(self, arguments: StageArguments, receiver: socket.socket, sender: socket.socket) -> None:
        self._arguments = arguments
        self._receiver = receiver
        self._sender = sender
        self._target = (str(arguments.group), arguments.port)
        self._policer = Policer(arguments.rate_bps)
        self._contribution = ContinuityMonitor()
        self._emitted = ContinuityMonitor()
        self._started_at = time.monotonic()
        self._policed = 0
        self._searched_at = self._started_at
        self._send_errors = 0
        self._last_send_error = ""

    def readable(self) -> None:
        drain(self._receiver, time.monotonic(), self._take)

    def _take(self, datagram: bytes, arrival: float) -> None:
        self._contribution.receive(datagram, arrival)
        if not self._policer.admit(len(datagram), arrival):
            self._policed += 1
            return
        try:
            self._sender.sendto(datagram, self._target)
        except OSError as error:
            # A link may be down for a while: the stream goes on by itself when it is back.
            self._send_errors += 1
            self._last_send_error = os.strerror(error.errno or 0)
            self._find_interface(arrival)
            return
        self._emitted.receive(datagram, arrival)

    def _find_interface(self, now: float) -> None:
        if now - self._searched_at >= _SEARCH_INTERVAL_S:
            self._searched_at = now
            with contextlib.suppress(OSError):
                bind_to_interface(self._sender, self._arguments.source)

    def status(self) -> dict[str, object]:
        """JSON. `policed`: datagrams dropped because they came above the admitted rate; `arguments`: what runs."""
        self.readable()
        now = time.monotonic()
        given = self._arguments
        return {
            "version": 1,
            "pid": os.getpid(),
            "uptime_s": now - self._started_at,
            "arguments": {
                "channel": given.channel,
                "path": given.path,
                "listen": f"{given.listen[0]}:{given.listen[1]}",
                "source": str(given.source),
                "group": str(given.group),
                "port": given.port,
                "rate_bps": given.rate_bps,
            },
            "contribution": asdict(self._contribution.counters(now)),
            "source": asdict(self._emitted.counters(now)),
            "policed": self._policed,
            "send_errors": self._send_errors,
            "last_send_error": self._last_send_error,
        }


async def _answer(stage: Stage, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.write(json.dumps(stage.status()).encode() + b"\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def _status_socket(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o600)
    except OSError:
        sock.close()
        raise
    return sock


async def run_stage(arguments: StageArguments) -> None:
    """Until SIGTERM or SIGINT. Raises OSError when a socket cannot be had (port taken, source address absent)."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(open_receiver(*arguments.listen))
        sender = stack.enter_context(open_sender(arguments.source))
        stage = Stage(arguments, receiver, sender)

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _answer(stage, writer)

        loop.add_reader(receiver.fileno(), stage.readable)
        stack.callback(loop.remove_reader, receiver.fileno())
        # Last, since a connection to it means that the stream flows.
        server = await asyncio.start_unix_server(answer, sock=_status_socket(arguments.status))
        stack.callback(arguments.status.unlink, missing_ok=True)
        try:
            await stop.wait()
        finally:
            server.close()


def main() -> int:
    arguments = parse_arguments(sys.argv[1:])
    try:
        asyncio.run(run_stage(arguments))
    except OSError as error:
        sys.stderr.write(f"source stage: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
