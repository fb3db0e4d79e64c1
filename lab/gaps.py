"""A set-top box's view of multicast groups: how long nothing came, and where the stream says that its clock is another.

`python -m lab.gaps --source 10.3.1.1 --interface 10.3.1.10 --group 232.20.1.1:5000 --output /tmp/gaps.json`. It writes
what it has seen five times a second, until it is ended or `--seconds` are over.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lab.devices.ts import packets_of, pid_of

_WRITE_S = 0.2
_BUFFER_OCTETS = 4 << 20
# Linux values that the socket module does not name (asm-generic/socket.h, linux/in.h).
_SO_TIMESTAMPNS, _IP_ADD_SOURCE_MEMBERSHIP, _IP_MULTICAST_ALL = 35, 39, 49
_TIMESPEC = struct.Struct("qq")


@dataclass(slots=True)
class Seen:
    """Of one group. `longest_gap_ms`: between two datagrams, by the kernel's time stamps; `continuity_errors`: as
    ISO/IEC 13818-1 counts them (2.4.3.3); `marked`: packets with discontinuity_indicator."""

    datagrams: int = 0
    longest_gap_ms: float = 0.0
    continuity_errors: int = 0
    marked: int = 0


class Watcher:
    def __init__(self, source: IPv4Address, group: IPv4Address, port: int, interface: IPv4Address) -> None:
        self.seen = Seen()
        self._last_at: float | None = None
        self._counters: dict[int, int] = {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        self.socket.setblocking(False)
        self.socket.bind((str(group), port))
        member = group.packed + interface.packed + source.packed
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_ADD_SOURCE_MEMBERSHIP, member)

    def drain(self) -> None:
        while True:
            try:
                datagram, ancillary, _, _ = self.socket.recvmsg(65_536, 64)
            except BlockingIOError:
                return
            self.take(datagram, _stamp(ancillary))

    def take(self, datagram: bytes, at: float) -> None:
        seen = self.seen
        seen.datagrams += 1
        if self._last_at is not None:
            seen.longest_gap_ms = max(seen.longest_gap_ms, round((at - self._last_at) * 1000, 1))
        self._last_at = at
        for packet in packets_of(datagram):
            self._count(packet)

    def _count(self, packet: bytes) -> None:
        if packet[3] & 0x20 and packet[4] and packet[5] & 0x80:
            self.seen.marked += 1
        if not packet[3] & 0x10:
            return
        pid, counter = pid_of(packet), packet[3] & 0x0F
        before = self._counters.get(pid)
        if before is not None and counter not in (before, (before + 1) & 0x0F):
            self.seen.continuity_errors += 1
        self._counters[pid] = counter


def _stamp(ancillary: Sequence[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return time.time()


def watch(watchers: dict[str, Watcher], output: Path, seconds: float) -> None:
    ends = time.monotonic() + seconds
    due = 0.0
    with selectors.DefaultSelector() as selector:
        for watcher in watchers.values():
            selector.register(watcher.socket, selectors.EVENT_READ, watcher.drain)
        while (now := time.monotonic()) < ends:
            for key, _ in selector.select(_WRITE_S):
                key.data()
            if now >= due:
                due = now + _WRITE_S
                fresh = output.with_name(f"{output.name}.new")
                fresh.write_text(json.dumps({name: asdict(one.seen) for name, one in watchers.items()}))
                fresh.replace(output)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.gaps", description="Watch multicast groups as a receiver does.")
    parser.add_argument("--source", type=IPv4Address, required=True)
    parser.add_argument("--interface", type=IPv4Address, required=True, help="own address on the LAN")
    parser.add_argument("--group", action="append", required=True, metavar="GROUP:PORT")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600.0)
    given = parser.parse_args(arguments)
    watchers = {}
    for text in given.group:
        group, _, port = text.partition(":")
        watchers[group] = Watcher(given.source, IPv4Address(group), int(port), given.interface)
    watch(watchers, given.output, given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
