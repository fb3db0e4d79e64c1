"""Takes one contribution in and hands it on to a UDP port of this machine. A process of its own.

`python -m nf.media.ingest.process --source ch1-main --type srt --arrival 9000 --port 6011 --backup-port 6012
--detect-ms 400 --failback-ms 30000 --status SOCKET`. SRT and RIST are received by `srt-live-transmit` and
`ristreceiver`, which are children of this process and are started again when they end. A connection to the status
socket says `status` or `failback` (the primary is to be taken back), and is answered by one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nf.errors import UnavailableError
from nf.media.answering import serve_unit
from nf.media.ingest.receivers import argv_of
from nf.media.ingest.switch import Role, Rules, Switch

FAILBACK = b"failback\n"
_TICK_S = 0.02
_BUFFER_OCTETS = 4 << 20
_DATAGRAM = 65_536
_AT_ONCE = 64
_PAUSE_FIRST_S, _PAUSE_LAST_S = 0.2, 4.0
_STABLE_S = 10.0


@dataclass(frozen=True, slots=True)
class Arguments:
    """`arrival`: UDP port, 0 = it is called at `peer` (SRT). `backup_port`: 0 = none. `failback_ms`: 0 = by hand."""

    source: str
    type: str
    port: int
    arrival: int
    peer: str
    latency_ms: int
    backup_port: int
    detect_ms: int
    failback_ms: int
    status: Path

    @property
    def stream(self) -> dict[str, object]:
        return {k: v for k, v in asdict(self).items() if not isinstance(v, Path)}


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Of the command line after the module's name. Raises SystemExit with a usage text."""
    parser = argparse.ArgumentParser(prog="ingest", description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--type", required=True, choices=("udp", "srt", "rist"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--peer", default="")
    for name in ("arrival", "latency-ms", "backup-port", "failback-ms"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--detect-ms", type=int, default=400)
    parser.add_argument("--status", type=Path, required=True)
    return Arguments(**vars(parser.parse_args(argv)))


def _udp(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise UnavailableError(
            f"UDP port {port} cannot be had: {os.strerror(error.errno or 0)}",
            where=address,
            remedy="see what else listens there (`ss -lun`)",
        ) from None
    return sock


class Receiver:
    """The child that receives SRT or RIST, started again and again with growing pauses."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self.pid: int | None = None
        self.restarts = 0
        self.last_exit = ""

    async def run(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while True:
            began = time.monotonic()
            # Tied to this process: one that is killed and started again must not find its port taken.
            child = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--"), *self._argv, stdin=asyncio.subprocess.DEVNULL, stdout=2
            )
            self.pid = child.pid
            try:
                code = await child.wait()
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
                raise
            self.pid, self.last_exit = None, f"exit {code}"
            self.restarts += 1
            pause_s = _PAUSE_FIRST_S if time.monotonic() - began > _STABLE_S else min(2 * pause_s, _PAUSE_LAST_S)
            await asyncio.sleep(pause_s)


class Ingest:
    """The sockets around a `Switch`."""

    def __init__(self, given: Arguments) -> None:
        self._given = given
        rules = Rules(given.detect_ms / 1000, given.failback_ms / 1000 if given.failback_ms else None)
        self._switch = Switch(rules, time.monotonic())
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._out.setblocking(False)
        self._out.connect(("127.0.0.1", given.port))
        self._inputs: dict[Role, socket.socket] = {}
        self._receiver: Receiver | None = None
        self._sent = 0
        self._started_at = time.monotonic()

    async def run(self) -> None:
        """Until cancelled. Raises UnavailableError: a port that is taken, a receiver that is not installed."""
        given, loop = self._given, asyncio.get_running_loop()
        receiving: asyncio.Task[None] | None = None
        try:
            if given.type == "udp":
                self._inputs[Role.PRIMARY] = _udp("0.0.0.0", given.arrival)  # noqa: S104 - any interface may bring it
            else:
                self._inputs[Role.PRIMARY] = _udp("127.0.0.1", 0)
                inner = self._inputs[Role.PRIMARY].getsockname()[1]
                self._receiver = Receiver(argv_of(given.type, given.arrival, given.peer, given.latency_ms, inner))
                receiving = asyncio.create_task(self._receiver.run())
            if given.backup_port:
                self._inputs[Role.BACKUP] = _udp("0.0.0.0", given.backup_port)  # noqa: S104 - the same
            for role, sock in self._inputs.items():
                loop.add_reader(sock, self._arrived, role, sock)
            while receiving is None or not receiving.done():
                await asyncio.sleep(_TICK_S)
                self._send(self._switch.tick(time.monotonic()))
            receiving.result()
        finally:
            for sock in (*self._inputs.values(), self._out):
                loop.remove_reader(sock)
                sock.close()
            if receiving is not None:
                receiving.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await receiving

    def _arrived(self, role: Role, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                datagram = sock.recv(_DATAGRAM)
            except OSError:
                return
            self._send(self._switch.receive(role, datagram, time.monotonic()))

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            with contextlib.suppress(OSError):  # nobody listens yet, or its buffer is full
                self._out.send(datagram)
                self._sent += 1

    def hear(self, line: bytes) -> None:
        """What a client of the status socket says first."""
        if line == FAILBACK:
            self._switch.ask_failback()

    def status(self) -> dict[str, object]:
        """JSON; see `Switch.status`."""
        now, receiver = time.monotonic(), self._receiver
        return {
            "version": 1,
            "arguments": self._given.stream,
            "uptime_s": now - self._started_at,
            "sent": self._sent,
            "receiver_pid": None if receiver is None else receiver.pid,
            "receiver_restarts": 0 if receiver is None else receiver.restarts,
            "receiver_exit": "" if receiver is None else receiver.last_exit,
            **self._switch.status(now),
        }


def main() -> int:
    given = parse_arguments(sys.argv[1:])
    ingest = Ingest(given)
    return serve_unit("ingest", ingest.run, ingest.status, given.status, ingest.hear)


if __name__ == "__main__":
    sys.exit(main())
