"""The PFCP proxy against no proxy: the same client, the same UPF (the tests' fake, a process), over loopback UDP.

Both sides are measured in turns inside a run. Also printed: what the proxy adds to the 99th percentile of requests that
wait for nothing else, the throughput while it steers every session, and its memory for each of 10,000 sessions.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core5g.pfcp.proxy.documents import ProxySection
from core5g.pfcp.transactions import Peer
from core5g.pfcp.wire import header
from tests.bench.harness import Benchmark
from tests.core5g.pfcp.proxy.peers import Smf, Upf

SMF, OTHER, PROXY, UPF, EDGE = (f"127.51.0.{host}" for host in (4, 5, 9, 7, 8))
PORT = 8805
TURNS, MESSAGES, WINDOW, ALONE, MANY = 12, 150, 16, 50, 10_000


_measured: list[bool] = []


def _serve(address: str) -> None:
    upf = Upf(Peer(address, PORT))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind((address, PORT))
    while True:
        data, sender = sock.recvfrom(65_536)
        answer = upf.receive(data)
        upf.seen.clear()
        if answer is not None:
            sock.sendto(answer, sender)


@contextlib.contextmanager
def upf(address: str) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(address,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(10)


@contextlib.contextmanager
def proxy(*, edge: bool) -> Iterator[int]:
    """Its process id."""
    data: dict[str, object] = {"listen": PROXY, "smfs": [SMF], "upf": {"id": "upf1", "address": UPF}}
    if edge:
        data["edge"] = {"id": "edge1", "n4": EDGE, "n3": EDGE}
        data["rules"] = [{"id": "cdn", "prefixes": ["203.0.113.0/24"]}]
    section = ProxySection.model_validate(data).model_dump_json()
    with tempfile.TemporaryDirectory() as folder:
        files = [f"--{name}={Path(folder) / name}" for name in ("status", "events", "store")]
        argv = [sys.executable, "-m", "core5g.pfcp.proxy.process", "--section", section, *files]
        process = subprocess.Popen(argv)
        try:
            while not (Path(folder) / "status").exists():
                if process.poll() is not None:
                    raise RuntimeError("the proxy did not come up")
                time.sleep(0.02)
            yield process.pid
        finally:
            process.terminate()
            process.wait(10)


class Client:
    """An SMF that asks `to`, with so many requests out at a time."""

    def __init__(self, to: str, address: str) -> None:
        self._to = (to, PORT)
        self._smf = Smf(Peer(address, PORT), stamp=int(time.time()))
        self._seid = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, PORT))
        self.socket.settimeout(1.0)
        self.run([self._smf.associate()])

    def establishments(self, count: int) -> list[bytes]:
        made = []
        for _ in range(count):
            self._seid += 1
            number = self._seid
            made.append(self._smf.establish(number, f"10.45.{number >> 8 & 255}.{number & 255}"))
        return made

    def heartbeats(self, count: int) -> list[bytes]:
        return [self._smf.heartbeat() for _ in range(count)]

    def run(self, requests: list[bytes], window: int = WINDOW) -> list[float]:
        """Seconds until each was answered. What is lost is sent again."""
        waiting: dict[int, tuple[bytes, float]] = {}
        took: list[float] = []
        left = iter(requests)
        while True:
            while len(waiting) < window and (data := next(left, None)) is not None:
                waiting[header(data).seq] = (data, time.perf_counter())
                self.socket.sendto(data, self._to)
            if not waiting:
                return took
            try:
                head = header(self.socket.recv(65_536))
            except TimeoutError:
                for data, _ in waiting.values():
                    self.socket.sendto(data, self._to)
                continue
            if (head.type % 2 == 0 and head.type < 50) or head.type in {51, 53, 55}:
                found = waiting.pop(head.seq, None)
                if found is not None:
                    took.append(time.perf_counter() - found[1])


def _seconds(client: Client) -> float:
    requests = client.establishments(MESSAGES)
    start = time.perf_counter()
    client.run(requests)
    return time.perf_counter() - start


@contextlib.contextmanager
def client(to: str, address: str) -> Iterator[Client]:
    made = Client(to, address)
    try:
        yield made
    finally:
        made.socket.close()


def _p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def run() -> float:
    """Short turns, since the neighbours of a busy machine come and go."""
    direct = proxied = 0.0
    alone: list[float] = []
    through: list[float] = []
    with upf(UPF), proxy(edge=False), client(UPF, OTHER) as left, client(PROXY, SMF) as right:
        for _ in range(TURNS):
            direct += _seconds(left)
            proxied += _seconds(right)
            alone += left.run(left.heartbeats(ALONE), window=1)
            through += right.run(right.heartbeats(ALONE), window=1)
    count, added = TURNS * MESSAGES, _p99(through) - _p99(alone)
    print(
        f"pfcp.proxy: {count / proxied:.0f} establishments/s, direct {count / direct:.0f}; p99 + {added * 1000:.2f} ms"
    )
    memory()
    return direct / proxied


def memory() -> None:
    """Once: it says nothing about the ratio."""
    if _measured:
        return
    _measured.append(True)
    with upf(UPF), upf(EDGE), proxy(edge=True) as pid, client(PROXY, SMF) as one:
        one.run(one.establishments(100))
        before = _resident_kib(pid)
        start = time.perf_counter()
        one.run(one.establishments(MANY))
        took = time.perf_counter() - start
        each = (_resident_kib(pid) - before) / MANY
        print(f"pfcp.proxy: {MANY} steered sessions at {MANY / took:.0f}/s, {each:.2f} KiB each")


BENCHMARKS = [Benchmark("pfcp.proxy", "the same client and UPF without it", ">=", 0.3, run, repeats=3)]
