"""The phases of a commit, driven as a coordinator drives them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nf.clock import VirtualClock
from nf.contracts.json import digest
from nf.documents.appliance import ProbeTarget
from nf.errors import BusyError, CommitRefused, DeadlineError, DriverError, NfError, RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.transaction.model import StandingChanged, StepProgress
from nf.transaction.states import TransactionState
from tests.nf.transaction.support import START, Box, commit, config, make_box, running

OLD = config({"alpha": {"a": "1", "b": "1"}, "beta": {"c": "1"}})
NEW = config({"alpha": {"a": "2", "d": "2"}, "beta": {"c": "2"}})
S = TransactionState


@pytest.fixture
async def box(tmp_path: Path) -> Box:
    """Revision 1 is confirmed."""
    box = make_box(tmp_path)
    await box.engine.recover()
    await commit(box, "t1", 1, OLD)
    box.events.clear()
    return box


def is_old(box: Box) -> bool:
    return (
        box.live() == {"alpha": {"a": "1", "b": "1"}, "beta": {"c": "1"}}
        and box.engine.standing.confirmed_revision == 1
    )


def is_new(box: Box) -> bool:
    return (
        box.live() == {"alpha": {"a": "2", "d": "2"}, "beta": {"c": "2"}}
        and box.engine.standing.confirmed_revision == 2
    )


def state(box: Box) -> TransactionState | None:
    flight = box.engine.standing.in_flight
    return flight.state if flight is not None else None


def clock(box: Box) -> VirtualClock:
    assert isinstance(box.clock, VirtualClock)
    return box.clock


async def test_a_commit_makes_the_new_configuration_true(box: Box) -> None:
    await commit(box, "t2", 2, NEW)
    assert is_new(box)
    standing = box.engine.standing
    assert (standing.confirmed_digest, standing.in_flight) == (digest(NEW.to_json()), None)
    assert (standing.last_transaction, standing.last_outcome) == ("t2", S.CONFIRMED)
    assert box.engine.confirmed_config() == box.engine.effective_config() == NEW
    seen = [
        event.standing.in_flight.state
        for event in box.events
        if isinstance(event, StandingChanged) and event.standing.in_flight
    ]
    assert list(dict.fromkeys(seen)) == [S.VALIDATED, S.PREPARED, S.APPLYING, S.APPLIED, S.VERIFIED, S.CONFIRMING]
    assert [event.step for event in box.events if isinstance(event, StepProgress)] == [
        "alpha-a",
        "alpha-b",
        "alpha-d",
        "beta-c",
    ]


async def test_a_section_that_is_no_longer_named_is_taken_away(box: Box) -> None:
    await commit(box, "t2", 2, config({"beta": {"c": "1"}}))
    assert box.live() == {"alpha": {}, "beta": {"c": "1"}}


async def test_an_unchanged_configuration_is_an_empty_plan(box: Box) -> None:
    validated = await box.engine.validate("t2", 2, OLD)
    assert validated.steps == ()
    assert validated.facts == {"alpha.a", "alpha.b", "beta.c"}
    await box.engine.prepare("t2", [], START + 60)
    await box.engine.verify("t2")
    await box.engine.confirm("t2")
    assert box.engine.standing.confirmed_revision == 2


async def test_every_phase_may_be_repeated(box: Box) -> None:
    engine = box.engine
    for _ in range(2):
        validated = await engine.validate("t2", 2, NEW)
    stages = [[step.step.id for step in validated.steps if step.section == name] for name in ("alpha", "beta")]
    for _ in range(2):
        await engine.prepare("t2", stages, START + 100)
    for stage in (0, 0, 1, 0, 1):
        await engine.apply("t2", stage)
    for _ in range(2):
        await engine.verify("t2")
        await engine.hold("t2", START + 200)
    await engine.verify("t2")
    assert state(box) is S.HELD
    for _ in range(2):
        await engine.confirm("t2")
    assert is_new(box)
    assert [call for call in box.drivers["alpha"].calls if call == "apply alpha-d"] == ["apply alpha-d"]


async def test_undo_goes_back_stage_by_stage_and_may_be_repeated(box: Box) -> None:
    engine = box.engine
    await commit(box, "t2", 2, NEW, until="verify")
    for _ in range(2):
        await engine.undo("t2", 1)
    assert box.live() == {"alpha": {"a": "2", "d": "2"}, "beta": {"c": "1"}}
    flight = engine.standing.in_flight
    assert flight is not None
    assert (flight.state, flight.stages_applied) == (S.UNDOING, 1)
    await engine.undo("t2", 0)
    assert [call for call in box.drivers["alpha"].calls if call.startswith("undo")] == ["undo d", "undo b", "undo a"]
    for _ in range(2):
        await engine.abort("t2", "no")
        await engine.undo("t2", 0)
    assert is_old(box)
    assert (engine.standing.last_transaction, engine.standing.last_outcome) == ("t2", S.UNDONE)
    with pytest.raises(RefusedError, match=r"UNDONE: confirm.*by a new transaction"):
        await engine.confirm("t2")


@pytest.mark.parametrize("until", ["validate", "prepare", "apply", "verify"])
async def test_abort_goes_back_from_anywhere(box: Box, until: str) -> None:
    await commit(box, "t2", 2, NEW, until=until)
    await box.engine.abort("t2", "test")
    assert is_old(box)
    assert state(box) is None
    await commit(box, "t3", 2, NEW)
    assert is_new(box)


async def test_a_transaction_that_is_unknown_here_has_nothing_to_take_back(box: Box) -> None:
    await box.engine.abort("t9", "test")
    await box.engine.undo("t9", 0)
    with pytest.raises(RefusedError, match="t9 is not in flight here: confirm"):
        await box.engine.confirm("t9")


async def test_what_is_decided_is_not_aborted(box: Box) -> None:
    await commit(box, "t2", 2, NEW)
    with pytest.raises(RefusedError, match=r"CONFIRMED: abort is not possible then.*rollback"):
        await box.engine.abort("t2", "too late")
    with pytest.raises(RefusedError, match="has been here before"):
        await box.engine.validate("t2", 2, NEW)


PHASES: dict[str, Callable[[Box], Awaitable[object]]] = {
    "prepare": lambda box: box.engine.prepare("t2", [], START + 60),
    "apply": lambda box: box.engine.apply("t2", 0),
    "verify": lambda box: box.engine.verify("t2"),
    "hold": lambda box: box.engine.hold("t2", START + 60),
    "confirm": lambda box: box.engine.confirm("t2"),
}
NOT_YET = {
    "validate": ("apply", "verify", "hold", "confirm"),
    "prepare": ("verify", "hold", "confirm"),
    "apply": ("prepare", "hold", "confirm"),
    "verify": ("prepare",),
}


@pytest.mark.parametrize(("until", "phase"), [(until, phase) for until in NOT_YET for phase in NOT_YET[until]])
async def test_a_phase_out_of_order_is_refused_and_changes_nothing(box: Box, until: str, phase: str) -> None:
    await commit(box, "t2", 2, NEW, until=until)
    before = state(box)
    with pytest.raises(RefusedError, match=phase if phase != "prepare" else "prepare|PREPARED"):
        await PHASES[phase](box)
    assert state(box) is before


async def test_stages_are_applied_in_order_and_exist(box: Box) -> None:
    await commit(box, "t2", 2, NEW, until="prepare")
    with pytest.raises(RefusedError, match="stage 0 of transaction t2 comes before stage 1"):
        await box.engine.apply("t2", 1)
    with pytest.raises(RefusedError, match="has 2 stages, not stage 2"):
        await box.engine.apply("t2", 2)


async def test_stages_fit_the_plan_exactly(box: Box) -> None:
    await box.engine.validate("t2", 2, NEW)
    with pytest.raises(RefusedError) as caught:
        await box.engine.prepare("t2", [["alpha-a", "alpha-a"], ["other"]], START + 100)
    assert {(problem.key, problem.rule) for problem in caught.value.problems} == {
        ("box/other", "is in the stages and not in the plan"),
        ("box/alpha-a", "is in two stages"),
        ("box/alpha-b", "is in no stage"),
        ("box/alpha-d", "is in no stage"),
        ("box/beta-c", "is in no stage"),
    }


async def test_two_commits_at_once_the_second_hears_of_the_first(box: Box) -> None:
    results = await asyncio.gather(
        box.engine.validate("t2", 2, NEW), box.engine.validate("t3", 3, NEW), return_exceptions=True
    )
    assert not isinstance(results[0], BaseException)
    assert isinstance(results[1], BusyError)
    assert "transaction t2 (revision 2, VALIDATED) holds the lock" in str(results[1])


async def test_the_lock_of_a_validate_runs_out(box: Box) -> None:
    await box.engine.validate("t2", 2, NEW, lock_s=30)
    await clock(box).advance(29)
    with pytest.raises(BusyError):
        await box.engine.validate("t3", 3, NEW)
    await clock(box).advance(1)
    await box.engine.validate("t3", 3, NEW)
    with pytest.raises(RefusedError, match="t2 is not in flight"):
        await box.engine.prepare("t2", [], START + 90)


async def test_a_dry_run_keeps_nothing(box: Box) -> None:
    await commit(box, "t2", 2, NEW, until="prepare")
    validated = await box.engine.validate("dry", 3, OLD, dry_run=True)
    assert validated.steps == ()
    assert state(box) is S.PREPARED
    assert is_old(box)


async def test_what_the_commit_may_take_fits_its_deadline_or_it_is_refused(box: Box) -> None:
    validated = await box.engine.validate("t2", 2, NEW)
    assert validated.budget_s == 4 * (5 + 5) + validated.verify_budget_s
    stages = [[step.step.id for step in validated.steps]]
    with pytest.raises(RefusedError, match="the deadline leaves 60 s"):
        await box.engine.prepare("t2", stages, START + 60)
    await box.engine.prepare("t2", stages, START + validated.budget_s)


async def test_the_deadline_takes_back_what_nobody_decided(box: Box) -> None:
    async with running(box):
        await commit(box, "t2", 2, NEW, until="verify", lasts_s=100)
        await clock(box).advance(99)
        assert state(box) is S.VERIFIED
        await clock(box).advance(1)
        assert is_old(box)
        assert state(box) is None
        with pytest.raises(RefusedError, match="UNDONE: confirm"):
            await box.engine.confirm("t2")


async def test_a_hold_replaces_the_deadline(box: Box) -> None:
    async with running(box):
        await commit(box, "t2", 2, NEW, until="verify", lasts_s=100)
        await box.engine.hold("t2", START + 300)
        await clock(box).advance(299)
        assert state(box) is S.HELD
        await clock(box).advance(1)
        assert is_old(box)


async def test_nothing_is_applied_after_the_deadline(box: Box) -> None:
    await commit(box, "t2", 2, NEW, until="prepare", lasts_s=100)
    await clock(box).advance(100)
    with pytest.raises(DeadlineError):
        await box.engine.apply("t2", 0)


async def test_the_effective_configuration_is_the_new_one_from_applying_on(box: Box) -> None:
    await commit(box, "t2", 2, NEW, until="prepare")
    assert box.engine.effective_config() == OLD
    await box.engine.apply("t2", 0)
    assert box.engine.effective_config() == NEW
    assert box.engine.confirmed_config() == OLD
    await box.engine.abort("t2", "test")
    assert box.engine.effective_config() == OLD


async def test_a_configuration_for_another_or_without_a_driver_is_refused_with_all_problems(box: Box) -> None:
    other = OLD.model_copy(update={"appliance": "other"})
    with pytest.raises(CommitRefused, match="for other, not for box"):
        await box.engine.validate("t2", 2, other)
    unknown = config({"alpha": {}, "gamma": {}, "delta": {}})
    with pytest.raises(CommitRefused) as caught:
        await box.engine.validate("t2", 2, unknown)
    assert [problem.key for problem in caught.value.problems] == ["box/delta", "box/gamma"]
    assert state(box) is None


async def test_probes_must_be_up(box: Box) -> None:
    target = ProbeTarget(id="p", kind="ssm", channel="ch1", path="iptv", budget="15s")  # type: ignore[call-arg]
    wanted = config({"alpha": {"a": "2"}, "beta": {"c": "1"}}, (target,))
    box.probes.differences = ("ch1/iptv: no packet",)
    await commit(box, "t2", 2, wanted, until="apply")
    with pytest.raises(DriverError, match="ch1/iptv: no packet"):
        await box.engine.verify("t2")
    assert state(box) is S.APPLIED
    box.probes.differences = ()
    await box.engine.verify("t2")
    await box.engine.confirm("t2")


# ---- irreversible steps ----

WITH = config({"alpha": {"bucket": "1", "a": "1", "b": "1"}, "beta": {"c": "1"}})


async def test_an_irreversible_step_needs_accept_and_runs_after_the_decision(box: Box) -> None:
    await commit(box, "t2", 2, WITH)
    with pytest.raises(CommitRefused, match="cannot be taken back: bucket becomes None -> commit with --accept"):
        await box.engine.validate("t3", 3, OLD)
    await commit(box, "t3", 3, OLD, until="verify", accept=True)
    assert "bucket" in box.live()["alpha"]
    await box.engine.confirm("t3")
    assert "bucket" not in box.live()["alpha"]


async def test_an_irreversible_step_that_fails_does_not_hold_up_the_confirm(box: Box) -> None:
    await commit(box, "t2", 2, WITH)
    (box.drivers["alpha"].directory / "bucket.copy").chmod(0o400)
    broken = box.drivers["alpha"].break_next("apply", DriverError("the store is away"), times=2)
    async with running(box):
        await commit(box, "t3", 3, OLD, accept=True)
        assert box.engine.standing.confirmed_revision == 3
        assert "irreversible-step-failed" in alarms(box)
        assert "bucket" in box.live()["alpha"]
        await clock(box).advance(30)
        assert "bucket" not in box.live()["alpha"]
        assert "irreversible-step-failed" not in alarms(box)
    assert broken() == 0


async def test_irreversible_work_left_over_lapses_when_a_later_commit_wants_it_back(box: Box) -> None:
    await commit(box, "t2", 2, WITH)
    box.drivers["alpha"].break_next("apply", DriverError("the store is away"), times=1)
    await commit(box, "t3", 3, OLD, accept=True)
    assert [row.step.id for _, row in box.journal.pending_irreversible()] == ["alpha-bucket"]
    await commit(box, "t4", 4, WITH)
    assert box.journal.pending_irreversible() == []
    async with running(box):
        await clock(box).advance(30)
    assert "bucket" in box.live()["alpha"]


def alarms(box: Box) -> set[str]:
    """Causes of the alarms that stand."""
    standing: dict[str, AlarmEvent] = {
        f"{event.cause}:{event.object}": event for event in box.events if isinstance(event, AlarmEvent)
    }
    return {event.cause for event in standing.values() if event.severity is not Severity.CLEARED}


async def test_a_listener_that_fails_does_no_harm(box: Box) -> None:
    def bad(_event: object) -> None:
        raise RuntimeError("listener")

    box.engine.subscribe(bad)
    await commit(box, "t2", 2, NEW)
    assert is_new(box)


async def test_errors_of_phases_are_of_the_tree(box: Box) -> None:
    for phase in PHASES.values():
        with pytest.raises(NfError):
            await phase(box)
