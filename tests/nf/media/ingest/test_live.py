"""Real senders, real receivers, one of them killed: what goes out is judged by somebody else's decoder."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headend.transport.continuity import ContinuityMonitor
from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context, DriverContext, Event
from nf.media.documents import IngestSection
from nf.media.ingest.client import IngestStatus
from nf.media.ingest.driver import Ingest
from nf.media.ingest.switch import Role
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.nf.media.live import own_namespace, supervisor

pytestmark = [pytest.mark.root, pytest.mark.daemon]

PORT, ARRIVAL, BACKUP = 6011, 6111, 6211


@contextlib.contextmanager
def sending(url: str, tone: int, offset_s: int) -> Iterator[subprocess.Popen[bytes]]:
    argv = [
        *("ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25"),
        *("-re", "-f", "lavfi", "-i", f"sine=frequency={tone}", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25"),
        *("-pix_fmt", "yuv420p", "-b:v", "150k", "-c:a", "aac", "-b:a", "48k", "-output_ts_offset", str(offset_s)),
        *("-f", "mpegts", url),
    ]
    with subprocess.Popen(argv) as sender:
        try:
            yield sender
        finally:
            sender.kill()


@dataclass
class Listener:
    """Whoever reads the contribution: all that arrives at its port, with times."""

    got: list[tuple[float, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._sock.bind(("127.0.0.1", PORT))
        self._sock.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                self.got.append((time.monotonic(), self._sock.recv(65_536)))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._sock.close()

    @property
    def longest_gap_s(self) -> float:
        times = [at for at, _ in self.got]
        return max(b - a for a, b in itertools.pairwise(times))

    @property
    def errors(self) -> int:
        monitor = ContinuityMonitor()
        for at, datagram in self.got:
            monitor.receive(datagram, at)
        return monitor.continuity_errors + monitor.sync_errors


@contextlib.contextmanager
def listening() -> Iterator[Listener]:
    listener = Listener()
    try:
        yield listener
    finally:
        listener.close()


@dataclass
class Node:
    driver: Ingest

    def context(self, seconds: float = 40) -> Context:
        clock = RealClock()
        return Context(clock, clock.monotonic() + seconds)

    async def commit(self, section: IngestSection | None) -> None:
        steps = self.driver.plan(await self.driver.observe(), section)
        await self.driver.check(steps, section)
        for step in steps:
            await self.driver.apply(step, self.context())
        drift = await self.driver.verify(section, self.context())
        assert not drift.differences
        assert not self.driver.plan(await self.driver.observe(), section)

    async def when(self, section: IngestSection, ready: Callable[[IngestStatus], bool]) -> IngestStatus:
        async with asyncio.timeout(60):
            while True:
                status = await self.driver.status(section.sources[0])
                if status is not None and ready(status):
                    return status
                await asyncio.sleep(0.05)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    with own_namespace():
        async with supervisor(tmp_path) as units:
            yield Node(Ingest(DriverContext("headend", tmp_path / "run", tmp_path / "state", units, RealClock())))
            for unit in await units.list():
                await units.remove(unit.name)


def section(**options: object) -> IngestSection:
    return IngestSection.model_validate(
        {"sources": [{"source": "ch1", "type": "udp", "port": PORT, "arrival": ARRIVAL, **options}]}
    )


def decoded(path: Path, listener: Listener) -> str:
    """What ffmpeg says against it, decoding every picture at its own time: a switch comes within a picture's length."""
    path.write_bytes(b"".join(datagram for _, datagram in listener.got))
    argv = ["ffmpeg", "-nostdin", "-loglevel", "warning", "-i", str(path)]
    argv += ["-fps_mode", "passthrough", "-enc_time_base:v", "1/90000", "-f", "null", "-"]
    return subprocess.run(argv, capture_output=True, check=True, text=True).stderr


async def alarmed(events: AsyncIterator[Event], cause: str, severity: Severity) -> None:
    async with asyncio.timeout(30):
        async for event in events:
            if isinstance(event, AlarmEvent) and (event.cause, event.severity) == (cause, severity):
                return


async def test_a_primary_that_is_killed_is_followed_by_the_backup(node: Node, tmp_path: Path) -> None:
    want = section(backup_port=BACKUP)
    with listening() as listener:
        await node.commit(want)
        with contextlib.ExitStack() as first:
            primary = first.enter_context(sending(f"udp://127.0.0.1:{ARRIVAL}?pkt_size=1316", 440, 1000))
            await node.when(want, lambda s: s.active is Role.PRIMARY)
            with sending(f"udp://127.0.0.1:{BACKUP}?pkt_size=1316", 880, 7000):
                before = await node.when(want, lambda s: len(s.alive) == 2)
                await node.when(want, lambda s: s.sent > before.sent + 100)
                primary.send_signal(signal.SIGSTOP)  # a sender that hangs says no more than one that is dead
                status = await node.when(want, lambda s: s.active is Role.BACKUP)
                assert status.switches == 1
                first.close()
                await alarmed(node.driver.events(), "contribution-on-backup", Severity.MAJOR)
                sent = status.sent
                await node.when(want, lambda s: s.sent > sent + 100)
                print(f"gap {listener.longest_gap_s * 1000:.0f} ms, as it says {status.last_gap_s}")
                with sending(f"udp://127.0.0.1:{ARRIVAL}?pkt_size=1316", 440, 30):
                    await node.when(want, lambda s: len(s.alive) == 2)
                    operation = node.driver.operations["ingest.failback"]
                    done = await operation.run({"source": "ch1"}, Checkpoint({}, lambda _: None), node.context())
                    assert done == {"active": "primary", "switches": 2}
                    sent = (await node.when(want, lambda s: s.active is Role.PRIMARY)).sent
                    await node.when(want, lambda s: s.sent > sent + 50)
    assert listener.errors == 0
    said = decoded(tmp_path / "out.ts", listener)
    assert "non monoton" not in said.lower()
    # One that is stopped within a picture leaves a part of it; whatever comes after is whole.
    assert said.count("corrupt decoded frame") <= 1
    await node.commit(None)


def receiver(pid: int | None) -> int:
    """The child of the unit that receives."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@pytest.mark.parametrize("kind", ["srt", "rist"])
async def test_what_is_received_otherwise_comes_out_as_udp(node: Node, tmp_path: Path, kind: str) -> None:
    want = section(type=kind, latency="100ms")
    url = {"srt": f"srt://127.0.0.1:{ARRIVAL}?mode=caller&pkt_size=1316", "rist": f"rist://127.0.0.1:{ARRIVAL}"}[kind]
    with listening() as listener:
        await node.commit(want)
        with sending(url, 440, 1000):
            await node.when(want, lambda s: s.sent > 50)
            (unit,) = await node.driver._units.list()
            os.kill(receiver(unit.pid), signal.SIGKILL)
            await node.when(want, lambda s: not s.alive)
        with sending(url, 440, 1000):
            sent = (await node.when(want, lambda s: bool(s.alive))).sent
            await node.when(want, lambda s: s.sent > sent + 50)
    assert all(len(datagram) % 188 == 0 for _, datagram in listener.got)
    await node.commit(None)
