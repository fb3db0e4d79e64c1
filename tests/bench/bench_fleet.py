"""What a commit costs: NOC, mTLS sessions and agents with no-op drivers, all in one process on loopback."""

from __future__ import annotations

import asyncio
import gc
import logging
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from nf.control.v1 import noc_pb2 as pb
from tests.bench.harness import Benchmark
from tests.support.fleet import InProcessFleet, Place, in_process_fleet

FEW, MANY = 10, 50
ROUNDS = 4


def places(count: int) -> Sequence[Place]:
    return tuple(Place(f"a{number}", "hub", "headend" if number == 0 else "pop") for number in range(count))


async def _seconds(fleet: InProcessFleet, lcn: int) -> float:
    """CPU seconds of everybody for one commit that changes a row on each appliance, until all have confirmed."""
    gc.collect()
    start = time.process_time()
    event = await fleet.commit({"ch1": lcn})
    await fleet.current()
    seconds = time.process_time() - start
    if event.outcome != pb.OUTCOME_CONFIRMED:
        raise AssertionError(event.text)
    return seconds


async def _measure(directory: Path) -> float:
    async with AsyncExitStack() as stack:
        few = await stack.enter_async_context(in_process_fleet(directory / "few", places(FEW)))
        many = await stack.enter_async_context(in_process_fleet(directory / "many", places(MANY)))
        pairs = [(await _seconds(few, 100 + n), await _seconds(many, 100 + n)) for n in range(ROUNDS)]
    return (min(pair[1] for pair in pairs) / MANY) / (min(pair[0] for pair in pairs) / FEW)


def cost() -> float:
    """CPU seconds per appliance at 50 appliances over those at 10."""
    logging.getLogger("nf").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(Path(directory)))


BENCHMARKS = [
    Benchmark("fleet.commit", peer="itself at 10 appliances", sense="<=", target=1.2, run=cost),
]
