"""The HLS probe against a small server whose channel can be stopped, broken and started anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest

from nf.clock import VirtualClock
from nf.contracts.driver import Context
from nf.contracts.probe import PathSample
from nf.documents.appliance import ProbeTarget
from nf.media.http import cache_status
from nf.media.probe import HlsProbe

SEGMENT = (8).to_bytes(4, "big") + b"moof" + (1008).to_bytes(4, "big") + b"mdat" + bytes(1000)
MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nvideo.m3u8\n"


@dataclass
class Channel:
    """`number`: of the newest of four two-second segments. `age_s`: how old the headers say the playlist is."""

    clock: VirtualClock
    number: int = 4
    age_s: float = 0.0
    segment: bytes = SEGMENT
    status: int = 200
    hosts: set[str] = field(default_factory=set)

    def answer(self, path: str) -> bytes:
        if path.endswith("master.m3u8"):
            return MASTER.encode()
        if path.endswith("video.m3u8"):
            first = self.number - 3
            lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
            for number in range(first, self.number + 1):
                lines += ["#EXTINF:2.0,", f"video/{number}.m4s"]
            return "\n".join(lines).encode()
        return self.segment

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.hosts |= {line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")}
                body = self.answer(head.split(" ")[1])
                written, now = formatdate(1000, usegmt=True), formatdate(1000 + self.age_s, usegmt=True)
                headers = (
                    f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\nLast-Modified: {written}\r\n"
                    f"Date: {now}\r\nVia: http/1.1 edge (ApacheTrafficServer/9.2.9 [cHs f ])\r\n\r\n"
                )
                writer.write(headers.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@dataclass
class Watch:
    """A probe on virtual time: each sample moves it by half a second."""

    channel: Channel
    samples: AsyncIterator[PathSample]

    async def next(self) -> PathSample:
        pending = asyncio.ensure_future(anext(self.samples))
        moved = False
        while not pending.done():
            await asyncio.wait([pending], timeout=0.01)
            if not pending.done() and not moved and self.channel.clock._sleepers:
                moved = True
                await self.channel.clock.advance(0.5)
        return pending.result()

    async def until(self, ready: Callable[[PathSample], bool]) -> tuple[PathSample, int]:
        for count in range(1, 60):
            sample = await self.next()
            if ready(sample):
                return sample, count
        raise AssertionError("never seen")


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    channel = Channel(VirtualClock())
    server = await asyncio.start_server(channel.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = ProbeTarget(
        id="ch1/ott/r1",
        kind="hls",
        channel="ch1",
        path="ott",
        arguments={
            "url": f"http://127.0.0.1:{port}/ch1/master.m3u8",
            "host": "cdn.streamverse.test",
            "segment": "2s",
            "window": "8s",
            "rate": "1M",
        },
    )
    async with aclosing(HlsProbe().run(target, Context(channel.clock, float("inf")))) as samples:  # type: ignore[type-var]
        yield Watch(channel, samples)
    server.close()


async def test_a_live_channel_is_up_and_measured(watch: Watch) -> None:
    first = await watch.next()
    assert (first.up, first.packets, first.continuity_errors) == (True, 1, 0)
    assert first.bitrate_bps == len(SEGMENT) * 8 / 2
    assert first.join_ms is not None
    assert first.detail.endswith("cache hit")
    assert watch.channel.hosts == {"cdn.streamverse.test"}
    watch.channel.number += 1
    sample, _ = await watch.until(lambda sample: sample.packets == 2)
    assert sample.up
    assert sample.continuity_errors == 0


async def test_a_manifest_that_stands_still_is_down_within_three_segments_and_up_again(watch: Watch) -> None:
    assert (await watch.next()).up
    down, count = await watch.until(lambda sample: not sample.up)
    assert count * 0.5 <= 3 * 2 + 0.5
    assert "no new segment" in down.detail
    watch.channel.number += 1
    await watch.until(lambda sample: sample.up)


async def test_a_manifest_that_is_old_at_the_first_look_is_down(watch: Watch) -> None:
    watch.channel.age_s = 60.0
    sample = await watch.next()
    assert not sample.up
    assert sample.age_ms is not None
    assert sample.age_ms >= 60_000


async def test_segments_that_were_never_listed_are_counted(watch: Watch) -> None:
    await watch.next()
    watch.channel.number += 6  # 5 and 6 have come and gone
    sample, _ = await watch.until(lambda sample: sample.packets == 2)
    assert (sample.up, sample.continuity_errors) == (True, 2)


async def test_what_is_no_segment_and_what_is_refused_is_down(watch: Watch) -> None:
    watch.channel.segment = b"<html>sorry</html>"
    assert "does not fit" in (await watch.next()).detail
    watch.channel.segment = SEGMENT
    await watch.until(lambda sample: sample.up)
    watch.channel.status = 502
    down, _ = await watch.until(lambda sample: not sample.up)
    assert "answered with 502" in down.detail


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, ""),
        ({"cache-status": "shield; hit, edge; fwd=miss; stored"}, "miss"),
        ({"cache-status": "edge; hit; ttl=3"}, "hit"),
        ({"x-cache": "HIT from edge"}, "hit"),
        ({"x-cache": " "}, ""),
        ({"via": "1.1 varnish, http/1.1 edge (ApacheTrafficServer/9.2.9 [cMsSfW])"}, "miss"),
        ({"via": "http/1.1 edge (ApacheTrafficServer/9.2.9 [uScRs f p eN:t cCHp s ])"}, "hit"),
    ],
)
def test_what_caches_say_of_themselves(headers: dict[str, str], said: str) -> None:
    assert cache_status(headers) == said
