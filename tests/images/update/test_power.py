"""Power goes at any effect of an update: the machine starts, is never a mixture, and the update has a defined end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from images.update import record as record_module
from images.update.manager import Updater
from images.update.states import State
from images.update.watch import SETTLED, Watch
from nf.clock import VirtualClock
from nf.contracts.image import ImageContext, Signs
from nf.errors import NfError
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.support.machine import FakeMachine, PowerCut, order

BUNDLE = b"the new system" * 1000
DIGEST = hashlib.sha256(BUNDLE).hexdigest()
OLD, NEW = "0.1.0", "0.2.0"


async def _inline(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not wait for threads."""
    monkeypatch.setattr(asyncio, "to_thread", _inline)


@dataclass
class Appliance:
    """The two processes of an image on a stand-in machine. `sick`: versions whose agent says that something is wrong.

    `silent`: versions whose agent does not run.
    """

    directory: Path
    fake: FakeMachine = field(default_factory=lambda: FakeMachine(versions={DIGEST: NEW}))
    clock: VirtualClock = field(default_factory=VirtualClock)
    sick: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    alarms: dict[str, AlarmEvent] = field(default_factory=dict)
    updater: Updater | None = None
    cut_at: int = -1
    points: int = 0
    dead: bool = False

    def __post_init__(self) -> None:
        self.fake.point = self.point
        self.tasks: list[asyncio.Task[Any]] = []
        self.wants_reboot = False
        self.fake.rebooting = lambda: setattr(self, "wants_reboot", True)

    def point(self, _name: str) -> None:
        if self.dead or self.points == self.cut_at:
            self.dead, self.cut_at = True, -1
            raise PowerCut
        self.points += 1

    # ---- what the agent lends ----

    async def pieces(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        assert sha256 == DIGEST
        for start in range(offset, len(BUNDLE), 4096):
            yield BUNDLE[start : start + 4096]

    async def signs(self) -> Signs:
        wrong = {"driver frr": "not converged: it does not start"} if self.fake.version in self.sick else {}
        return Signs(True, "", wrong)

    def alarm(self, event: AlarmEvent) -> None:
        self.alarms.pop(event.cause, None)
        if event.severity is not Severity.CLEARED:
            self.alarms[event.cause] = event

    # ---- life ----

    def start(self) -> None:
        self.dead = self.wants_reboot = False
        self.fake.start()
        run_dir = self.directory / "run"
        run_dir.mkdir(parents=True, exist_ok=True)
        for left in run_dir.iterdir():
            left.unlink()  # /run is empty after a start
        machine = self.fake.machine()
        watch = Watch(machine, self.directory, run_dir, self.clock)
        context = ImageContext(
            "pop1", self.directory, run_dir, self.clock, self, self.signs, self.alarm, lambda _report: None
        )
        self.updater = Updater(context, machine)
        self.tasks = [asyncio.create_task(watch.run())]
        if self.fake.version not in self.silent:
            self.tasks.append(asyncio.create_task(self.updater.run()))

    async def stop(self) -> None:
        work = getattr(self.updater, "_work", None)
        for task in (*self.tasks, *([work] if work else [])):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def live(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time go by, starting again whenever the machine restarts or loses power. Whether `until` came true."""
        for _ in range(int(seconds)):
            if until():
                return True
            await self.clock.advance(1.0)
            for task in (*self.tasks, getattr(self.updater, "_work", None)):
                if task is not None and task.done() and not task.cancelled() and isinstance(task.exception(), PowerCut):
                    self.dead = True
            if self.dead or self.wants_reboot:
                await self.stop()
                self.start()
        return until()

    @property
    def state(self) -> str:
        assert self.updater is not None
        return self.updater.report().update

    async def ask(self, method: str, **arguments: Any) -> Any:
        assert self.updater is not None
        try:
            return await self.updater.answer(method, {"id": "u.1", **arguments})
        except (NfError, PowerCut):
            return None

    async def upgrade(self, seconds: float = 600) -> str:
        """What a NOC does: asks where it stands, and gives what comes next. The state that it ended in."""
        ended = {"healthy", "fell-back", "failed"}
        for _ in range(int(seconds)):
            state = self.state
            if state == "":
                await self.ask("image.fetch", **order("u.1", DIGEST, len(BUNDLE), NEW, patience_s=20.0))
            elif state == "fetched":
                await self.ask("image.install")
            elif state == "installed":
                await self.ask("image.activate")
            elif state in ended and await self.live(3, lambda: self.state not in ended) is False:
                return self.state
            await self.live(1)
        return self.state

    def settled(self) -> bool:
        return (self.directory / "run" / SETTLED).exists()


@pytest.fixture
async def appliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Appliance]:
    async with made(tmp_path, monkeypatch) as one:
        yield one


class made:  # noqa: N801 - reads as what it does
    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
        self.appliance = Appliance(directory, **values)
        plain = record_module.write_durably

        def write(path: Path, data: bytes) -> None:
            if path.name == "health.json":
                plain(path, data)
                return
            self.appliance.point("write")
            plain(path, data)
            self.appliance.point("written")

        monkeypatch.setattr(record_module, "write_durably", write)

    async def __aenter__(self) -> Appliance:
        self.appliance.start()
        await self.appliance.live(3)
        return self.appliance

    async def __aexit__(self, *_: object) -> None:
        await self.appliance.stop()


async def test_a_good_update_is_marked_good_after_its_time(appliance: Appliance) -> None:
    assert appliance.settled()
    assert await appliance.upgrade() == "healthy"
    fake = appliance.fake
    assert (fake.booted, fake.version, fake.reboots) == ("B", NEW, 1)
    assert (fake.slots["B"].ok, fake.slots["B"].tried) == (1, 0)
    assert appliance.settled()
    assert not appliance.alarms
    assert not list((appliance.directory / "update").glob("*.raucb"))
    report = appliance.updater.report() if appliance.updater else None
    assert report is not None
    assert (report.good, report.update_version, report.other_version) == (True, NEW, OLD)


async def test_a_system_that_does_not_do_well_goes_back_and_says_why(appliance: Appliance) -> None:
    appliance.sick = frozenset({NEW})
    assert await appliance.upgrade() == "fell-back"
    fake = appliance.fake
    assert (fake.booted, fake.version) == ("A", OLD)
    assert (fake.slots["A"].ok, fake.slots["A"].tried, fake.slots["B"].ok) == (1, 0, 0)
    report = appliance.updater.report() if appliance.updater else None
    assert report is not None
    assert report.fell_back == "fell back from 0.2.0 in slot B: driver frr: not converged: it does not start"
    assert appliance.alarms["image-fell-back"].text == report.fell_back
    # A later good one ends the alarm, and makes the reason history.
    appliance.sick = frozenset()
    await appliance.ask("image.fetch", **order("u.2", DIGEST, len(BUNDLE), NEW))
    assert await appliance.live(20, lambda: appliance.state == "fetched")
    await appliance.ask("image.install", id="u.2")
    assert await appliance.live(20, lambda: appliance.state == "installed")
    await appliance.ask("image.activate", id="u.2")
    assert await appliance.live(120, lambda: appliance.state == "healthy")
    await appliance.live(3)
    assert not appliance.alarms


async def test_an_agent_that_never_runs_is_noticed_by_the_health_service(appliance: Appliance) -> None:
    appliance.silent = frozenset({NEW})
    assert await appliance.upgrade() == "fell-back"
    assert appliance.updater is not None
    assert "nf-agent.service does not run" in appliance.updater.report().fell_back


async def test_a_system_that_does_not_even_start_is_told_as_such(appliance: Appliance) -> None:
    appliance.fake.doomed = frozenset({NEW})
    assert await appliance.upgrade() == "fell-back"
    assert appliance.updater is not None
    assert "it did not start: boot loader, kernel" in appliance.updater.report().fell_back
    assert appliance.fake.slots["B"].ok == 0, "GRUB would try it again when it has forgotten what it tried"


async def test_without_a_way_back_it_stays_and_says_so(appliance: Appliance) -> None:
    appliance.sick = frozenset({NEW})
    await appliance.ask("image.fetch", **order("u.1", DIGEST, len(BUNDLE), NEW))
    await appliance.live(3)
    await appliance.ask("image.install")
    await appliance.live(3)
    await appliance.ask("image.activate")
    assert await appliance.live(30, lambda: appliance.fake.booted == "B")
    appliance.fake.slots["A"].starts = False
    assert await appliance.live(400, lambda: "image-on-trial" in appliance.alarms)
    assert appliance.fake.slots["A"].ok or appliance.fake.slots["B"].ok
    appliance.sick = frozenset()
    assert await appliance.live(60, lambda: appliance.state == "healthy")


async def test_it_is_not_activated_when_the_slot_holds_something_else(appliance: Appliance) -> None:
    await appliance.ask("image.fetch", **order("u.1", DIGEST, len(BUNDLE), NEW))
    await appliance.live(3)
    await appliance.ask("image.install")
    assert await appliance.live(5, lambda: appliance.state == "installed")
    appliance.fake.slots["B"].status = "pending"  # a later install by hand was broken off
    await appliance.ask("image.activate")
    assert await appliance.live(5, lambda: appliance.state == "failed")
    assert appliance.fake.slots["B"].ok == 0
    assert appliance.fake.booted == "A"


async def test_orders_that_do_not_fit_are_refused(appliance: Appliance) -> None:
    assert appliance.updater is not None
    wrong = order("u.1", DIGEST, len(BUNDLE), NEW, compatible="streamverse-nf-core-amd64")
    with pytest.raises(NfError, match="the bundle is for streamverse-nf-core-amd64"):
        await appliance.updater.answer("image.fetch", wrong)
    for change in ({"sha256": "../x"}, {"size": 0}, {"hold_s": -1.0}, {"patience_s": float("nan")}):
        with pytest.raises(NfError):
            await appliance.updater.answer("image.fetch", order("u.1", DIGEST, len(BUNDLE), NEW) | change)
    appliance.fake.refuse = "signature verification failed"
    assert await appliance.upgrade() == "failed"
    status: Any = await appliance.ask("image.status")
    assert "signature verification failed" in status["reason"]
    assert (appliance.fake.slots["A"].ok, appliance.fake.version) == (1, OLD)


async def test_a_cancelled_update_leaves_nothing(appliance: Appliance) -> None:
    await appliance.ask("image.fetch", **order("u.1", DIGEST, len(BUNDLE), NEW))
    await appliance.live(3)
    assert appliance.state == "fetched"
    await appliance.ask("image.cancel")
    await appliance.live(2)
    assert appliance.state == "cancelled"
    assert not list((appliance.directory / "update").glob("*.raucb"))


@pytest.mark.parametrize("sick", [frozenset(), frozenset({NEW})], ids=["well", "ill"])
async def test_power_goes_at_every_point_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sick: frozenset[str]
) -> None:
    """Each run loses power at one more effect than the run before, until a run has no more of them."""
    ends: list[str] = []
    for cut in range(200):
        async with made(tmp_path / str(cut), monkeypatch, sick=sick) as appliance:
            appliance.cut_at = appliance.points + cut
            end = await appliance.upgrade()
            assert await appliance.live(30, appliance.settled), f"cut {cut}: this start is never settled"
            fake = appliance.fake
            assert any(slot.ok for slot in fake.slots.values()), f"cut {cut}: both slots are bad"
            running = fake.slots[fake.booted]
            assert running.whole, f"cut {cut}: a mixed system runs"
            assert (running.ok, running.tried) == (1, 0), f"cut {cut}: what runs is not marked good"
            assert end in {"healthy", "fell-back", "failed"}, f"cut {cut}: {end}"
            if end == "healthy":
                assert fake.version == NEW
                assert not sick
            else:
                assert fake.version == OLD
            if end == "fell-back":
                assert fake.slots["B"].ok == 0, f"cut {cut}: the slot that it fell back from may be taken again"
                assert appliance.updater is not None
                assert appliance.updater.report().fell_back
            ends.append(end)
            if appliance.cut_at >= 0:
                break  # it was never reached
    assert len(ends) > 30, "power went at too few points for this to say anything"
    assert set(ends) <= ({"fell-back"} if sick else {"healthy", "fell-back"})
    # Only between the intent to activate and the start may it count as fallen back though it is well.
    assert sick or ends.count("healthy") > len(ends) * 2 / 3


def test_states_that_a_noc_waits_on_are_those_of_the_appliance() -> None:
    from nf.noc.upgrade_plan import SAID

    assert set(SAID) == {state.value for state in State} - {"none"}
