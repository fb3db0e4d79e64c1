"""Prefixes of a CDN in the kernel: 10,000 in one transaction of nftables, against 1,000."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import threading
import time
from ipaddress import IPv4Network

from core5g import nftables
from core5g.steering.n6 import reading, render
from core5g.steering.n6.documents import N6Section
from tests.bench.harness import Benchmark

FEW, MANY = 1000, 10_000
_CLONE_NEWNET = 0x40000000


def _section(count: int) -> N6Section:
    draw = random.Random(count)  # noqa: S311 - the same prefixes in every run
    numbers = draw.sample(range(1 << 22), count)
    prefixes = [str(IPv4Network((0x20000000 + (number << 8), 24))) for number in numbers]
    cache = {"address": "10.9.0.1", "local": True, "health": {"host": "cdn.example.test"}}
    return N6Section.model_validate({"tuns": ["ogstun"], "cache": cache, "prefixes": prefixes})


async def _applied(section: N6Section) -> float:
    """Seconds that the transaction took."""
    commands = render.table_commands(section, ())
    start = time.perf_counter()
    await nftables.transact(commands, where="bench")
    took = time.perf_counter() - start
    listed = await nftables.listed("table", render.FAMILY, render.TABLE)
    assert listed is not None
    assert reading.prefixes_of(listed) == section.prefixes
    await nftables.transact(render.delete_commands(), where="bench")
    return took


def growth() -> float:
    assert os.geteuid() == 0, "needs root"
    found: list[float] = []

    def run() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        few, many = _section(FEW), _section(MANY)
        found.extend(asyncio.run(_applied(section)) for section in (few, few, many, few, many))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    _, few, many, few2, many2 = found
    print(f"n6.prefixes: {FEW} in {min(few, few2) * 1e3:.0f} ms, {MANY} in {min(many, many2) * 1e3:.0f} ms", flush=True)
    return min(many, many2) / min(few, few2)


BENCHMARKS = [
    Benchmark("n6.prefixes", peer="1,000 prefixes in one transaction (10,000)", sense="<=", target=12.0, run=growth),
]
