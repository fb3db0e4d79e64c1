"""The source stage: takes a contribution (MPEG-TS over UDP) and emits it as (S, G), datagram by datagram, unchanged;
or each behind an RTP header, and then to a second (S, G) as well (SMPTE ST 2022-7).

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
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from headend.multicast.receive import drain, open_receiver
from headend.multicast.rtp import (
    MP2T,
    PLAIN,
    PLAIN_FIRST,
    SEQUENCE_MODULUS,
    TIMESTAMP_MODULUS,
    stable_ssrc,
    timestamp_of,
)
from headend.multicast.source.flow import Flow, Target
from headend.multicast.source.policer import Policer
from headend.transport.continuity import ContinuityMonitor

_MARKED = 0x80 | MP2T


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
    dscp: int = 0
    rtp: bool = False
    second: Target | None = None
    leg: str = ""

    @property
    def target(self) -> Target:
        return Target(self.source, self.group, self.port)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return str(IPv4Address(host)), int(port)


def parse_arguments(argv: Sequence[str]) -> StageArguments:
    """Of the command line after the module's name. Raises SystemExit with a usage text."""
    parser = argparse.ArgumentParser(prog="source-stage", description=__doc__)
    parser.add_argument("--channel", default="")
    parser.add_argument("--path", default="")
    parser.add_argument("--leg", choices=("", "a", "b"), default="", help="of a path with two encoders")
    parser.add_argument("--listen", type=_address, required=True, help="address:port of the contribution")
    parser.add_argument("--source", type=IPv4Address, required=True)
    parser.add_argument("--group", type=IPv4Address, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True, help="bit/s")
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    parser.add_argument("--dscp", type=int, default=0, help="0 to 63")
    parser.add_argument("--encapsulation", choices=("ts", "rtp"), default="ts")
    parser.add_argument("--second", type=Target.of, help="source,group:port")
    given = parser.parse_args(argv)
    return StageArguments(
        given.channel,
        given.path,
        given.listen,
        given.source,
        given.group,
        given.port,
        given.rate,
        given.status,
        given.dscp,
        given.encapsulation == "rtp",
        given.second,
        given.leg,
    )


class RtpHeaders:
    """The headers of one life of a stream: its SSRC is the same in every life, all else begins at random (RFC 3550
    clause 5.1). The first is marked: time stamps begin anew (RFC 2250 clause 2)."""

    def __init__(self, identity: str, sequence: int, offset: int) -> None:
        self.ssrc = stable_ssrc(identity)
        self._sequence = sequence
        self._offset = offset
        self._type = _MARKED

    @classmethod
    def begun(cls, identity: str) -> RtpHeaders:
        return cls(identity, secrets.randbelow(SEQUENCE_MODULUS), secrets.randbelow(TIMESTAMP_MODULUS))

    def next(self, now: float) -> bytes:
        sequence = self._sequence
        self._sequence = (sequence + 1) % SEQUENCE_MODULUS
        header = PLAIN.pack(PLAIN_FIRST, self._type, sequence, timestamp_of(now, self._offset), self.ssrc)
        self._type = MP2T
        return header


class Stage:
    """The stream between its sockets, and what is known of both sides of it. `flows`: the first is the stage's own."""

    def __init__(self, arguments: StageArguments, receiver: socket.socket, flows: tuple[Flow, ...]) -> None:
        self._arguments = arguments
        self._receiver = receiver
        self._flow, *self._others = flows
        self._headers = RtpHeaders.begun(f"{arguments.channel}/{arguments.path}") if arguments.rtp else None
        self._policer = Policer(arguments.rate_bps)
        self._contribution = ContinuityMonitor()
        self._emitted = ContinuityMonitor()
        self._started_at = time.monotonic()
        self._policed = 0

    def readable(self) -> None:
        drain(self._receiver, time.monotonic(), self._take)

    def _take(self, datagram: bytes, arrival: float) -> None:
        self._contribution.receive(datagram, arrival)
        if not self._policer.admit(len(datagram), arrival):
            self._policed += 1
            return
        parts = (datagram,) if self._headers is None else (self._headers.next(arrival), datagram)
        if self._flow.send(parts, arrival):
            self._emitted.receive(datagram, arrival)
        for other in self._others:
            other.send(parts, arrival)

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
                "leg": given.leg or None,
                "listen": f"{given.listen[0]}:{given.listen[1]}",
                "source": str(given.source),
                "group": str(given.group),
                "port": given.port,
                "rate_bps": given.rate_bps,
                "dscp": given.dscp,
                "encapsulation": "rtp" if given.rtp else "ts",
                "second": None if given.second is None else str(given.second),
            },
            "contribution": asdict(self._contribution.counters(now)),
            "source": asdict(self._emitted.counters(now)),
            "policed": self._policed,
            "send_errors": self._flow.send_errors,
            "last_send_error": self._flow.last_error,
            "ssrc": None if self._headers is None else self._headers.ssrc,
            "second": self._others[0].status() if self._others else None,
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
        targets = [arguments.target] if arguments.second is None else [arguments.target, arguments.second]
        flows = tuple(Flow(target, arguments.dscp) for target in targets)
        for flow in flows:
            stack.callback(flow.close)
        flows[0].open()
        stage = Stage(arguments, receiver, flows)

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
