"""The packager with a real supervisor, Shaka, a feed and an origin, in a namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext, Event, Undo
from nf.contracts.probe import PathSample
from nf.documents.appliance import ProbeTarget
from nf.errors import InputError, RefusedError
from nf.media.documents import OriginSection, PackagerSection, Rung
from nf.media.hls import MediaPlaylist, parse_media
from nf.media.origin.driver import create as create_origin
from nf.media.packager.client import PackagerStatus
from nf.media.packager.driver import Packager
from nf.media.probe import HlsProbe
from nf.supervisor.client import SupervisorClient
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.nf.media.live import KEYS, REFERENCE, LiveOrigin, fetch, live_origin, own_namespace, supervisor

pytestmark = [pytest.mark.root, pytest.mark.daemon]

PORT = 6011
BUCKET = "media"
feeds = threading.Event()
"""Set while a contribution comes in."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveOrigin]:
    with own_namespace(), live_origin(tmp_path_factory.mktemp("origin")) as live:
        yield live


@contextlib.contextmanager
def feeding(size: str = "160x90", gop: int = 25) -> Iterator[None]:
    """A contribution: one-second groups of pictures, so that a segment of a second is possible."""
    argv = [
        *("ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25"),
        *(
            "-re",
            "-f",
            "lavfi",
            "-i",
            "sine=sample_rate=48000",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-g",
            str(gop),
        ),
        *("-pix_fmt", "yuv420p", "-b:v", "150k", "-c:a", "aac", "-b:a", "48k", "-output_ts_offset", "1000"),
        *("-f", "mpegts", f"udp://127.0.0.1:{PORT}?pkt_size=1316"),
    ]
    with subprocess.Popen(argv) as sender:
        feeds.set()
        try:
            yield
        finally:
            feeds.clear()
            sender.kill()


def section(origin: LiveOrigin, channel: str) -> PackagerSection:
    return PackagerSection.model_validate(
        {
            "channels": [
                {
                    "channel": channel,
                    "path": "ott",
                    "contribution_port": PORT,
                    "rate": "1M",
                    "endpoint": origin.endpoint,
                    "bucket": BUCKET,
                    "credentials": REFERENCE,
                    "segment": "1s",
                    "window": "6s",
                    "requires": ["bucket"],
                    "provides": ["packaged"],
                }
            ]
        }
    )


@dataclass
class Node:
    origin: LiveOrigin
    driver: Packager
    units: SupervisorClient
    channel: str

    @property
    def want(self) -> PackagerSection:
        return section(self.origin, self.channel)

    def url(self, name: str) -> str:
        return f"{self.origin.endpoint}/{BUCKET}/{self.channel}/{name}"

    async def commit(self, want: PackagerSection | None) -> list[Undo]:
        steps = self.driver.plan(await self.driver.observe(), want)
        await self.driver.check(steps, want)
        undos = []
        for step in steps:
            undos.append(await self.driver.prepare(step))
            await self.driver.apply(step, self.origin.context())
        return undos

    async def status(self) -> PackagerStatus:
        status = await self.driver._ask(self.want.channels[0])
        assert status is not None
        return status

    async def playlist(self, name: str = "video.m3u8") -> MediaPlaylist | None:
        status, _, body = await asyncio.to_thread(fetch, self.url(name))
        return parse_media(body.decode()) if status == 200 else None

    async def playlist_when(self, ready: Callable[[MediaPlaylist], bool]) -> MediaPlaylist:
        async with asyncio.timeout(90):
            while True:
                playlist = await self.playlist()
                if playlist is not None and ready(playlist):
                    return playlist
                await asyncio.sleep(0.2)


@pytest.fixture
async def node(origin: LiveOrigin, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    channel = f"c{len(request.node.name)}"
    buckets = [{"name": BUCKET, "channel": channel, "path": "ott", "credentials": REFERENCE}]
    async with supervisor(tmp_path) as units:
        context = DriverContext("headend", tmp_path / "run", tmp_path / "state", units, RealClock())
        keeper = create_origin(context)
        want = OriginSection.model_validate({"endpoint": origin.endpoint, "buckets": buckets})
        # The bucket was made by another test's appliance, whose register this one does not have.
        for step in keeper.plan(await keeper.observe(), want):
            await keeper.apply(step, origin.context())
        yield Node(origin, Packager(context, origin.secrets), units, channel)
        for unit in await units.list():
            await units.remove(unit.name)


async def until(events: AsyncIterator[Event], cause: str, severity: Severity) -> AlarmEvent:
    async with asyncio.timeout(90):
        async for event in events:
            if isinstance(event, AlarmEvent) and (event.cause, event.severity) == (cause, severity):
                return event
    raise AssertionError(cause)


async def test_a_channel_is_packaged_played_and_goes_on_when_the_packager_dies(
    node: Node, require_programs: Callable[..., None]
) -> None:
    require_programs("ffmpeg", "ffprobe")
    driver = node.driver
    assert (await driver.observe()).value == {"channels": []}
    with feeding():
        undos = await node.commit(node.want)
        have = await driver.observe()
        assert PackagerSection.model_validate(have.value) == node.want
        assert have.facts == {"packaged"}
        assert driver.plan(have, node.want) == ()
        before = await node.playlist_when(lambda playlist: len(playlist.segments) >= 3)
        assert not await driver.verify(node.want, node.origin.context())

        probed = await asyncio.to_thread(
            subprocess.run,
            ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "json", node.url("master.m3u8")],
            capture_output=True,
            check=True,
            timeout=30,
        )
        assert {stream["codec_name"] for stream in json.loads(probed.stdout)["streams"]} == {"h264", "aac"}
        assert fetch(node.url("video.m3u8"))[1]["cache-control"] == "public, max-age=0"
        assert "immutable" in fetch(node.url(before.segments[-1].uri))[1]["cache-control"]
        assert fetch(node.url("manifest.mpd"))[0] == 200

        status = await node.status()
        assert status.packager_pid is not None
        os.kill(status.packager_pid, signal.SIGKILL)
        after = await node.playlist_when(_runs_anew_after(before))
        _follows(before, after)
        (unit,) = await node.units.list()
        assert unit.pid is not None
        os.kill(unit.pid, signal.SIGKILL)
        _follows(after, await node.playlist_when(_runs_anew_after(after)))
    for undo in undos:
        await driver.undo(undo, node.origin.context())
        await driver.undo(undo, node.origin.context())
    assert await node.units.list() == ()


def _runs_anew_after(before: MediaPlaylist) -> Callable[[MediaPlaylist], bool]:
    """The newest segment is of another run of the packager. Runs before it may have left the window already."""
    known = {segment.init_uri for segment in before.segments}
    return lambda playlist: playlist.segments[-1].init_uri not in known


def _of_another_run(known: set[str]) -> Callable[[MediaPlaylist], bool]:
    return lambda playlist: playlist.segments[-1].init_uri not in known


def _follows(before: MediaPlaylist, after: MediaPlaylist) -> None:
    """Numbers go on, what both list has one number, and the break between them is declared."""
    declared = after.discontinuity_sequence + sum(segment.discontinuity for segment in after.segments)
    assert declared > before.discontinuity_sequence + sum(segment.discontinuity for segment in before.segments)
    assert after.media_sequence >= before.media_sequence
    numbers = {segment.uri: segment.number for segment in before.segments}
    assert all(numbers.get(segment.uri, segment.number) == segment.number for segment in after.segments)
    assert after.next_number > before.next_number
    assert after.discontinuity_sequence >= before.discontinuity_sequence


async def watched(node: Node) -> list[PathSample]:
    """What a receiver's probe says until the channel that was up stands still."""
    target = ProbeTarget.model_validate(
        {
            "id": "t", "kind": "hls", "channel": node.channel, "path": "ott", "budget": "9s",
            "arguments": {
                "url": node.url("master.m3u8"), "host": "cdn.streamverse.test",
                "segment": "1s", "window": "6s", "rate": "1M",
            },
        }
    )  # fmt: skip
    found: list[PathSample] = []
    async with aclosing(HlsProbe().run(target, Context(RealClock(), math.inf))) as samples:  # type: ignore[type-var]
        async for sample in samples:
            found.append(sample)
            stands = not sample.up and sample.detail.startswith("no new segment")
            if stands and not feeds.is_set():
                return found
    raise AssertionError("the probe ended")


async def test_alarms_of_a_revoked_key_and_of_a_silent_contribution(
    node: Node, require_programs: Callable[..., None]
) -> None:
    require_programs("ffmpeg")
    events = node.driver.events()
    await node.commit(node.want)
    with feeding():
        await node.playlist_when(lambda playlist: len(playlist.segments) >= 2)
        async with asyncio.timeout(90):
            async for event in events:
                if isinstance(event, Sample) and event.labels["point"] == "origin" and event.values["up"] == 1:
                    break
        probe = asyncio.create_task(watched(node))
        (unit,) = await node.units.list()
        assert unit.pid is not None
        os.kill(unit.pid, signal.SIGSTOP)
        try:
            assert node.channel in (await until(events, "packager-down", Severity.MAJOR)).text
        finally:
            os.kill(unit.pid, signal.SIGCONT)
        await until(events, "packager-down", Severity.CLEARED)
        node.origin.keys({"another": "key"})
        refused = await until(events, "origin-refuses", Severity.MAJOR)
        assert "refuses the credentials" in refused.text
        assert refused.remedy
        # A commit of something else goes on; one that touches the packager is refused before anything is changed.
        assert not await node.driver.verify(node.want, node.origin.context(0))
        other = node.want.channels[0].model_copy(update={"window_ms": 8000})
        with pytest.raises(RefusedError) as caught:
            await node.commit(PackagerSection(channels=(other,)))
        assert "refuses the credentials" in caught.value.problems[0].rule
        assert caught.value.problems[0].remedy
        assert PackagerSection.model_validate((await node.driver.observe()).value) == node.want
        node.origin.keys(KEYS)
        await until(events, "origin-refuses", Severity.CLEARED)
        number = (await node.playlist_when(lambda playlist: len(playlist.segments) >= 2)).next_number
        await node.playlist_when(lambda playlist: playlist.next_number > number)
    samples = await probe
    assert any(sample.up for sample in samples)
    assert "no new segment" in samples[-1].detail
    # Down with the third segment duration that brought nothing, as the playlist's own age says.
    assert not [sample for sample in samples if sample.up and (sample.age_ms or 0) >= 3000]
    stale = await until(events, "manifest-stale", Severity.MAJOR)
    assert f"{node.channel}/ott" in stale.text
    await node.units.stop(unit.name)
    assert "its unit is stopped" in (await until(events, "packager-down", Severity.MAJOR)).text
    told = json.dumps([unit.spec.argv for unit in await node.units.list() if unit.spec is not None])
    assert REFERENCE in told
    assert not any(secret in told for secret in KEYS.values())
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator


async def test_records_of_another_kind_are_refused(node: Node) -> None:
    with pytest.raises(InputError):
        await node.driver.undo(Undo("other", {}), node.origin.context())


async def test_with_cues_a_channel_is_packaged_as_ever_through_the_unit(
    node: Node, require_programs: Callable[..., None]
) -> None:
    """That cues come out is shown in test_cues."""
    require_programs("ffmpeg")
    want = PackagerSection(channels=tuple(one.model_copy(update={"cues": True}) for one in node.want.channels))
    with feeding():
        await node.commit(want)
        assert PackagerSection.model_validate((await node.driver.observe()).value) == want
        before = await node.playlist_when(lambda playlist: len(playlist.segments) >= 2)
        assert not await node.driver.verify(want, node.origin.context())
        status = await node.driver._ask(want.channels[0])
        assert status is not None
        assert status.packager_pid is not None
        os.kill(status.packager_pid, signal.SIGKILL)
        _follows(before, await node.playlist_when(_runs_anew_after(before)))


LADDER = {"hd": (180, "200k"), "sd": (90, "80k")}


def laddered(want: PackagerSection) -> PackagerSection:
    ladder = [Rung.model_validate({"id": n, "height": h, "bitrate": rate}) for n, (h, rate) in LADDER.items()]
    return PackagerSection(channels=tuple(one.model_copy(update={"ladder": tuple(ladder)}) for one in want.channels))


@dataclass(frozen=True)
class Decoded:
    """What ffprobe says of one segment behind its initialization: time stamps in units of 1/90000 s."""

    height: int
    first: int
    begins_with_key_frame: bool
    pictures: int


def decoded(node: Node, playlist: MediaPlaylist, place: Path) -> dict[int, Decoded]:
    """By the number in the segment's name."""
    found = {}
    for segment in playlist.segments:
        (status, _, init), (there, _, body) = fetch(node.url(segment.init_uri)), fetch(node.url(segment.uri))
        if (status, there) != (200, 200):
            continue  # it has left the bucket meanwhile
        place.write_bytes(init + body)
        argv = ["ffprobe", "-v", "error", "-show_entries", "stream=height,time_base:packet=pts,flags", "-of", "json"]
        told = json.loads(subprocess.run([*argv, str(place)], capture_output=True, check=True).stdout)
        (stream,), packets = told["streams"], told["packets"]
        assert stream["time_base"] == "1/90000"
        first = min(packet["pts"] for packet in packets)
        number = int(Path(segment.uri).stem)
        begins = packets[0]["pts"] == first and packets[0]["flags"].startswith("K")
        found[number] = Decoded(stream["height"], first, begins, len(packets))
    return found


async def test_a_ladder_has_segments_of_the_same_time_in_all_renditions_and_its_processes_go_together(
    node: Node, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    """The contribution's groups of pictures are no whole number of segments: the encoder's are."""
    require_programs("ffmpeg", "ffprobe")
    want = laddered(node.want)
    channel = want.channels[0]

    async def renditions(ready: Callable[[MediaPlaylist], bool]) -> dict[str, MediaPlaylist]:
        async with asyncio.timeout(120):
            while True:
                found = {name: await node.playlist(f"{name}.m3u8") for name in (*LADDER, "audio")}
                there = {name: playlist for name, playlist in found.items() if playlist is not None and ready(playlist)}
                if there.keys() == found.keys():
                    return there
                await asyncio.sleep(0.2)

    with feeding("320x180", gop=37):
        await node.commit(want)
        assert PackagerSection.model_validate((await node.driver.observe()).value) == want
        before = await renditions(lambda playlist: len(playlist.segments) >= 4)
        assert not await node.driver.verify(want, node.origin.context())
        master, mpd = (fetch(node.url(name))[2].decode() for name in ("master.m3u8", "manifest.mpd"))
        assert [line for line in master.splitlines() if line and line[0] != "#"] == ["hd.m3u8", "sd.m3u8"]
        assert all(f'height="{height}"' in mpd for height, _ in LADDER.values())
        assert 'media="hd/$Number$.m4s"' in mpd
        assert 'media="sd/$Number$.m4s"' in mpd

        segments = {name: decoded(node, before[name], tmp_path / "one.mp4") for name in LADDER}
        common = sorted(segments["hd"].keys() & segments["sd"].keys())
        assert len(common) >= 3
        for number in common:
            better, worse = segments["hd"][number], segments["sd"][number]
            assert (better.height, worse.height) == (180, 90)
            assert better.first == worse.first
            assert better.begins_with_key_frame
            assert worse.begins_with_key_frame
        firsts = [segments["hd"][number].first for number in common]
        assert {later - earlier for earlier, later in itertools.pairwise(firsts)} == {90_000}

        # Whichever dies, both are started again, and all renditions say that there is a break.
        for which in ("encoder_pid", "packager_pid"):
            status = await node.driver._ask(channel)
            assert status is not None
            os.kill(getattr(status, which), signal.SIGKILL)
            known = {segment.init_uri for playlist in before.values() for segment in playlist.segments}
            after = await renditions(_of_another_run(known))
            for name in before:
                _follows(before[name], after[name])
            assert (
                len({p.discontinuity_sequence + sum(s.discontinuity for s in p.segments) for p in after.values()}) == 1
            )
            now = await node.driver._ask(channel)
            assert now is not None
            assert now.runs == status.runs + 1
            assert {now.encoder_pid, now.packager_pid}.isdisjoint({status.encoder_pid, status.packager_pid})
            before = after
    (step,) = node.driver.plan(await node.driver.observe(), node.want)
    assert "ladder" in step.summary
