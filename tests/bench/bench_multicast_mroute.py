"""A router's multicast routes with their counters: our dump against pyroute2's, the same 2,000 entries."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address

from pyroute2 import IPRoute

from headend.multicast.tree.mroute import RTNL_FAMILY_IPMR
from headend.multicast.tree.routes import dump_routes
from tests.bench.harness import Benchmark
from tests.headend.multicast.tree.cache import cache

ENTRIES, ROUNDS, DUMPS = 2000, 3, 10
_CLONE_NEWNET = 0x40000000


def _filled(measured: Callable[[], float]) -> float:
    """`measured` in a thread with a network namespace of its own, whose table is full."""
    found: list[float] = []

    def run() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        asyncio.set_event_loop(asyncio.new_event_loop())
        with ExitStack() as stack:
            subprocess.run(["ip", "link", "add", "in0", "type", "veth", "peer", "name", "out0"], check=True)
            for name in ("in0", "out0"):
                subprocess.run(["ip", "link", "set", name, "up"], check=True)
            table = stack.enter_context(cache(("in0", "out0")))
            first = int(IPv4Address("232.61.0.0"))
            for number in range(ENTRIES):
                table.add("10.0.0.1", str(IPv4Address(first + number)))
            found.append(measured())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def _ratio() -> float:
    ours = theirs = 0.0
    with IPRoute() as route:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(DUMPS):
                assert len(dump_routes()) == ENTRIES
            ours += (time.perf_counter() - start) / DUMPS
            start = time.perf_counter()
            entries = tuple(route.get_routes(family=RTNL_FAMILY_IPMR))
            theirs += time.perf_counter() - start
            assert len(entries) == ENTRIES
    print(
        f"multicast.mroute_dump: ours {ours / ROUNDS * 1e3:.1f} ms, pyroute2 {theirs / ROUNDS * 1e3:.1f} ms", flush=True
    )
    return ours / theirs


def dump() -> float:
    assert os.geteuid() == 0, "needs root"
    return _filled(_ratio)


BENCHMARKS = [
    Benchmark("multicast.mroute_dump", peer="pyroute2's dump, 2,000 entries", sense="<=", target=0.1, run=dump),
]
