"""The agent is killed at every kill point there is; each restart ends in exactly the old or exactly the new state.

A script runs in a forked child against files. The child is armed to die at the first point it reaches, in a second run
at the second, and so on until a run reaches none any more. After each death a new child recovers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nf.clock import VirtualClock
from nf.transaction.killpoints import KILL_POINTS, KillPoints
from nf.transaction.model import OperationState
from nf.transaction.states import TransactionState
from tests.nf.transaction.support import START, Box, commit, config, in_child, make_box, running

OLD = {"alpha": {"a": "1", "b": "1", "bucket": "1"}, "beta": {"c": "1"}}
NEW = {"alpha": {"a": "2", "d": "2"}, "beta": {"c": "2"}}
DEADLINE = START + 120.0
S = TransactionState

Script = Callable[[Box], Awaitable[None]]


class Recorder(KillPoints):
    """Notes the names it reaches."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir)
        self._log = run_dir / "reached"

    def reach(self, name: str) -> None:
        with self._log.open("a") as file:
            file.write(name + "\n")
        super().reach(name)


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory in memory where there is one: a killed process loses nothing there either, and it is quicker."""
    shared = Path("/dev/shm")  # noqa: S108 - a fresh directory is made in it
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def template(memory: Path) -> Path:
    """A box on which revision 1 is confirmed."""
    root = memory / "template"

    async def install() -> None:
        box = make_box(root)
        await box.engine.recover()
        await commit(box, "t1", 1, config(OLD))
        box.journal.close()

    assert in_child(install, root.parent / "log")
    return root


@dataclass
class Sweep:
    """`run(script)` yields a directory for each kill point, in which the script has just died there."""

    template: Path
    base: Path
    names: list[str]
    kills: int = 0

    def child(self, root: Path, script: Script, *, start: float = START) -> bool:
        async def work() -> None:
            box = make_box(root, clock=VirtualClock(start), faults=Recorder(root))
            await box.engine.recover()
            await script(box)

        return in_child(work, root / "log")

    def run(self, script: Script, prepared: Script | None = None) -> Iterator[Path]:
        begin = self.template
        if prepared is not None:
            begin = self.base / "prepared"
            shutil.copytree(self.template, begin)
            assert self.child(begin, prepared)
        for number in range(1, 1000):
            root = self.base / str(number)
            shutil.copytree(begin, root)
            (root / "reached").unlink(missing_ok=True)
            (root / "killpoint").write_text(f"*#{number}\n")
            finished = self.child(root, script)
            self.names += (root / "reached").read_text().split()
            if finished:
                shutil.rmtree(root)
                return
            assert not (root / "killpoint").exists()
            self.kills += 1
            yield root
            shutil.rmtree(root)


@pytest.fixture
def sweep(template: Path, memory: Path) -> Iterator[Sweep]:
    base = memory / "sweep"
    base.mkdir()
    yield Sweep(template, base, [])
    shutil.rmtree(base)


# ---- scripts, each written so that a coordinator may repeat it ----


async def to_confirm(box: Box) -> None:
    """A coordinator that wants revision 2, wherever the appliance stands."""
    engine, transaction = box.engine, "t2"
    if engine.standing.confirmed_revision == 2 and engine.standing.in_flight is None:
        return
    if engine.standing.in_flight is None:
        await commit(box, transaction, 2, config(NEW), until="prepare", accept=True)
    flight = engine.standing.in_flight
    assert flight is not None
    if flight.state is not S.CONFIRMING and flight.state is not S.HELD:
        for stage in range(2):
            await engine.apply(transaction, stage)
        await engine.verify(transaction)
        await engine.hold(transaction, DEADLINE)
    await engine.confirm(transaction)


async def to_undone(box: Box) -> None:
    """A coordinator that has decided against it, after everything was applied."""
    engine = box.engine
    flight = engine.standing.in_flight
    if flight is None and engine.standing.last_transaction == "t1":
        await commit(box, "t2", 2, config(NEW), until="verify", accept=True)
    await back(box)


async def back(box: Box) -> None:
    for stage in (1, 0):
        await box.engine.undo("t2", stage)
    await box.engine.abort("t2", "test")


async def applied(box: Box) -> None:
    await commit(box, "t2", 2, config(NEW), until="verify", accept=True)


async def nothing(_box: Box) -> None:
    return


# ---- what must hold ----


def check(root: Path, start: float, *allowed: int) -> int:
    """The box is quiet, and exactly on one of the `allowed` revisions. Which one."""
    found = root / "found.json"

    async def look() -> None:
        box = make_box(root, clock=VirtualClock(start))
        await box.engine.recover()
        standing = box.engine.standing
        assert standing.in_flight is None, standing
        assert box.journal.open_transactions() == ()
        assert not [step for name in ("t1", "t2") for step in box.journal.steps(name)]
        wanted = OLD if standing.confirmed_revision == 1 else NEW
        assert box.live() == wanted, (standing, box.live())
        effective = box.engine.effective_config()
        assert effective is not None
        assert {name: section.to_json()["values"] for name, section in effective.sections.items()} == wanted
        found.write_text(json.dumps(standing.confirmed_revision))

    assert in_child(look, root / "log")
    revision = int(json.loads(found.read_text()))
    assert revision in allowed
    return revision


def test_killed_on_the_way_to_confirm_then_the_coordinator_goes_on(sweep: Sweep) -> None:
    for root in sweep.run(to_confirm):
        assert sweep.child(root, to_confirm)
        check(root, START, 2)
    assert sweep.kills == 26  # 4 steps of 4 points, the irreversible one of 3, and 7 writes of the transaction
    assert {"journal:decision", "effect:irreversible:4", "journal:hold", "effect:apply:0"} <= set(sweep.names)


def test_killed_on_the_way_to_confirm_then_the_deadline_passes(sweep: Sweep) -> None:
    seen = {check_after_deadline(sweep, root) for root in sweep.run(to_confirm)}
    assert seen == {1, 2}


def check_after_deadline(sweep: Sweep, root: Path) -> int:
    names = (root / "reached").read_text().split()
    assert sweep.child(root, nothing, start=DEADLINE)
    return check(root, DEADLINE, 2 if "journal:decision" in names else 1)


def test_killed_on_the_way_back_then_the_coordinator_goes_on(sweep: Sweep) -> None:
    for root in sweep.run(back, applied):
        assert sweep.child(root, to_undone)
        check(root, START, 1)
    assert sweep.kills > 15


def test_killed_on_the_way_back_then_the_deadline_passes(sweep: Sweep) -> None:
    for root in sweep.run(back, applied):
        assert sweep.child(root, nothing, start=DEADLINE)
        check(root, DEADLINE, 1)


def test_killed_again_while_it_recovers(sweep: Sweep) -> None:
    """After the deadline, recovery itself dies at its first, second, third... point before it is let through."""
    for number, root in enumerate(sweep.run(to_confirm)):
        if number % 4:
            continue
        for again in range(1, 100):
            (root / "killpoint").write_text(f"*#{again}\n")
            if sweep.child(root, nothing, start=DEADLINE):
                break
        (root / "killpoint").unlink(missing_ok=True)
        check(root, DEADLINE, 1, 2)


async def override(box: Box) -> None:
    if not box.engine.list_overrides():
        await box.engine.add_override("alpha", {"values": {"a": "override"}}, "test", "me", 600.0)


def test_killed_while_an_override_is_made_true(sweep: Sweep) -> None:
    for root in sweep.run(override):
        assert sweep.child(root, settled)
        assert (root / "alpha" / "a").read_text() == "override"
        assert sweep.child(root, without_overrides, start=START + 601)
        check(root, START, 1)
    assert sweep.kills > 4


async def settled(box: Box) -> None:
    """The override is added if it was not durable, and in force after a moment of the engine's own work."""
    await override(box)
    await turn(box)
    assert [item.state.name for item in box.engine.list_overrides()] == ["ACTIVE"]


async def without_overrides(box: Box) -> None:
    await turn(box)
    assert box.engine.list_overrides() == ()


async def turn(box: Box, seconds: float = 1.0) -> None:
    """Let the engine's own timers work."""
    clock = box.clock
    assert isinstance(clock, VirtualClock)
    async with running(box):
        await clock.advance(seconds)


async def held_override(box: Box) -> None:
    """An override that comes while a commit is held, and then the commit is taken back."""
    await box.engine.hold("t2", DEADLINE)
    await override(box)
    await back(box)


def test_killed_around_an_override_during_a_held_commit(sweep: Sweep) -> None:
    for root in sweep.run(held_override, applied):
        assert sweep.child(root, settled, start=DEADLINE)
        assert (root / "alpha" / "a").read_text() == "override"
        assert (root / "beta" / "c").read_text() == "1"
        assert sweep.child(root, without_overrides, start=DEADLINE + 601)
        check(root, DEADLINE, 1)
    assert sweep.kills > 20


async def count(box: Box) -> None:
    """An operation counts to five, wherever an earlier life left it."""
    if not box.engine.list_operations():
        await box.engine.start_operation("driver-alpha", "count", {"to": 5})
    async with running(box):
        record = await box.engine.wait_operation(box.engine.list_operations()[0].id)
    assert record.state is OperationState.DONE
    assert record.result == {"counted": 5}


def test_killed_during_an_operation_it_goes_on_from_its_checkpoint(sweep: Sweep) -> None:
    for root in sweep.run(count):
        assert sweep.child(root, count)
        assert (root / "alpha.count").read_text() == "5"
    assert sweep.kills == 8  # start, five checkpoints, the effect, its end


def test_every_point_that_is_reached_is_listed(sweep: Sweep) -> None:
    for script in (to_confirm, override, count):
        root = sweep.base / script.__name__
        shutil.copytree(sweep.template, root)
        assert sweep.child(root, script)
        for name in (root / "reached").read_text().split():
            assert name == "effect:half" or any(name == point or name.startswith(point + ":") for point in KILL_POINTS)
