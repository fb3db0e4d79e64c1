"""The ng client against one that makes a socket for each request, both under asyncio, both asking a live rtpengine.

What is compared is requests for each second of the client's own processor time: the relay shares the processors with
either of them, and by the clock its work would be counted as theirs.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nf.errors import UnavailableError
from sip.rtpengine.client import NgClient
from sip.rtpengine.messages import pack, ping, read, unpack
from tests.bench.harness import Benchmark

ROUNDS = 10
OURS, THEIRS = 2000, 400


class _Once(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done():
            self.answer.set_result(data)


async def _fresh(port: int, number: int) -> None:
    loop = asyncio.get_running_loop()
    transport, once = await loop.create_datagram_endpoint(_Once, remote_addr=("127.0.0.1", port))
    try:
        transport.sendto(pack(b"fresh_%d_%d" % (port, number), ping()))
        async with asyncio.timeout(10):
            read(unpack(await once.answer)[1])
    finally:
        transport.close()


def _free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def relay() -> Iterator[int]:
    program = shutil.which("rtpengine")
    assert program is not None, "needs Debian's rtpengine-daemon"
    port = _free()
    options = ["-f", "-E", "-L", "3", "--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{port}"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([program, *options, "--num-threads=2"], stdout=log, stderr=log)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(30)


async def _measure(port: int) -> float:
    async with NgClient("127.0.0.1", port) as client:
        async with asyncio.timeout(90):
            while True:
                try:
                    await client.ask(ping())
                    break
                except UnavailableError:
                    continue
        ours = theirs = 0.0
        each: list[tuple[float, float]] = []
        number = 0
        for _ in range(ROUNDS):
            start, start_cpu = time.perf_counter(), time.process_time()
            await client.ask_many(ping() for _ in range(OURS))
            ours += time.perf_counter() - start
            mine = (time.process_time() - start_cpu) / OURS
            start, start_cpu = time.perf_counter(), time.process_time()
            for _ in range(THEIRS // 50):
                # As many at once as keep it busy; more would only be lost in the relay's socket.
                await asyncio.gather(*(_fresh(port, number + one) for one in range(50)))
                number += 50
            theirs += time.perf_counter() - start
            each.append((mine, (time.process_time() - start_cpu) / THEIRS))
        ratios = sorted(one_theirs / one for one, one_theirs in each)
        median, median_theirs = (statistics.median(column) for column in zip(*each, strict=True))
        print(
            f"sip.ng: {median * 1e6:.1f} us of processor for a request, a fresh socket each {median_theirs * 1e6:.1f};"
            f" ratio {statistics.median(ratios):.2f}, of {ROUNDS} rounds all but the two outermost {ratios[1]:.2f} to"
            f" {ratios[-2]:.2f}; by the clock {ROUNDS * OURS / ours:,.0f} requests/s against"
            f" {ROUNDS * THEIRS / theirs:,.0f}; {client.resent} resent",
            flush=True,
        )
        return statistics.median(ratios)


def ng() -> float:
    with relay() as port:
        return asyncio.run(_measure(port))


BENCHMARKS = [
    Benchmark(
        "sip.ng", peer="asyncio client, a fresh socket for each request, 50 at once", sense=">=", target=5, run=ng
    ),
]
