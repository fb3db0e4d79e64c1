"""How planning a country grows with its channels: 200 against 50, each to 2,000 PoPs by two disjoint trees."""

from __future__ import annotations

import gc
import random
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from headend.multicast.planner import MulticastPlanner
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.registry import registry
from nf.documents.validation import validate
from tests.bench.harness import Benchmark

CORES, POPS = 100, 2_000
FEW, MANY = 50, 200
_SEED = 7


def fleet_data() -> dict[str, Any]:
    """A ring of cores with chords; PoPs in chains of one to ten between two cores; a receivers' LAN at each."""
    chance = random.Random(_SEED)  # noqa: S311  # the same network every time
    interfaces: dict[str, list[dict[str, str]]] = {}
    links: list[dict[str, Any]] = []

    def link(*ends: str, cost: int = 10) -> None:
        number, endpoints = len(links), []
        for host, end in enumerate(ends, start=1):
            own = interfaces.setdefault(end, [])
            own.append(
                {
                    "name": f"eth{len(own)}",
                    "address": f"{10 + number // 65536}.{number // 256 % 256}.{number % 256}.{host}/28",
                }
            )
            endpoints.append(f"{end}:{own[-1]['name']}")
        links.append({"id": f"w{number}", "endpoints": endpoints, "capacity": "100G", "cost": cost})

    link("headend", "c0", "c1")
    for number in range(CORES):
        link(f"c{number}", f"c{(number + 1) % CORES}", cost=chance.randint(5, 20))
    for number in range(0, CORES, 2):
        link(f"c{number}", f"c{(number + chance.randint(2, CORES - 2)) % CORES}", cost=chance.randint(10, 40))
    made = 0
    while made < POPS:
        size = min(POPS - made, chance.choice((1, 1, 2, 5, 10)))
        ends = chance.sample(range(CORES), 2)
        chain = [f"c{ends[0]}", *(f"pop{made + at}" for at in range(size)), f"c{ends[1]}"]
        for one, other in pairwise(chain):
            link(one, other, cost=chance.randint(5, 20))
        made += size
    for number in range(POPS):
        link(f"pop{number}", f"r{number}")
    appliances = [_appliance(number, name, own) for number, (name, own) in enumerate(sorted(interfaces.items()))]
    placement = [{"function": name, "appliances": ["headend"]} for name in ("ingest", "multicast-source")]
    pops = [f"pop{number}" for number in range(POPS)]
    placement += [{"function": f"multicast-{name}", "appliances": pops} for name in ("output", "monitor")]
    spec = {
        "sites": [{"id": "hub"}, *({"id": f"site{number}"} for number in range(POPS))],
        "appliances": appliances,
        "links": links,
        "placement": placement,
        "equipment": {
            "multicast": {
                "pool": {"v4": "232.0.0.0/9"},
                "sources": [{"appliance": "headend", "a": "10.0.0.11", "b": "10.0.0.12"}],
            }
        },
    }
    return {"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "bench"}, "spec": spec}


def _appliance(number: int, name: str, interfaces: list[dict[str, str]]) -> dict[str, Any]:
    kind = name.rstrip("0123456789")
    role = {"headend": "headend", "c": "core", "pop": "pop", "r": "probe"}[kind]
    made: dict[str, Any] = {"id": name, "role": role, "serial": f"S{number}", "interfaces": interfaces}
    made["site"] = f"site{name.removeprefix(kind)}" if kind in ("pop", "r") else "hub"
    made["management"] = f"172.20.{number // 250}.{number % 250 + 1}"
    if kind in ("c", "pop"):
        made["loopback"] = f"192.168.{number // 250}.{number % 250 + 1}"
    return made


def lineup_data(channels: int) -> dict[str, Any]:
    sites = [f"site{number}" for number in range(POPS)]
    path = {"id": "iptv", "type": "ssm", "rate": "8M", "protection": "hot-hot", "sites": sites}
    spec = {
        "sources": [
            {"id": f"s{n}", "appliance": "headend", "port": 6000 + n, "bitrate": "8M"} for n in range(channels)
        ],
        "channels": [
            {
                "id": f"ch{n}",
                "name": f"Channel {n}",
                "lcn": n + 1,
                "uid": f"tag:streamverse.test,2026:ch{n}",
                "source": f"s{n}",
                "delivery": [path],
            }
            for n in range(channels)
        ],
    }
    return {"apiVersion": "streamverse.nf/v1", "kind": "LineUp", "metadata": {"name": "bench"}, "spec": spec}


def _documents(channels: int) -> tuple[LineUp, Fleet]:
    lineup, broken = validate(LineUp, lineup_data(channels), registry())
    fleet, broken_fleet = validate(Fleet, fleet_data(), registry())
    if lineup is None or fleet is None:
        raise AssertionError([*broken, *broken_fleet])
    return lineup, fleet


def _seconds(channels: int) -> float:
    """CPU seconds of one plan: groups, trees, entries, outputs, probes, loads."""
    lineup, fleet = _documents(channels)
    gc.collect()
    before_mb, start = _resident_mb(), time.process_time()
    contribution = MulticastPlanner().plan(lineup, fleet)
    passed = time.process_time() - start
    if contribution.problems:
        raise AssertionError(contribution.problems[:3])
    print(f"  {channels} channels, {POPS} PoPs: {passed:.1f} s, {_resident_mb() - before_mb:.0f} MB")
    return passed


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def growth() -> float:
    """CPU seconds for 200 channels over those for 50."""
    few = _seconds(FEW)
    return _seconds(MANY) / few


BENCHMARKS = [
    Benchmark("multicast.planner", peer="itself at 50 channels", sense="<=", target=5.0, run=growth, repeats=2),
]
