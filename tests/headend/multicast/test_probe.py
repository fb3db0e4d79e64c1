"""The SSM probe behind a real stage, in namespaces of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headend.multicast.probe import SsmProbe
from nf.clock import RealClock
from nf.contracts.driver import Context
from nf.contracts.probe import PathSample
from nf.documents.appliance import ProbeTarget
from tests.headend.multicast.source.netlab import (
    GROUP,
    PORT,
    RECEIVER,
    SOURCE,
    Pair,
    feeding,
    in_namespace,
    namespaces,
    process,
    run,
)

pytestmark = pytest.mark.root


def target(interface: str = RECEIVER) -> ProbeTarget:
    arguments = {"source": SOURCE, "group": GROUP, "port": PORT, "interface": interface, "rate": "2M"}
    return ProbeTarget(id="ch1/iptv/r1", kind="ssm", channel="ch1", path="iptv", arguments=arguments)


class Watch:
    """A probe that runs in the receiver's namespace, in a thread and loop of its own; samples as they come."""

    def __init__(self, pair: Pair, probed: ProbeTarget) -> None:
        self.samples: list[PathSample] = []
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self._stop = False
        self._work = in_namespace(pair.receiver, lambda: asyncio.run(self._run(probed)))

    async def _run(self, probed: ProbeTarget) -> None:
        clock = RealClock()
        context = Context(clock, clock.monotonic() + 60)
        async for sample in SsmProbe().run(probed, context):
            self._loop.call_soon_threadsafe(self._take, sample)
            if self._stop:
                context.cancel.set()

    def _take(self, sample: PathSample) -> None:
        self.samples.append(sample)
        self._came.set()

    async def until(self, done: Callable[[PathSample], bool]) -> PathSample:
        async with asyncio.timeout(90):
            while True:
                self._came.clear()
                if self.samples and done(self.samples[-1]):
                    return self.samples[-1]
                await self._came.wait()

    async def close(self) -> None:
        self._stop = True
        await asyncio.wrap_future(self._work)


@asynccontextmanager
async def watching(pair: Pair, probed: ProbeTarget | None = None) -> AsyncIterator[Watch]:
    watch = Watch(pair, probed or target())
    try:
        yield watch
    finally:
        await watch.close()


@asynccontextmanager
async def emitting(pair: Pair, status: Path) -> AsyncIterator[None]:
    options = ["--listen", "127.0.0.1:6001", "--source", SOURCE, "--group", GROUP, "--port", str(PORT)]
    options += ["--rate", "2000000", "--status", str(status)]
    async with process(pair.head, "-m", "headend.multicast.source.stage", *options), feeding(pair.head, 6001):
        yield


def memberships(pair: Pair) -> str:
    return run("ip", "netns", "exec", pair.receiver, "cat", "/proc/net/mcfilter")


async def test_a_stream_that_flows_is_up_and_one_lost_datagram_is_seen(tmp_path: Path) -> None:
    with namespaces() as pair:
        async with emitting(pair, tmp_path / "s"), watching(pair) as watch:
            up = await watch.until(lambda s: s.up and s.packets > 400)
            assert (up.continuity_errors, up.target, up.channel, up.path) == (0, "ch1/iptv/r1", "ch1", "iptv")
            assert up.join_ms is not None
            assert up.join_ms >= 0
            assert up.age_ms is not None
            assert 100_000 < up.bitrate_bps < 4_000_000
            assert up.detail.endswith("of 2.00 Mbit/s")

            rules = "add table inet t; add chain inet t c { type filter hook prerouting priority 0; }; "
            rules += f"add rule inet t c ip daddr {GROUP} limit rate 1/day burst 1 packets drop"
            run("ip", "netns", "exec", pair.receiver, "nft", rules)
            down = await watch.until(lambda s: not s.up)
            assert down.continuity_errors == 1
            assert down.detail == "1 continuity error in the last 2 s"
            again = await watch.until(lambda s: s.up)
            assert again.continuity_errors == 1
        assert "0xe80a0101" not in memberships(pair)


async def test_a_stream_that_stops_is_down_and_up_again_when_it_is_back(tmp_path: Path) -> None:
    with namespaces() as pair:
        async with watching(pair) as watch:
            waiting = await watch.until(lambda s: not s.up)
            assert waiting.detail.endswith("nothing has come")
            assert (waiting.join_ms, waiting.age_ms, waiting.packets) == (None, None, 0)
            assert "0xe80a0101" in memberships(pair)
            async with emitting(pair, tmp_path / "s"):
                await watch.until(lambda s: s.up)
            silent = await watch.until(lambda s: not s.up)
            assert silent.detail.startswith("no packet for")
            async with emitting(pair, tmp_path / "s"):
                await watch.until(lambda s: s.up)


async def test_an_interface_that_comes_later_or_anew_is_joined(tmp_path: Path) -> None:
    with namespaces() as pair:
        pair.unwire()
        async with watching(pair) as watch:
            missing = await watch.until(lambda s: not s.up)
            assert missing.detail.startswith(f"cannot join by {RECEIVER}")
            pair.wire()
            async with emitting(pair, tmp_path / "s"):
                await watch.until(lambda s: s.up)
                pair.unwire()
                await watch.until(lambda s: not s.up)
                pair.wire()
                await watch.until(lambda s: s.up)


async def test_another_source_of_the_same_group_is_not_heard(tmp_path: Path) -> None:
    with namespaces() as pair:
        other = target().model_copy(update={"arguments": {**target().arguments, "source": "10.1.0.77"}})
        async with emitting(pair, tmp_path / "s"), watching(pair) as right, watching(pair, other) as wrong:
            await right.until(lambda s: s.packets > 200)
            assert (await wrong.until(lambda s: True)).packets == 0
