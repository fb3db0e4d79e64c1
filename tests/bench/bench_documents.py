"""How compiling grows with the line-up: 500 channels against 100, both on the same fleet of 100 appliances."""

from __future__ import annotations

import gc
import time
from typing import Any

from headend.multicast.planner import MulticastPlanner
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.registry import registry
from nf.documents.validation import validate
from nf.planning.compiler import compile_lineup
from tests.bench.harness import Benchmark

POPS = 48
CORES = 3
FEW, MANY = 100, 500


def fleet_data() -> dict[str, Any]:
    """One headend, three cores on its LAN, 48 PoPs with two uplinks each, 48 receivers: 100 appliances."""
    appliances: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []

    def appliance(name: str, role: str, site: str) -> dict[str, Any]:
        number = len(appliances) + 1
        made: dict[str, Any] = {"id": name, "site": site, "role": role, "serial": f"S{number}", "interfaces": []}
        made["management"] = f"172.20.20.{number}"
        if role in ("core", "pop"):
            made["loopback"] = f"10.255.0.{number}"
        appliances.append(made)
        return made

    def link(name: str, *ends: dict[str, Any]) -> None:
        number = len(links)
        endpoints = []
        for host, end in enumerate(ends, start=1):
            face = f"eth{len(end['interfaces']) + 1}"
            end["interfaces"].append({"name": face, "address": f"10.{1 + number // 250}.{number % 250}.{host}/24"})
            endpoints.append(f"{end['id']}:{face}")
        links.append({"id": name, "endpoints": endpoints, "capacity": "100G"})

    headend = appliance("headend", "headend", "hub")
    cores = [appliance(f"c{number}", "core", "core") for number in range(CORES)]
    link("hl", headend, *cores)
    for number in range(POPS):
        pop = appliance(f"pop{number}", "pop", f"site{number}")
        receiver = appliance(f"r{number}", "probe", f"site{number}")
        for index in (number, number + 1):
            link(f"{cores[index % CORES]['id']}-pop{number}", cores[index % CORES], pop)
        link(f"pop{number}-r{number}", pop, receiver)
    sites = [{"id": name} for name in ("hub", "core", *(f"site{number}" for number in range(POPS)))]
    placement = [{"function": name, "appliances": ["headend"]} for name in ("ingest", "multicast-source")]
    spec = {"sites": sites, "appliances": appliances, "links": links, "placement": placement}
    return {"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "bench"}, "spec": spec}


def lineup_data(channels: int) -> dict[str, Any]:
    sites = [f"site{number}" for number in range(POPS)]
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
                "delivery": [
                    {
                        "id": "iptv",
                        "type": "ssm",
                        "group": f"232.{10 + n // 250}.1.{n % 250}",
                        "rate": "8M",
                        "sites": sites,
                    }
                ],
            }
            for n in range(channels)
        ],
    }
    return {"apiVersion": "streamverse.nf/v1", "kind": "LineUp", "metadata": {"name": "bench"}, "spec": spec}


def documents(channels: int) -> tuple[LineUp, Fleet]:
    lineup, broken = validate(LineUp, lineup_data(channels), registry())
    fleet, broken_fleet = validate(Fleet, fleet_data(), registry())
    if lineup is None or fleet is None:
        raise AssertionError([*broken, *broken_fleet])
    return lineup, fleet


def _seconds(lineup: LineUp, fleet: Fleet) -> float:
    gc.collect()
    start = time.process_time()
    compile_lineup(lineup, fleet, [MulticastPlanner()])
    return time.process_time() - start


def growth() -> float:
    """CPU seconds for 500 channels over those for 100, the shortest of three interleaved runs each."""
    few, many = documents(FEW), documents(MANY)
    pairs = [(_seconds(*few), _seconds(*many)) for _ in range(3)]
    return min(pair[1] for pair in pairs) / min(pair[0] for pair in pairs)


BENCHMARKS = [
    Benchmark("documents.compile", peer="itself at 100 channels", sense="<=", target=6.0, run=growth),
]
