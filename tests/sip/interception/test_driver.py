"""The driver with a real supervisor: the same unit, plan and answers whether somebody is a target or not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext, State, Undo
from nf.contracts.units import UnitSpec
from nf.errors import DriverError, InputError
from nf.supervisor.client import SupervisorClient
from nf.supervisor.systemd.render import render
from sip.interception.client import connect
from sip.interception.documents import InterceptionSection
from sip.interception.driver import InterceptionDriver, create
from sip.interception.units import UNIT, section_of, socket_path, unit_spec
from tests.sip.interception.world import TARGET, order, until
from tests.support.supervisor import answering

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from nf.supervisor.daemon import run_supervisor
asyncio.run(run_supervisor(Path(sys.argv[1]), Path(sys.argv[2])))
"""
ONE = InterceptionSection.model_validate({"address": "127.0.0.1", "provides": ["pop1.observation"]})
OTHER = InterceptionSection.model_validate({"address": "127.0.0.1", "ports": [26000, 26099]})


def driver_for(run_dir: Path) -> InterceptionDriver:
    units = SupervisorClient(run_dir / "supervisor.sock")
    return create(DriverContext("pop1", run_dir, run_dir.parent / "state", units, RealClock()))


def context() -> Context:
    clock = RealClock()
    return Context(clock, clock.monotonic() + 90)


def test_a_plan_of_what_stands_is_empty(tmp_path: Path) -> None:
    driver = driver_for(tmp_path)
    assert driver.plan(State(ONE.to_json()), ONE) == ()
    assert driver.plan(State(None), None) == ()
    (run,) = driver.plan(State(None), ONE)
    assert (run.kind, run.provides, run.disruption) == ("sip-interception.run", frozenset({"pop1.observation"}), "")
    (stop,) = driver.plan(State(ONE.to_json()), None)
    assert stop.kind == "sip-interception.stop"


def test_a_unit_says_what_it_was_started_for(tmp_path: Path) -> None:
    spec = unit_spec(ONE, tmp_path)
    assert section_of(spec) == ONE
    assert section_of(UnitSpec("another", spec.argv)) is None
    assert section_of(UnitSpec(UNIT, (*spec.argv[:4], "no json"))) is None
    assert section_of(None) is None


def test_the_unit_has_a_user_of_its_own_and_few_rights() -> None:
    text = render(unit_spec(ONE, Path("/run/nf")))
    assert "\nUser=nf-observe-voice\n" in text
    assert "\nCapabilityBoundingSet=CAP_CHOWN\n" in text
    assert "\nLimitCORE=0\n" in text
    assert "\nReadWritePaths=/run/nf/sip-interception\n" in text


@dataclass
class Node:
    driver: InterceptionDriver
    units: SupervisorClient
    run_dir: Path

    async def commit(self, want: InterceptionSection | None) -> list[Undo]:
        steps = self.driver.plan(await self.driver.observe(), want)
        await self.driver.check(steps, want)
        undos = []
        for step in steps:
            undos.append(await self.driver.prepare(step))
            await self.driver.apply(step, context())
        return undos


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    words = (sys.executable, "-c", SUPERVISOR, str(run_dir), str(tmp_path / "state"))
    process = await asyncio.create_subprocess_exec(*words)
    try:
        units = await answering(run_dir)
        driver = create(DriverContext("pop1", run_dir, tmp_path / "state", units, RealClock()))
        yield Node(driver, units, run_dir)
        await driver.apply(driver.plan(State(ONE.to_json()), None)[0], context())
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 90)


@pytest.mark.root
async def test_it_comes_changes_goes_and_comes_back(node: Node) -> None:
    (undo,) = await node.commit(ONE)
    assert not await node.driver.verify(ONE, context())
    assert await node.driver.observe() == State(ONE.to_json(), frozenset({"pop1.observation"}))
    (back,) = await node.commit(OTHER)
    assert (await node.driver.observe()).value == OTHER.to_json()
    await node.driver.undo(back, context())
    await node.driver.undo(back, context())
    assert (await node.driver.observe()).value == ONE.to_json()
    await node.driver.undo(undo, context())
    assert await node.driver.observe() == State(None)
    assert not socket_path(node.run_dir).exists()
    with pytest.raises(InputError):
        await node.driver.undo(Undo("another", {}), context())
    (step,) = node.driver.plan(State(None), ONE)
    with pytest.raises(DriverError):
        await node.driver.apply(type(step)(step.id, "another", {}), context())


@pytest.mark.root
async def test_who_may_see_the_appliance_sees_the_same_with_a_target_and_without(node: Node) -> None:
    async def seen() -> tuple[object, ...]:
        status = await node.units.status(UNIT)
        assert status is not None
        files = sorted(str(path.relative_to(node.run_dir)) for path in node.run_dir.rglob("*"))
        argv = await asyncio.to_thread(Path(f"/proc/{status.pid}/cmdline").read_bytes)
        return (
            status,
            await node.units.log(UNIT),
            await node.driver.observe(),
            node.driver.plan(await node.driver.observe(), ONE),
            await node.driver.verify(ONE, context()),
            files,
            argv,
        )

    await node.commit(ONE)
    before = await seen()
    point = await connect(node.run_dir)
    await point.activate(order(content="media"))
    assert await seen() == before
    assert TARGET not in str(before)
    await point.close()
    assert await seen() == before


@pytest.mark.root
async def test_it_comes_back_by_itself_and_nothing_is_said_of_why(node: Node) -> None:
    await node.commit(ONE)
    status = await node.units.status(UNIT)
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)

    async def again() -> bool:
        now = await node.units.status(UNIT)
        return now is not None and now.state.value == "ready" and now.pid != status.pid

    await until(again)
    assert not await node.driver.verify(ONE, context())
    assert all(TARGET not in line for line in await node.units.log(UNIT))
