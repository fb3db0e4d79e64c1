"""The intake with a real supervisor and ffmpeg, on a presentation that Shaka makes; judged by ffprobe and tshark."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import json
import os
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from headend.transport.continuity import ContinuityMonitor
from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext, Event
from nf.media.documents import IntakeSection
from nf.media.intake.client import IntakeStatus
from nf.media.intake.driver import StreamIntake
from nf.media.packager.command import Packaging, program
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.nf.media.live import own_namespace, supervisor
from tests.nf.media.packager.test_driver import feeding

pytestmark = [pytest.mark.root, pytest.mark.daemon]

ADDRESS, PORT, EDGE_PORT, CONTRIBUTION = "127.64.3.1", 5004, 8080, 6011


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class _Edge(http.server.ThreadingHTTPServer):
    def server_bind(self) -> None:
        """Without looking up names, which takes long where nobody answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "edge", EDGE_PORT


@contextlib.contextmanager
def edge(directory: Path) -> Iterator[None]:
    handler = functools.partial(_Quiet, directory=str(directory))
    with _Edge(("127.0.0.1", EDGE_PORT), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def packaging(directory: Path, first: int) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    argv = Packaging(CONTRIBUTION, 1000, 12_000, directory, first).argv(program())
    with subprocess.Popen(argv) as process:
        try:
            yield
        finally:
            process.kill()


class Taker:
    """Who takes what is handed over."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self._came = asyncio.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((ADDRESS, PORT))
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.datagrams.append(self._socket.recv(2000))
        self._came.set()

    async def more(self, count: int) -> None:
        wanted = len(self.datagrams) + count
        async with asyncio.timeout(120):
            while len(self.datagrams) < wanted:
                self._came.clear()
                await self._came.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()


def section() -> IntakeSection:
    channel = {
        "channel": "ch1",
        "path": "ott",
        "url": f"http://127.0.0.1:{EDGE_PORT}/ch1/master.m3u8",
        "host": "cdn.streamverse.test",
        "segment": "1s",
        "outputs": [{"taker": "sat", "address": ADDRESS, "port": PORT}],
    }
    return IntakeSection.model_validate({"channels": [channel]})


def in_time() -> Context:
    clock = RealClock()
    return Context(clock, clock.monotonic() + 90)


async def status_when(driver: StreamIntake, ready: Callable[[IntakeStatus], bool]) -> IntakeStatus:
    async with asyncio.timeout(120):
        while True:
            status = await driver._ask(section().channels[0])
            if status is not None and ready(status):
                return status
            await asyncio.sleep(0.1)  # there is nothing to wait for: it says what it is asked


async def until(driver: StreamIntake, wanted: Callable[[Event], bool]) -> Event:
    async with asyncio.timeout(120), aclosing(driver.events()) as events:  # type: ignore[type-var]
        async for event in events:
            if wanted(event):
                return event
    raise AssertionError("the events have ended")


@pytest.fixture
def place() -> Iterator[Path]:
    """Its path is short enough for Unix sockets, however long the names of tests are."""
    with tempfile.TemporaryDirectory(prefix="nft") as name:
        yield Path(name)


async def test_a_presentation_becomes_one_steady_stream_across_a_cut_and_a_crash(
    place: Path, require_root: Callable[[], None], require_programs: Callable[..., None]
) -> None:
    require_root()
    require_programs("ffmpeg", "ffprobe")
    web = place / "web"
    with own_namespace(), edge(web), feeding():
        async with supervisor(place) as units:
            driver = StreamIntake(DriverContext("pop1", place / "run", place / "state", units, RealClock()))
            taker = Taker()
            with packaging(web / "ch1", 1):
                (step,) = driver.plan(await driver.observe(), section())
                await driver.check([step], section())
                undo = await driver.prepare(step)
                await driver.apply(step, in_time())
                assert driver.plan(await driver.observe(), section()) == ()
                assert not await driver.verify(section(), in_time())
                await taker.more(150)
                sample = await until(driver, lambda event: isinstance(event, Sample) and event.values["up"] == 1)
                assert isinstance(sample, Sample)
                assert sample.labels == {"channel": "ch1", "path": "ott", "point": "intake"}
                before = await status_when(driver, lambda found: found.ffmpeg_pid is not None)
                assert before.ffmpeg_pid is not None
                os.kill(before.ffmpeg_pid, signal.SIGKILL)
                await status_when(driver, lambda found: found.runs > before.runs and not found.problem)
                await taker.more(150)
            silent = await until(
                driver,
                lambda event: (
                    isinstance(event, AlarmEvent)
                    and event.cause == "intake-silent"
                    and event.severity is not Severity.CLEARED
                ),
            )
            assert isinstance(silent, AlarmEvent)
            with packaging(web / "ch1", 1000):
                await until(driver, lambda event: isinstance(event, Sample) and event.values["up"] == 1)
                await taker.more(150)
            await driver.undo(undo, in_time())
            assert (await driver.observe()).value is None
            taker.close()
    monitor = ContinuityMonitor()
    for datagram in taker.datagrams:
        monitor.receive(datagram, 0)
    assert (monitor.continuity_errors, monitor.sync_errors) == (0, 0)
    judged_by_ffprobe(taker.datagrams, place / "out.ts")


def judged_by_ffprobe(datagrams: list[bytes], path: Path) -> None:
    path.write_bytes(b"".join(datagrams))
    command = ["ffprobe", "-v", "error", "-show_programs", "-show_streams", "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert len(found["programs"]) == 1
    assert sorted(stream["codec_name"] for stream in found["streams"]) == ["aac", "h264"]
