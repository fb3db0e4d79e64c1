"""The driver with a real supervisor, feed and (simulated, in the lab's own words) receiver, in one namespace."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from headend.multicast.receive import open_sender
from headend.satellite.documents import ReceiverSection
from headend.satellite.receiver.driver import SatelliteReceiver
from headend.satellite.receiver.telemetry import FALLBACK, RECEPTION
from lab.devices import rf
from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext, Event, Undo
from nf.errors import DriverError, InputError, IntegrityError, RefusedError
from nf.supervisor.client import SupervisorClient
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.headend.multicast.source.netlab import RECEIVER, Pair, in_namespace, namespaces, process
from tests.headend.satellite.feed.live import FALLBACK_GROUP, FALLBACK_PORT
from tests.headend.satellite.feed.made import Stream
from tests.headend.satellite.receiver.samples import carrier, section, service
from tests.support.supervisor import answering

pytestmark = pytest.mark.root
SNMP_PORT, SKY_PORT, OUTPUT_PORT = 16161, 7100, 5100
COMMUNITY = "lab-reader"
_8PSK_3_4 = 14

_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from nf.supervisor.daemon import run_supervisor
asyncio.run(run_supervisor(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@dataclass
class Node:
    """The PoP: `pair.head`, in which everything of it runs."""

    pair: Pair
    directory: Path
    secret: str = f"community {COMMUNITY}"

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    def driver(self) -> SatelliteReceiver:
        units = SupervisorClient(self.run_dir / "supervisor.sock")
        context = DriverContext("pop1", self.run_dir, self.directory / "state", units, RealClock())
        return SatelliteReceiver(context, lambda _: self.secret)

    def context(self, seconds: float = 10) -> Context:
        clock = RealClock()
        return Context(clock, clock.monotonic() + seconds, resolve_secret=lambda _: self.secret)

    async def commit(self, driver: SatelliteReceiver, want: ReceiverSection | None) -> list[Undo]:
        steps = driver.plan(await driver.observe(), want)
        await driver.check(steps, want)
        undos = []
        for step in steps:
            undos.append(await driver.prepare(step))
            await driver.apply(step, self.context())
            await driver.apply(step, self.context())  # a crash can repeat it
        return undos

    async def inside(self, work: Callable[[Node], Awaitable[None]]) -> None:
        """Run `work` in the PoP's namespace, in a loop of its own."""

        async def run() -> None:
            await work(self)

        await asyncio.wrap_future(in_namespace(self.pair.head, lambda: asyncio.run(run())))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    with namespaces() as pair:
        node = Node(pair, tmp_path)
        async with process(pair.head, "-c", _SUPERVISOR, str(node.run_dir), str(tmp_path / "state")):
            await answering(node.run_dir)
            yield node


async def test_a_section_is_made_true_changed_damaged_and_taken_away(node: Node) -> None:
    await node.inside(_made_true)


async def _made_true(node: Node) -> None:
    driver = node.driver()
    units = SupervisorClient(node.run_dir / "supervisor.sock")
    one, two = section(carrier()), section(carrier(services=[service(1), service(2)]))
    assert (await driver.observe()).value is None
    undos = await node.commit(driver, one)
    have = await driver.observe()
    assert ReceiverSection.model_validate(have.value) == one
    assert driver.plan(have, one) == ()
    assert not await driver.verify(one, node.context(0))
    events = driver.events()
    silent = await Watch(events).alarm("device-silent", raised=True)  # there is no receiver at all
    assert silent.object == "rx1"
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert not await driver.verify(one, node.context(0))
    (before,) = await units.list()
    undos += await node.commit(driver, two)
    (after,) = await units.list()
    assert before.pid == after.pid  # what stays goes on without a break
    assert not await driver.verify(two, node.context())

    assert after.pid is not None
    os.kill(after.pid, signal.SIGKILL)
    assert not await driver.verify(two, node.context())  # the supervisor brings it back

    file = node.directory / "state" / "satellite-receiver" / "c1.json"
    memory = file.parent / "memory" / "c1"
    assert memory.is_dir(), "what outlives a boot lies beside the documents"
    whole = file.read_text()
    file.write_text("{}")
    damaged = await driver.observe()
    assert damaged.value == {"carriers": [], "altered": {"c1": "its file was changed by hand"}}
    assert "changed by hand" in (await driver.verify(two, node.context(0))).differences[0]
    undo = (await node.commit(driver, two))[0]
    assert file.read_text() == whole
    assert not await driver.verify(two, node.context())
    await driver.undo(undo, node.context())
    assert (file.read_text(), await units.list()) == ("{}", ())

    await driver.undo(undos[1], node.context())
    assert not await driver.verify(one, node.context())
    for _ in range(2):
        await driver.undo(undos[0], node.context())
    assert ((await driver.observe()).value, await units.list()) == (None, ())
    assert not memory.exists()
    with pytest.raises(InputError):
        await driver.undo(Undo("other", {}), node.context())


async def test_what_cannot_work_fails_its_step_and_leaves_nothing(node: Node) -> None:
    await node.inside(_fails)


async def _fails(node: Node) -> None:
    driver = node.driver()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", OUTPUT_PORT))
        want = section(carrier())
        with pytest.raises(RefusedError) as refused:
            await driver.check(driver.plan(await driver.observe(), want), want)
    assert refused.value.problems[0].value == f"udp 127.0.0.1:{OUTPUT_PORT}"

    node.secret = "community two words"
    with pytest.raises(IntegrityError, match="no SNMP credentials"):
        await node.commit(driver, want)
    node.secret = f"community {COMMUNITY}"
    absent = section(carrier(services=[service(1, outputs=["10.1.0.99"])]))
    (step,) = driver.plan(await driver.observe(), absent)
    undo = await driver.prepare(step)
    with pytest.raises(DriverError, match=r"ch1/satellite: cannot send from 10\.1\.0\.99"):
        await driver.apply(step, node.context())
    await driver.undo(undo, node.context())
    assert (await driver.observe()).value is None


class Sky:
    """A carrier in the lab's radio frequency, and the same programme as (S, G); played every 10 ms."""

    def __init__(self, pair: Pair) -> None:
        self.fade_db = 0.0
        self.fallback = False
        self._carrier = rf.Carrier(_8PSK_3_4, 2_000_000, 1, 2, 142_500)
        self._sequence = 0
        self._stream = Stream()
        self._fallback = Stream(program_number=9, pmt_pid=0x1000, video=0x100, audio=0x101)
        self._up = in_namespace(pair.head, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).result()
        self._multicast = in_namespace(pair.receiver, lambda: open_sender(IPv4Address(RECEIVER))).result()

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for packets in _datagrams(self._stream.step()):
                frame = rf.Frame(self._carrier, self._sequence, 800, round(-self.fade_db * 10))
                self._sequence += 1
                self._up.sendto(rf.pack(frame) + packets, ("127.0.0.1", SKY_PORT))
            for packets in _datagrams(self._fallback.step()) if self.fallback else ():
                self._multicast.sendto(packets, (FALLBACK_GROUP, FALLBACK_PORT))
            due += 0.01
            await asyncio.sleep(max(0.0, due - loop.time()))

    def close(self) -> None:
        self._up.close()
        self._multicast.close()


def _datagrams(packets: list[bytes]) -> list[bytes]:
    return [b"".join(packets[i : i + 7]) for i in range(0, len(packets), 7)]


@asynccontextmanager
async def reception(node: Node) -> AsyncIterator[Sky]:
    """A receiver of the lab that hears `Sky`."""
    config = {
        "name": "rx1",
        "boot_s": 0.0,
        "snmp": {"address": "127.0.0.1", "port": SNMP_PORT, "read_community": COMMUNITY},
        "sky": {"address": "127.0.0.1", "port": SKY_PORT},
        "relock_ms": 200,
        "output": {"address": "127.0.0.1", "port": OUTPUT_PORT},
    }
    file = node.directory / "rx1.yaml"
    file.write_text(json.dumps(config))
    places = ("--run-dir", str(node.directory / "rx-run"), "--state-dir", str(node.directory / "rx-state"))
    sky = Sky(node.pair)
    async with process(node.pair.head, "-m", "lab.devices", "receiver", "--config", str(file), *places):
        playing = asyncio.create_task(sky.play())
        try:
            yield sky
        finally:
            playing.cancel()
            sky.close()


class Watch:
    """Events of the driver as they come, in the PoP's loop."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events

    async def alarm(self, cause: str, *, raised: bool) -> AlarmEvent:
        async with asyncio.timeout(90):
            async for event in self._events:
                if not isinstance(event, AlarmEvent) or event.cause != cause:
                    continue
                if (event.severity is not Severity.CLEARED) is raised:
                    return event
        raise AssertionError(cause)

    async def sample(self, kind: str, fits: Callable[[Sample], bool]) -> Sample:
        async with asyncio.timeout(90):
            async for event in self._events:
                if isinstance(event, Sample) and event.kind == kind and fits(event):
                    return event
        raise AssertionError(kind)


@pytest.mark.daemon
async def test_a_fade_at_the_site_brings_the_fallback_and_its_end_is_told(node: Node) -> None:
    async with reception(node) as sky:

        async def faded(node: Node) -> None:
            await _faded(node, sky)

        await node.inside(faded)


async def _faded(node: Node, sky: Sky) -> None:
    driver, want = node.driver(), section(carrier())
    await node.commit(driver, want)
    events = driver.events()
    watch = Watch(events)
    clear = await watch.sample("satellite.receiver", lambda found: found.values.get("locked") == 1)
    assert clear.labels == {"carrier": "c1", "device": "rx1"}
    assert clear.values["es_n0_db"] == pytest.approx(13.0)
    assert (clear.values["good"], clear.text) == (1.0, "margin 4.6 dB, 8PSK 3/4")
    hop = await watch.sample("path.hop", lambda found: found.text == "on satellite" and found.values["packets"] > 0)
    assert hop.labels == {"channel": "ch1", "path": "satellite", "point": "downlink"}

    sky.fallback = True
    sky.fade_db = 4.3
    bad = await watch.alarm(RECEPTION, raised=True)
    assert (bad.object, bad.severity) == ("c1/rx1", Severity.MAJOR)
    assert bad.text == "reception of carrier c1 is bad: margin 0.3 dB"
    fallback = await watch.alarm(FALLBACK, raised=True)
    assert fallback.object == "ch1/satellite"
    hop = await watch.sample("path.hop", lambda found: found.text == "on iptv (margin 0.3 dB)")
    assert hop.values["continuity_errors"] == 0
    assert hop.values["bitrate_bps"] > 100_000

    sky.fade_db = 0.0
    await watch.alarm(RECEPTION, raised=False)
    await watch.sample("path.hop", lambda found: found.text == "on satellite")
    sky.fade_db = 30.0
    lost = await watch.alarm(RECEPTION, raised=True)
    assert "no lock" in lost.text
    await watch.sample("path.hop", lambda found: found.text == "on iptv (no lock)")
    sky.fade_db = 0.0
    await watch.alarm(RECEPTION, raised=False)
    await node.commit(driver, None)
    await watch.alarm(FALLBACK, raised=False)
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
