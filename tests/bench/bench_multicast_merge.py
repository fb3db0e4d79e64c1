"""The merge of a protected channel: two legs of 200 Mb/s into one output, by the process as it runs on a PoP."""

from __future__ import annotations

import ctypes
import json
import re
import resource
import selectors
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from headend.multicast.output.process import Stage, prefer
from headend.multicast.rtp import Header, build
from tests.bench.harness import Benchmark
from tests.headend.multicast.tree.network import Node, connect, ip, nodes

BITRATE_BPS, PAYLOAD = 200_000_000, 7 * 188
RATE = BITRATE_BPS / (PAYLOAD * 8)
"""Datagrams per second of one leg."""
LEGS = (("10.1.0.11", "232.10.0.1"), ("10.1.0.12", "232.138.0.1"))
POP, GROUP, PORT = "10.9.1.1", "232.20.1.1", 5000
SECONDS = 5.0
_BATCH = 32
_TICK_S = 0.005
_LATE_S = 0.05


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_uint64),  # 32 bits and padding
        ("length", ctypes.c_uint64),  # likewise
    )


class _Leg:
    """Sends batches of one leg with one call each, so that the sender leaves the machine to what is measured."""

    def __init__(self, source: str, group: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((source, 0))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        self._socket.connect((group, PORT))
        size = 12 + PAYLOAD
        self._buffer = ctypes.create_string_buffer(size * _BATCH)
        datagram = build(Header(0, 0, 77), (b"\x47\x01\x00\x10" + bytes(184)) * 7)
        self._places = range(0, size * _BATCH, size)
        start = ctypes.addressof(self._buffer)
        self._vectors = (_Iovec * _BATCH)()
        self._messages = (_Message * _BATCH)()
        for number, place in enumerate(self._places):
            self._buffer[place : place + size] = datagram
            self._vectors[number] = _Iovec(start + place, size)
            self._messages[number].iov = ctypes.addressof(self._vectors[number])
            self._messages[number].iov_length = 1
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg

    def send(self, first: int) -> None:
        for number, place in enumerate(self._places):
            struct.pack_into("!H", self._buffer, place + 2, (first + number) & 0xFFFF)
        done = 0
        while done < _BATCH:
            sent = self._send(self._socket.fileno(), ctypes.byref(self._messages[done]), _BATCH - done, 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            done += sent


def send(seconds: float) -> None:
    """A program of its own, in the namespace of the source: both legs, batch by batch."""
    legs = [_Leg(*leg) for leg in LEGS]
    begun, number = time.monotonic(), 0
    while number < seconds * RATE:
        for leg in legs:
            leg.send(number)
        number += _BATCH
        early_s = begun + number / RATE - time.monotonic()
        if early_s < -_LATE_S:  # this machine stood still: no encoder makes up for that by a burst
            begun -= early_s
        time.sleep(max(0.0, early_s))
    sys.stdout.write(f"{number}\n")


@dataclass(frozen=True)
class Figures:
    """`cpu_s`: of the process, kernel included; `sent`: of each leg; `arrived`: at the receiver's interface."""

    cpu_s: float
    sent: int
    arrived: int
    drops: int
    lost: int


def section(tap: str, address: str) -> dict[str, object]:
    feeds = [{"source": s, "group": g, "port": PORT, "encapsulation": "rtp"} for s, g in LEGS]
    output = {"channel": "ch1", "path": "iptv", "mode": "merge", "feeds": feeds, "addresses": [address]}
    return {"tap": tap, "outputs": [{**output, "group": GROUP, "port": PORT, "rate": "200M"}]}


def _count(receiver: Node) -> None:
    """Let the kernel count what arrives of the output at the receiver's interface."""
    receiver.shell("nft", "add table netdev bench")
    receiver.shell("nft", "add chain netdev bench in { type filter hook ingress device eth1 priority 0; }")
    receiver.shell("nft", f"add rule netdev bench in ip daddr {GROUP} counter")


def _arrived(receiver: Node) -> int:
    found = re.search(r"packets (\d+)", receiver.shell("nft", "list", "table", "netdev", "bench"))
    return int(found[1]) if found else 0


def _measure(config: Path, source: Node, receiver: Node, seconds: float) -> Figures:
    """In the PoP's namespace."""
    prefer()
    with selectors.DefaultSelector() as selector:
        stage = Stage(config, selector)
        command = ["nsenter", f"--net=/run/netns/{source.namespace}", sys.executable, "-m", __name__, str(seconds)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        selector.register(child.stdout, selectors.EVENT_READ, None)  # type: ignore[arg-type]
        begun = resource.getrusage(resource.RUSAGE_THREAD)
        due, running = time.monotonic() + _TICK_S, True
        while running:
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                if key.data is None:
                    running = False
                else:
                    key.data()
            now = time.monotonic()
            if now >= due:
                due = now + _TICK_S
                stage.tick(now)
        ended = resource.getrusage(resource.RUSAGE_THREAD)
        number = int(child.communicate()[0])
        time.sleep(0.1)
        stage.tick(time.monotonic())
        status = json.loads(json.dumps(stage.status()))
        arrived = _arrived(receiver)
        selector.unregister(child.stdout)  # type: ignore[arg-type]
        stage.close()
    cpu = ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime
    lost = status["outputs"][0]["continuity_errors"]
    return Figures(cpu, number, arrived, status["drops"], lost)


def merge(seconds: float = SECONDS) -> Figures:
    with nodes("src", "pop", "rx") as made:
        source, pop, receiver = made["src"], made["pop"], made["rx"]
        connect(source, "eth1", pop, "nfout1")
        connect(pop, "eth1", receiver, "eth1")
        for address, _ in LEGS:
            ip("-n", source.namespace, "addr", "add", f"{address}/24", "dev", "eth1")
        ip("-n", pop.namespace, "addr", "add", f"{POP}/24", "dev", "eth1")
        for node, name in ((source, "eth1"), (pop, "nfout1"), (pop, "eth1"), (receiver, "eth1")):
            ip("-n", node.namespace, "link", "set", name, "up")
        ip("-n", pop.namespace, "addr", "add", "169.254.255.1/31", "dev", "nfout1")
        _count(receiver)
        config = pop.state_dir / "section.json"
        config.write_text(json.dumps(section("nfout1", POP)))

        async def measure() -> Figures:
            return _measure(config, source, receiver, seconds)

        return pop.call(measure)


def cores() -> float:
    """CPU seconds per second of stream; an output that is not whole is no figure."""
    found = merge()
    whole = found.sent == found.arrived and not found.drops and not found.lost
    used = found.cpu_s / (found.sent / RATE)
    told = f"{found.sent} datagrams, {found.sent - found.arrived} not at the receiver; {used:.3f} core"
    ceiling = found.sent / found.cpu_s * PAYLOAD * 8 / 1e6
    sys.stderr.write(f"multicast.merge: {told}; one core would do 2 x {ceiling:.0f} Mb/s\n")
    if not whole:
        raise RuntimeError(f"packets are missing: {told}, {found.drops} dropped at the ring, {found.lost} lost")
    return used


BENCHMARKS = [
    Benchmark(
        "multicast.merge",
        peer="one core (CPU s per s of stream, 2 x 200 Mb/s in, nothing lost)",
        sense="<=",
        target=1.0,
        run=cores,
        repeats=3,
    ),
]

if __name__ == "__main__":
    send(float(sys.argv[1]))
