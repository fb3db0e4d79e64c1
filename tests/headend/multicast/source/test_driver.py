"""The driver with a real supervisor and real stages, in a namespace of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headend.multicast.documents import SourceSection
from headend.multicast.source.driver import MulticastSource, create
from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext, Event, Undo
from nf.errors import DriverError, InputError, RefusedError
from nf.supervisor.client import SupervisorClient
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.headend.multicast.source.netlab import Pair, feeding, namespaces, process
from tests.headend.multicast.source.test_plan import stage
from tests.support.supervisor import answering

pytestmark = pytest.mark.root

_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from nf.supervisor.daemon import run_supervisor
asyncio.run(run_supervisor(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@dataclass
class Node:
    pair: Pair
    driver: MulticastSource
    units: SupervisorClient

    def context(self, seconds: float = 10) -> Context:
        clock = RealClock()
        return Context(clock, clock.monotonic() + seconds)

    async def commit(self, want: SourceSection | None) -> list[Undo]:
        steps = self.driver.plan(await self.driver.observe(), want)
        await self.driver.check(steps, want)
        undos = []
        for step in steps:
            undos.append(await self.driver.prepare(step))
            await self.driver.apply(step, self.context())
        return undos


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    run_dir = tmp_path / "run"
    with namespaces() as pair:
        async with process(pair.head, "-c", _SUPERVISOR, str(run_dir), str(tmp_path / "state")):
            units = await answering(run_dir)
            yield Node(pair, create(DriverContext("headend", run_dir, tmp_path / "state", units, RealClock())), units)


def section(*stages: object) -> SourceSection:
    return SourceSection.model_validate({"stages": stages})


async def test_a_section_is_made_true_seen_changed_and_taken_away(node: Node) -> None:
    driver = node.driver
    want = section(stage("ch1", 6001), stage("ch2", 6002))
    assert (await driver.observe()).value == {"stages": []}
    undos = await node.commit(want)
    async with feeding(node.pair.head, 6001), feeding(node.pair.head, 6002):
        assert (await driver.verify(want, node.context())).differences == ()
    have = await driver.observe()
    assert SourceSection.model_validate(have.value) == want
    assert have.facts == {"source.ch1/iptv", "source.ch2/iptv"}
    assert driver.plan(have, want) == ()

    swapped = section(stage("ch1", 6002), stage("ch2", 6001, rate=2_000_000))
    steps = driver.plan(have, swapped)
    order = sorted(steps, key=lambda step: step.kind != "source.stop")
    records = []
    for step in order:
        records.append(await driver.prepare(step))
        await driver.apply(step, node.context())
        await driver.apply(step, node.context())  # a crash can repeat it
    assert (await driver.verify(swapped, node.context())).differences == ()
    for undo in reversed(records):
        await driver.undo(undo, node.context())
        await driver.undo(undo, node.context())
    assert (await driver.verify(want, node.context())).differences == ()
    for undo in reversed(undos):
        await driver.undo(undo, node.context())
    assert await node.units.list() == ()


async def test_drift_names_what_is_missing_different_or_too_much(node: Node) -> None:
    want = section(stage("ch1", 6001))
    assert (await node.driver.verify(want, node.context(0))).differences == ("ch1/iptv: its source stage is not there",)
    await node.commit(want)
    other = section(stage("ch1", 6001, rate=3_000_000))
    assert "other settings" in (await node.driver.verify(other, node.context(0))).differences[0]
    assert "still emitted" in (await node.driver.verify(None, node.context(0))).differences[0]


async def test_a_killed_stage_comes_back_by_itself(node: Node) -> None:
    want = section(stage("ch1", 6001))
    await node.commit(want)
    (before,) = await node.units.list()
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    assert (await node.driver.verify(want, node.context())).differences == ()


async def test_a_stage_that_cannot_run_fails_its_step_and_is_undone(node: Node) -> None:
    absent = stage("ch1", 6001).model_copy(update={"source": "10.1.0.99"})
    want = section(absent.to_json())
    (step,) = node.driver.plan(await node.driver.observe(), want)
    undo = await node.driver.prepare(step)
    with pytest.raises(DriverError, match="Cannot assign requested address"):
        await node.driver.apply(step, node.context())
    await node.driver.undo(undo, node.context())
    assert await node.units.list() == ()


async def test_a_port_that_another_program_holds_is_refused(node: Node) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:  # the driver looks where the test runs
        holder.bind(("0.0.0.0", 0))
        want = section(stage("ch1", holder.getsockname()[1]))
        steps = node.driver.plan(await node.driver.observe(), want)
        with pytest.raises(RefusedError) as refused:
            await node.driver.check(steps, want)
    (problem,) = refused.value.problems
    assert (problem.key, problem.rule) == ("start ch1/iptv", "the contribution port is held by another program")


async def test_records_of_another_kind_are_refused(node: Node) -> None:
    with pytest.raises(InputError):
        await node.driver.undo(Undo("other", {}), node.context())


async def test_events_are_samples_of_both_points_and_the_lost_contribution(node: Node) -> None:
    await node.commit(section(stage("ch1", 6001)))
    events = node.driver.events()

    async def next_of(kind: type[Event], text: str, severity: Severity | None = None) -> Event:
        async with asyncio.timeout(90):
            async for event in events:
                if isinstance(event, AlarmEvent):
                    if kind is AlarmEvent and (event.cause, event.severity) == (text, severity):
                        return event
                elif kind is Sample and event.labels["point"] == text and event.values["packets"] > 0:
                    return event
        raise AssertionError(text)

    async with feeding(node.pair.head, 6001):
        for point in ("contribution", "source"):
            sample = await next_of(Sample, point)
            assert isinstance(sample, Sample)
            assert sample.labels == {"channel": "ch1", "path": "iptv", "point": point}
            assert sample.values.keys() == {"bitrate_bps", "packets", "continuity_errors", "age_ms"}
    lost = await next_of(AlarmEvent, "contribution-lost", Severity.MAJOR)
    assert isinstance(lost, AlarmEvent)
    assert (lost.object, lost.text) == ("ch1", "no contribution on udp port 6001")
    async with feeding(node.pair.head, 6001):
        await next_of(AlarmEvent, "contribution-lost", Severity.CLEARED)
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
