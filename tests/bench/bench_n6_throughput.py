"""TCP (iperf3) through a UPF's N6 that is steered to a cache, against the same path unsteered.

A veth pair stands for the UPF's TUN device: with a real one the process that feeds it would be what is measured. Both
flows go u - r - c; the steered one is found among 10,000 prefixes, marked and routed by policy, the other one is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from core5g.steering.n6.documents import N6Section
from core5g.steering.n6.driver import create
from tests.bench.harness import Benchmark
from tests.core5g.steering.n6.network import CDN, THERE, network, section
from tests.headend.multicast.tree.network import Node, commit, ip, until

_SECONDS, _ROUNDS, _PORT = 1, 4, 443


def _pumped(ue: Node, address: str) -> float:
    """Bits per second that arrive."""
    told = json.loads(ue.shell("iperf3", "--json", "-c", address, "-p", str(_PORT), "-t", str(_SECONDS)))
    return float(told["end"]["sum_received"]["bits_per_second"])


@contextmanager
def _steered() -> Iterator[dict[str, Node]]:
    with network() as made:
        node = made["r"]
        # Unsteered, the CDN is behind the same link: what differs is steering alone.
        ip("-n", node.namespace, "route", "add", "198.51.100.20", "via", THERE)
        ip("-n", made["c"].namespace, "address", "add", "198.51.100.20", "dev", "lo")
        many = [f"{32 + number // 65536}.{number // 256 % 256}.{number % 256}.0/24" for number in range(0, 20_000, 2)]
        wanted: N6Section = section(local=False, prefixes=[*many, "203.0.113.0/24"])
        health = wanted.cache.health.model_copy(update={"interval_ms": 2000, "timeout_ms": 5000})
        wanted = wanted.model_copy(update={"cache": wanted.cache.model_copy(update={"health": health})})
        inside = ["nsenter", f"--net=/run/netns/{made['c'].namespace}", sys.executable]
        web = subprocess.Popen([*inside, "-m", "http.server", "80"], stdout=-3, stderr=-3, cwd="/usr/share")
        sink = subprocess.Popen([*inside[:-1], "iperf3", "-s", "-p", str(_PORT)], stdout=-3)
        try:
            driver = create(node.context())
            node.call(commit, driver, wanted)

            async def is_open() -> bool:
                listed = await driver.operations["steer-list"].run({}, None, None)  # type: ignore[arg-type]
                return listed["open"] is True

            node.call(until, is_open)
            yield made
            node.call(commit, driver, None)
        finally:
            for process in (web, sink):
                process.kill()
                process.wait(90)


def ratio() -> float:
    assert os.geteuid() == 0, "needs root"
    totals = {CDN: 0.0, "198.51.100.20": 0.0}
    with _steered() as made:
        for number in range(_ROUNDS):
            for address in sorted(totals, reverse=bool(number % 2)):
                totals[address] += _pumped(made["u"], address) / _ROUNDS
        counter = made["r"].shell("nft", "list", "counter", "inet", "nf_steer", "steered")
        assert "packets 0 " not in counter, "nothing was steered"
    steered, plain = totals[CDN], totals["198.51.100.20"]
    print(f"n6.throughput: steered {steered / 1e9:.2f} Gbit/s, unsteered {plain / 1e9:.2f} Gbit/s", flush=True)
    return steered / plain


BENCHMARKS = [
    Benchmark("n6.throughput", peer="the same path unsteered", sense=">=", target=0.95, run=ratio, repeats=3),
]
