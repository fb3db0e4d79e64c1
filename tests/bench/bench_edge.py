"""The edge: requests a second for one cached segment through our configuration, and through the least that caches."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nf.errors import UnavailableError
from nf.media.edge.render import Places, render
from nf.media.edge.server import make_directories
from nf.media.http import get_once
from tests.bench.harness import Benchmark
from tests.headend.multicast.tree.network import Node, nodes
from tests.nf.media.cdn import EDGE, EDGE_PORT, HOST, SHIELD, SHIELD_PORT, edge_section, origin

PLAIN_PORT = 8090
URL = "/ch1/segment.m4s"
TURNS, TURN_S = 4, 1
START_S = 20.0


def plain(places: Places, parents: str = f'parent="{SHIELD}:{SHIELD_PORT}|1.0"') -> dict[str, str]:
    """The least that makes Traffic Server a cache in front of the same parent, with the access log of its package."""
    return {
        "records.config": (
            "CONFIG proxy.config.admin.user_id STRING trafficserver\n"
            f"CONFIG proxy.config.http.server_ports STRING {PLAIN_PORT}:ip-in={EDGE}\n"
            "CONFIG proxy.config.exec_thread.autoconfig INT 1\n"
            "CONFIG proxy.config.cache.ram_cache.size INT 67108864\n"
            "CONFIG proxy.config.http.insert_response_via_str INT 2\n"
        ),
        "remap.config": f"map http://{HOST}/ http://shield.plain.invalid/media/\n",
        "parent.config": (
            f"dest_domain=shield.plain.invalid scheme=http {parents} go_direct=false parent_is_proxy=false\n"
        ),
        "storage.config": f"{places.cache} 256M\n",
        "logging.yaml": (
            "logging:\n  formats:\n  - name: squid\n"
            "    format: '%<cqtq> %<ttms> %<chi> %<crc>/%<pssc> %<psql> "
            "%<cqhm> %<cquc> %<caun> %<phr>/%<shn> %<psct>'\n"
            "  logs:\n  - {mode: binary, filename: squid, format: squid}\n"
        ),
        "ip_allow.yaml": "ip_allow:\n- {apply: in, ip_addrs: 0/0, action: allow, methods: ALL}\n",
    }


@contextmanager
def running(node: Node, places: Places, files: Mapping[str, str]) -> Iterator[None]:
    make_directories(places)
    for name, text in files.items():
        (places.config / name).write_text(text)
    program = ["nsenter", f"--net=/run/netns/{node.namespace}", "env", f"TS_RUNROOT={places.root}"]
    process = subprocess.Popen(
        [*program, "traffic_manager", "--nosyslog"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _filled(port: int) -> None:
    """Until the segment comes from the cache."""
    async with asyncio.timeout(START_S):
        while True:
            with contextlib.suppress(UnavailableError):
                answer = await get_once(f"http://{EDGE}:{port}{URL}", {"Host": HOST})
                if answer.status == 200 and re.search(r"\[c[HR]", answer.headers.get("via", "")):
                    return
            await asyncio.sleep(0.1)


def _requests_per_s(node: Node, port: int) -> float:
    told = node.shell("wrk", "-t1", "-c8", f"-d{TURN_S}s", "-H", f"Host: {HOST}", f"http://{EDGE}:{port}{URL}")
    found = re.search(r"Requests/sec:\s+([0-9.]+)", told)
    if found is None or "Non-2xx" in told:
        raise RuntimeError(told)
    return float(found[1])


async def _fill() -> None:
    async with origin(SHIELD, SHIELD_PORT):
        for port in (EDGE_PORT, PLAIN_PORT):
            await _filled(port)


def hits() -> float:
    """Ours over the plain one, in alternation."""
    if shutil.which("wrk") is None:
        raise FileNotFoundError(2, "not found", "wrk")
    with nodes("bench") as made:
        node = made["bench"]
        place = Path(node.run_dir).parent
        ours, other = (Places(place / name, place / f"{name}-cache") for name in ("ours", "plain"))
        with running(node, ours, render(edge_section("ch1"), ours)), running(node, other, plain(other)):
            node.call(_fill)
            ratios: list[float] = []
            for turn in range(2 * TURNS):
                # Ours first, then last: a drift of the machine falls on both.
                order = (EDGE_PORT, PLAIN_PORT) if turn % 2 else (PLAIN_PORT, EDGE_PORT)
                rates = {port: _requests_per_s(node, port) for port in order}
                ratios.append(rates[EDGE_PORT] / rates[PLAIN_PORT])
            return statistics.median(ratios)


BENCHMARKS = [
    Benchmark(
        "edge.hit",
        peer="the least hand-written Traffic Server configuration, with the access log of its package",
        sense=">=",
        target=0.95,
        run=hits,
    ),
]
