"""What the driver does when daemons crash, stay deaf or never start. The daemons are fakes on real vty sockets."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from headend.multicast.documents import FrrInterface, FrrSection, ReversePath
from headend.multicast.frr.daemons import Daemons
from headend.multicast.frr.driver import FrrDriver, create
from headend.multicast.frr.render import DAEMONS
from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext, State, Step
from nf.errors import DriverError
from tests.headend.multicast.frr.fakes import FakeUnits

ROUTER = FrrSection(
    router_id=IPv4Address("10.0.0.1"),
    interfaces=(FrrInterface(name="eth1", bfd=True), FrrInterface(name="eth2", passive=True, igmp=True)),
)
CHANGED = ROUTER.model_copy(update={"interfaces": (FrrInterface(name="eth1", bfd=True, cost=99),)})


@pytest.fixture
def run_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="nft"))  # unix socket names are short
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def units() -> AsyncIterator[FakeUnits]:
    units = FakeUnits()
    yield units
    for name in tuple(units.daemons):
        await units.stop(name)


@pytest.fixture
def driver(run_dir: Path, units: FakeUnits, monkeypatch: pytest.MonkeyPatch) -> FrrDriver:
    monkeypatch.setattr("shutil.chown", lambda *_: None)  # no user frr without the package
    switches = {"igmp_max_memberships": "20"}
    monkeypatch.setattr("headend.multicast.frr.driver.read_sysctl", switches.__getitem__)
    monkeypatch.setattr("headend.multicast.frr.driver.write_sysctl", switches.__setitem__)
    return create(DriverContext("c1", run_dir, run_dir, units, RealClock()))


def context(seconds: float = 10.0) -> Context:
    clock = RealClock()
    return Context(clock, clock.monotonic() + seconds)


def step_to(driver: FrrDriver, have: State, want: FrrSection | None) -> Step:
    (step,) = driver.plan(have, want)
    return step


async def commit(driver: FrrDriver, want: FrrSection) -> None:
    await driver.apply(step_to(driver, await driver.observe(), want), context())
    assert not await driver.verify(want, context())


async def test_a_router_appears_changes_and_goes(driver: FrrDriver, units: FakeUnits) -> None:
    assert await driver.observe() == State(None)
    await commit(driver, ROUTER)
    state = await driver.observe()
    assert state.value == ROUTER.to_json()
    assert state.facts == {"c1.routing"}
    assert driver.plan(state, ROUTER) == ()
    change = step_to(driver, state, CHANGED)
    assert change.requires == {"c1.interface.eth1"}
    assert "eth1" in change.disruption
    assert "eth2" in change.disruption
    await commit(driver, CHANGED)
    await driver.apply(step_to(driver, await driver.observe(), None), context())
    assert await driver.observe() == State(None)
    assert units.daemons == {}


async def test_a_daemon_that_crashes_on_its_configuration_is_told_and_undone(
    driver: FrrDriver, units: FakeUnits, run_dir: Path
) -> None:
    units.crash_on = "ip ospf cost 99"
    await commit(driver, ROUTER)
    before = await driver.observe()
    file = (run_dir / "frr" / "ospfd.conf").read_text()
    step = step_to(driver, before, CHANGED)
    undo = await driver.prepare(step)
    with pytest.raises(DriverError, match=r"ospfd did not survive.*SIGSEGV.*assertion failed"):
        await driver.apply(step, context())
    down = await driver.observe()
    assert down.value is not None
    assert down.value["units"] == {"ospfd": "backoff"}
    assert down.facts == frozenset()
    await driver.undo(undo, context())
    await driver.undo(undo, context())
    assert await driver.observe() == before
    assert (run_dir / "frr" / "ospfd.conf").read_text() == file


async def test_a_line_dropped_without_a_word_fails_verify(driver: FrrDriver, units: FakeUnits) -> None:
    units.deaf_to = "ip ospf bfd profile fast"
    await commit(driver, CHANGED.model_copy(update={"interfaces": ()}))
    await driver.apply(step_to(driver, await driver.observe(), CHANGED), context())
    drift = await driver.verify(CHANGED, context(0.0))
    assert drift.differences == ("missing line in ospfd: interface eth1 / ip ospf bfd profile fast",)


async def test_a_first_start_that_fails_leaves_nothing(driver: FrrDriver, units: FakeUnits, run_dir: Path) -> None:
    units.broken = "pimd"
    step = step_to(driver, await driver.observe(), ROUTER)
    undo = await driver.prepare(step)
    with pytest.raises(DriverError, match="pimd did not become ready"):
        await driver.apply(step, context())
    assert set(units.daemons) == set(DAEMONS) - {"pimd"}
    await driver.undo(undo, context())
    assert await driver.observe() == State(None)
    assert list((run_dir / "frr").glob("*.conf")) == []


async def test_undo_before_apply_changes_nothing(driver: FrrDriver, units: FakeUnits) -> None:
    await commit(driver, ROUTER)
    before = await driver.observe()
    running = dict(units.daemons)
    await driver.undo(await driver.prepare(step_to(driver, before, CHANGED)), context())
    assert await driver.observe() == before
    assert units.daemons == running  # none was restarted


async def test_undo_brings_back_what_was_changed_by_hand(driver: FrrDriver, units: FakeUnits) -> None:
    await commit(driver, ROUTER)
    units.daemons["zebra"].lines.append(("ip nht resolve-via-default",))
    before = await driver.observe()
    assert before.value is not None
    assert before.value["extra"] == ["zebra: ip nht resolve-via-default"]
    step = step_to(driver, before, ROUTER)
    undo = await driver.prepare(step)
    await driver.apply(step, context())
    assert (await driver.observe()).value == ROUTER.to_json()
    await driver.undo(undo, context())
    assert await driver.observe() == before


async def test_a_reverse_path_comes_moves_and_goes(driver: FrrDriver, units: FakeUnits) -> None:
    await commit(driver, ROUTER)
    running = dict(units.daemons)
    for neighbour in ("10.0.1.1", "10.0.2.1"):
        path = ReversePath(source=IPv4Address("10.1.0.11"), neighbour=IPv4Address(neighbour))
        want = ROUTER.model_copy(update={"reverse_paths": (path,)})
        step = step_to(driver, await driver.observe(), want)
        assert "10.1.0.11" in step.disruption
        assert (await driver.verify(want, context(0.0))).differences
        await driver.apply(step, context())
        assert not await driver.verify(want, context())
        assert units.daemons["staticd"].lines == [(f"ip route 10.1.0.11/32 {neighbour}",)]
    await commit(driver, ROUTER)
    assert units.daemons["staticd"].lines == []
    assert units.daemons == running  # none was restarted


def test_a_directory_that_user_frr_cannot_reach_is_told(
    units: FakeUnits, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwd.getpwnam", lambda _: None)
    daemons = Daemons(run_dir, units)
    daemons.check_place()
    run_dir.chmod(0o700)
    with pytest.raises(DriverError, match=r"cannot pass through .*chmod o\+x"):
        daemons.check_place()
    assert not daemons.directory.exists()
