"""A PoP loses the satellite: how long its receivers get nothing before the warm fallback comes on the same group."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.bench.harness import Benchmark
from tests.headend.multicast.source.netlab import namespaces
from tests.headend.satellite.feed.live import Capture, feeding, make_streams, playing_satellite, status_when
from tests.headend.satellite.feed.test_handed_live import handed, on, playing_handed, ready

BOUND_S = 1.0


async def _gap_s(directory: Path) -> float:
    many, single = make_streams(directory)
    with namespaces() as pair, playing_satellite(pair, many) as sky, playing_handed(pair, single):
        capture = Capture(pair)
        async with feeding(pair, directory, handed()) as place:
            await status_when(place, ready)
            sky.playing.clear()
            await status_when(place, on("fallback"))
            await capture.until(len(capture.datagrams) + 20)
        capture.close()
    return capture.longest_gap_s()


def ratio() -> float:
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(_gap_s(Path(name))) / BOUND_S


BENCHMARKS = [
    Benchmark(
        "policy.fallback_gap",
        peer="1 s without a packet, the bound of a switch",
        sense="<=",
        target=1.0,
        run=ratio,
        repeats=3,
    ),
]
