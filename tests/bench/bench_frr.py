"""Reading FRR: one kept vty connection against forking `vtysh -c`, the same question to the same zebra."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import create_autospec

from headend.multicast.frr.client import VtySocket, open_vty
from headend.multicast.frr.daemons import Daemons
from nf.contracts.units import Units
from tests.bench.harness import Benchmark

QUESTION = "show ip route json"
ROUNDS, READS = 8, 100
START_S = 10.0


@contextlib.contextmanager
def zebra() -> Iterator[Daemons]:
    """A zebra in a network namespace of its own (root)."""
    directory = Path(tempfile.mkdtemp(prefix="nft"))
    directory.chmod(0o755)
    daemons = Daemons(directory, create_autospec(Units))
    daemons.make_directories()
    daemons.write_file("zebra", "hostname bench\n")
    process = subprocess.Popen(["unshare", "--net", *daemons.spec("zebra").argv], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while not daemons.vty_path("zebra").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield daemons
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)


async def _reads(vty: VtySocket) -> float:
    start = time.perf_counter()
    for _ in range(READS):
        await vty.show_json(QUESTION)
    return (time.perf_counter() - start) / READS


def _fork(daemons: Daemons) -> float:
    start = time.perf_counter()
    argv = ["vtysh", "--vty_socket", str(daemons.vty_directory), "-c", QUESTION]
    subprocess.run(argv, check=True, capture_output=True)
    return time.perf_counter() - start


async def _ratio(daemons: Daemons) -> float:
    ours: list[float] = []
    forks: list[float] = []
    async with open_vty(daemons.vty_path("zebra")) as vty:
        for _ in range(ROUNDS):
            ours.append(await _reads(vty))
            forks.append(_fork(daemons))
    return sum(forks) / sum(ours)


def speed_up() -> float:
    """Time of a fork over the time of a read, in alternation."""
    with zebra() as daemons:
        return asyncio.run(_ratio(daemons))


BENCHMARKS = [
    Benchmark("frr.read", peer="vtysh -c fork", sense=">=", target=100.0, run=speed_up),
]
