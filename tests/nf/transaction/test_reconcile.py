"""After a confirm: drift is an alarm, the harmless part is repaired, the rest waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nf.clock import VirtualClock
from nf.contracts.driver import State, Step
from nf.documents.model import DocumentModel
from nf.errors import DriverError
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.nf.transaction.support import Box, commit, config, make_box, running
from tests.nf.transaction.test_engine import NEW, alarms

OLD = config({"alpha": {"a": "1", "costly": "1"}, "beta": {"c": "1"}})


@pytest.fixture
async def box(tmp_path: Path) -> Box:
    box = make_box(tmp_path)
    await box.engine.recover()
    await commit(box, "t1", 1, OLD)
    box.events.clear()
    return box


async def a_while(box: Box, seconds: float = 15.0) -> None:
    assert isinstance(box.clock, VirtualClock)
    async with running(box):
        await box.clock.advance(seconds)
        async with box.engine._core.work:  # what it has begun comes to its end
            pass


async def test_harmless_drift_is_repaired_and_the_alarm_comes_and_goes(box: Box) -> None:
    box.drivers["alpha"]._set("a", "changed by hand")
    box.drivers["beta"]._set("x", "added by hand")
    await a_while(box)
    assert box.live() == {"alpha": {"a": "1", "costly": "1"}, "beta": {"c": "1"}}
    told = [(event.object, event.severity) for event in box.events if isinstance(event, AlarmEvent)]
    assert sorted(told, key=str) == sorted(
        [
            ("box/alpha", Severity.WARNING),
            ("box/beta", Severity.WARNING),
            ("box/alpha", Severity.CLEARED),
            ("box/beta", Severity.CLEARED),
        ],
        key=str,
    )
    assert box.engine.standing.last_transaction == "t1"


async def test_drift_whose_repair_costs_something_waits_and_says_what(box: Box) -> None:
    box.drivers["alpha"]._set("costly", "changed by hand")
    await a_while(box)
    assert box.live()["alpha"]["costly"] == "changed by hand"
    (alarm,) = [event for event in box.events if isinstance(event, AlarmEvent)]
    assert (alarm.cause, alarm.object, alarm.severity) == ("configuration-drift", "box/alpha", Severity.MAJOR)
    assert "costly becomes 1: drops viewers" in alarm.remedy
    await commit(box, "t2", 2, OLD)
    await a_while(box)
    assert alarms(box) == set()


async def test_what_another_appliance_provides_does_not_keep_a_repair_from_it(box: Box) -> None:
    """The commit that confirmed the configuration saw to it; alone, the appliance cannot know."""
    await commit(box, "t2", 2, config({"alpha": {"fed": "1"}, "beta": {}}))
    box.drivers["alpha"]._set("fed", "changed by hand")
    await a_while(box)
    assert box.live()["alpha"] == {"fed": "1"}
    assert alarms(box) == set()


async def test_a_repair_that_fails_is_undone_and_tried_again(box: Box) -> None:
    box.drivers["beta"]._set("c", "x")
    box.drivers["beta"].break_next("verify", DriverError("does not come up"), times=1)
    await a_while(box, 6)
    assert box.live()["beta"]["c"] == "x"
    assert alarms(box) == {"configuration-drift"}
    await a_while(box, 20)
    assert box.live()["beta"]["c"] == "1"
    assert alarms(box) == set()


@pytest.mark.parametrize("method", ["check", "prepare", "apply", "verify"])
async def test_what_one_section_cannot_do_neither_keeps_another_nor_takes_it_back(box: Box, method: str) -> None:
    box.drivers["alpha"]._set("a", "x")
    box.drivers["beta"]._set("c", "x")
    box.drivers["beta"].break_next(method, DriverError("not now"))
    await a_while(box, 6)
    assert box.live() == {"alpha": {"a": "1", "costly": "1"}, "beta": {"c": "x"}}
    told = [event for event in box.events if isinstance(event, AlarmEvent) and event.severity is Severity.MAJOR]
    assert [event.object for event in told] == ["box/beta"]
    assert "not now" in told[0].text
    await a_while(box, 20)
    assert box.live() == {"alpha": {"a": "1", "costly": "1"}, "beta": {"c": "1"}}
    assert alarms(box) == set()
    assert box.journal.open_transactions() == ()


async def test_what_needs_something_that_could_not_be_repaired_waits_for_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = box.drivers["alpha"], box.drivers["beta"]
    before = alpha.plan

    def needs_beta(have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return tuple(replace(step, requires=frozenset({"beta.c=1"})) for step in before(have, want))

    monkeypatch.setattr(alpha, "plan", needs_beta)
    alpha._set("a", "x")
    beta._set("c", "x")
    beta.break_next("apply", DriverError("not now"))
    await a_while(box, 6)
    assert box.live() == {"alpha": {"a": "x", "costly": "1"}, "beta": {"c": "x"}}
    told = {event.object: event.text for event in box.events if isinstance(event, AlarmEvent)}
    assert "waits for beta.c=1" in told["box/alpha"]
    await a_while(box, 20)
    assert box.live() == {"alpha": {"a": "1", "costly": "1"}, "beta": {"c": "1"}}
    assert alarms(box) == set()


async def test_a_repair_that_cannot_be_taken_back_comes_first_at_the_next_occasion(box: Box) -> None:
    beta = box.drivers["beta"]
    beta._set("c", "x")
    beta.break_next("verify", DriverError("does not come up"))
    beta.break_next("undo", DriverError("stuck"))
    await a_while(box, 6)
    assert alarms(box) == {"configuration-drift", "undo-failed"}
    assert len(box.journal.open_transactions()) == 1
    await commit(box, "t2", 2, OLD)
    assert box.journal.open_transactions() == ()
    assert beta.calls.index("undo c") < len(beta.calls) - 1 - beta.calls[::-1].index("observe")
    await a_while(box)
    assert alarms(box) == set()


async def test_a_function_that_cannot_be_read_is_an_alarm_until_it_can(box: Box) -> None:
    box.drivers["beta"].break_next("observe", DriverError("no answer"))
    await a_while(box, 6)
    assert alarms(box) == {"function-unreadable"}
    await a_while(box, 20)
    assert alarms(box) == set()


async def test_nothing_is_reconciled_while_a_commit_is_in_flight(box: Box) -> None:
    await commit(box, "t2", 2, NEW, until="verify", lasts_s=1000)
    box.drivers["beta"]._set("c", "x")
    await a_while(box, 100)
    assert box.live()["beta"]["c"] == "x"


async def test_irreversible_work_that_is_still_to_be_done_is_no_drift(box: Box) -> None:
    await commit(box, "t2", 2, config({"alpha": {"a": "1", "costly": "1", "bucket": "1"}, "beta": {"c": "1"}}))
    box.drivers["alpha"].break_next("apply", DriverError("away"), times=100)
    await commit(box, "t3", 3, OLD, accept=True)
    await a_while(box)
    assert alarms(box) == {"irreversible-step-failed"}


async def test_the_period_can_be_set_and_is_drawn_around_it(box: Box) -> None:
    assert isinstance(box.clock, VirtualClock)
    async with running(box):
        box.engine.set_reconcile_interval(1000)
        await box.clock.advance(6)
        box.drivers["alpha"].calls.clear()
        await box.clock.advance(990)
        assert "observe" not in box.drivers["alpha"].calls
        await box.clock.advance(20)
        assert "observe" in box.drivers["alpha"].calls


async def test_a_wall_clock_that_is_set_back_puts_off_no_repair(box: Box) -> None:
    assert isinstance(box.clock, VirtualClock)
    async with running(box):
        await box.clock.advance(6)
        box.clock._start -= 86_400.0
        box.drivers["alpha"]._set("a", "changed by hand")
        await box.clock.advance(16)
        assert box.live()["alpha"]["a"] == "1"
