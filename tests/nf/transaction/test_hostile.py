"""Drivers that raise in every method, hang past their deadline, lie, and are cut short."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nf.clock import VirtualClock
from nf.contracts.driver import Context, Drift, Ownership, Step, Undo
from nf.errors import CancelledError, CommitRefused, DeadlineError, DriverError, NfError, RefusedError
from nf.transaction.states import TransactionState
from tests.nf.transaction.support import START, Box, FileDriver, commit, config, make_box, running
from tests.nf.transaction.test_engine import NEW, OLD, alarms, is_new, is_old, state


@pytest.fixture
async def box(tmp_path: Path) -> Box:
    box = make_box(tmp_path)
    await box.engine.recover()
    await commit(box, "t1", 1, OLD)
    return box


async def drive(box: Box, transaction: str = "t2") -> NfError | None:
    """A coordinator's commit: undone as a whole at the first error, which is returned."""
    try:
        await commit(box, transaction, 2, NEW)
    except NfError as error:
        await box.engine.abort(transaction, "failed")
        return error
    return None


async def settle(task: asyncio.Task[NfError | None], box: Box) -> NfError | None:
    """Let time pass until the task is through."""
    assert isinstance(box.clock, VirtualClock)
    for _ in range(200):
        if task.done():
            break
        await box.clock.advance(1)
    return await task


@pytest.mark.parametrize(
    ("method", "error"),
    [
        (method, error)
        for method in ("observe", "plan", "check")
        for error in (DriverError("away"), ValueError("oops"), asyncio.CancelledError())
        if method != "plan" or not isinstance(error, asyncio.CancelledError)  # a plan awaits nothing
    ],
)
async def test_one_that_raises_before_anything_is_changed_refuses_the_commit(
    box: Box, method: str, error: BaseException
) -> None:
    box.drivers["beta"].break_next(method, error)
    refusal = await drive(box)
    assert isinstance(refusal, CommitRefused)
    assert [problem.key for problem in refusal.problems] == ["box/beta"]
    assert is_old(box)
    assert await drive(box, "t3") is None
    assert is_new(box)


@pytest.mark.parametrize("method", ["prepare", "apply", "verify"])
@pytest.mark.parametrize("error", [DriverError("away"), ValueError("oops"), asyncio.CancelledError()])
async def test_one_that_raises_in_the_middle_is_undone(box: Box, method: str, error: BaseException) -> None:
    box.drivers["beta"].break_next(method, error)
    failure = await drive(box)
    assert isinstance(failure, DriverError)
    assert "box/beta" in str(failure)
    assert is_old(box)
    assert state(box) is None


@pytest.mark.parametrize("method", ["observe", "check", "prepare", "apply", "verify"])
@pytest.mark.parametrize("stubborn", [False, True], ids=["yields", "ignores its cancellation"])
async def test_one_that_hangs_is_cut_off(box: Box, method: str, stubborn: bool) -> None:
    release = box.drivers["beta"].hang_next(method, stubborn=stubborn)
    failure = await settle(asyncio.create_task(drive(box)), box)
    assert isinstance(failure, DeadlineError | CommitRefused | DriverError)
    assert "took longer than" in str(failure)
    assert is_old(box)
    release.set()
    await asyncio.sleep(0)


async def test_a_lie_in_verify_is_found_by_observing(box: Box) -> None:
    beta = box.drivers["beta"]

    async def pretend(step: Step, context: object) -> None:
        return None

    async def effective(want: object, context: object) -> Drift:
        return Drift()

    beta.apply, beta.verify = pretend, effective  # type: ignore[method-assign]
    failure = await drive(box)
    assert isinstance(failure, DriverError)
    assert "not effective: c becomes 2 is still to do" in str(failure)
    assert is_old(box)


async def test_an_undo_that_fails_is_tried_again_under_an_alarm(box: Box) -> None:
    await commit(box, "t2", 2, NEW, until="verify")
    box.drivers["alpha"].break_next("undo", DriverError("stuck"), times=3)
    async with running(box):
        with pytest.raises(DriverError, match="could be taken back: box/alpha/alpha-d: stuck"):
            await box.engine.abort("t2", "test")
        assert box.live()["beta"] == {"c": "1"}  # the others do not wait
        assert "undo-failed" in alarms(box)
        with pytest.raises(NfError, match=r"t2 .*UNDOING. holds the lock"):
            await box.engine.validate("t3", 3, NEW)
        assert isinstance(box.clock, VirtualClock)
        await box.clock.advance(10)
        assert is_old(box)
        assert "undo-failed" not in alarms(box)
    assert box.engine.standing.last_outcome is TransactionState.UNDONE


async def test_an_undo_that_hangs_is_cut_off_and_tried_again(box: Box) -> None:
    assert isinstance(box.clock, VirtualClock)
    box.drivers["alpha"].hang_next("undo")
    await commit(box, "t2", 2, NEW, until="verify")
    async with running(box):
        task = asyncio.create_task(box.engine.abort("t2", "test"))
        await box.clock.advance(5)
        with pytest.raises(DriverError, match="undo took longer than 5 s"):
            await task
        await box.clock.advance(5)
        assert is_old(box)
        assert state(box) is None


@pytest.mark.parametrize("by", ["undo", "abort", "deadline"])
async def test_a_hanging_apply_is_stopped_by_what_takes_back(box: Box, by: str) -> None:
    assert isinstance(box.clock, VirtualClock)
    box.drivers["alpha"].hang_next("apply")
    async with running(box):
        await commit(box, "t2", 2, NEW, until="prepare", lasts_s=61.0)
        await box.clock.advance(58)
        task = asyncio.create_task(box.engine.apply("t2", 0))
        await box.clock.advance(1)
        if by == "undo":
            await box.engine.undo("t2", 0)
            await box.engine.abort("t2", "test")
        elif by == "abort":
            await box.engine.abort("t2", "test")
        else:
            await box.clock.advance(2)
        with pytest.raises(CancelledError if by != "deadline" else NfError):
            await task
        assert is_old(box)
        assert state(box) is None


async def test_an_abort_stops_a_validate_that_hangs(box: Box) -> None:
    box.drivers["alpha"].hang_next("observe")
    task = asyncio.create_task(box.engine.validate("t2", 2, NEW))
    await asyncio.sleep(0.01)
    await box.engine.abort("t2", "test")
    with pytest.raises(CommitRefused, match="aborted: test"):
        await task
    assert state(box) is None


async def test_undo_records_and_steps_that_are_no_plain_data_are_refused(box: Box) -> None:
    beta = box.drivers["beta"]

    async def odd(step: Step) -> Undo:
        return Undo("set", {"key": object()})  # type: ignore[dict-item]

    beta.prepare = odd  # type: ignore[method-assign]
    failure = await drive(box)
    assert isinstance(failure, DriverError)
    assert "prepare failed: TypeError" in str(failure)
    assert is_old(box)
    beta.step = lambda key, value: Step(f"beta-{key}", "set", {"key": object()})  # type: ignore[method-assign, dict-item]
    refusal = await drive(box, "t3")
    assert isinstance(refusal, CommitRefused)
    assert "plan failed: TypeError" in str(refusal)


async def test_two_steps_with_one_id_are_refused(box: Box) -> None:
    for driver in box.drivers.values():
        driver.step = lambda key, value: Step("same", "set", {"key": key, "value": value})  # type: ignore[method-assign]
    with pytest.raises(CommitRefused, match="two steps have this id"):
        await box.engine.validate("t2", 2, NEW)


def test_drivers_that_own_the_same_are_refused(tmp_path: Path) -> None:
    one, other = FileDriver(tmp_path, "one"), FileDriver(tmp_path, "other")
    one.owns = Ownership(ports=frozenset({"udp/5000"}), paths=frozenset({Path("/etc/frr")}), units=frozenset({"zebra"}))
    other.owns = Ownership(ports=frozenset({"udp/5000"}), paths=frozenset({Path("/etc/frr/frr.conf")}))
    with pytest.raises(RefusedError) as caught:
        make_box(tmp_path, drivers=[one, other])
    assert {(problem.key, problem.value) for problem in caught.value.problems} == {
        ("ports", "udp/5000"),
        ("paths", "/etc/frr/frr.conf"),
    }
    assert "driver-one and driver-other both own it" in str(caught.value)


def test_two_drivers_of_one_section_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="section = one"):
        make_box(tmp_path, drivers=[FileDriver(tmp_path / "a", "one"), FileDriver(tmp_path / "b", "one")])


async def test_a_confirmed_configuration_that_cannot_be_read_any_more_is_an_alarm(tmp_path: Path, box: Box) -> None:
    box.journal.close()
    again = make_box(tmp_path)
    again.engine._core.confirmed.config["sections"]["alpha"]["unknown"] = 1  # type: ignore[index, call-overload]
    await again.engine.recover()
    assert "configuration-unreadable" in alarms(again)
    assert again.engine.effective_config() is None
    assert again.engine.standing.confirmed_revision == 1
    await commit(again, "t2", 2, config({"alpha": {"a": "2", "d": "2"}, "beta": {"c": "2"}}))
    assert is_new(again)
    assert again.clock.now() >= START


async def test_secrets_are_given_to_what_changes_things_only(tmp_path: Path) -> None:
    seen: dict[str, bool] = {}
    driver = FileDriver(tmp_path, "alpha")
    box = make_box(tmp_path, drivers=[driver])
    box.engine._core.executor.resolve_secret = lambda reference: f"value of {reference}"
    for method in ("apply", "verify"):
        original = getattr(driver, method)

        async def noted(subject: object, context: Context, *, method: str = method, original: Any = original) -> object:
            seen[method] = context.resolve_secret is not None
            return await original(subject, context)

        setattr(driver, method, noted)
    await commit(box, "t1", 1, config({"alpha": {"a": "1"}}))
    assert seen == {"apply": True, "verify": False}
