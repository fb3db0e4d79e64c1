"""From whatever an element holds to what it has to hold, in an order that X1 allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.administration.reconcile import Given, Why, applied, done_already, steps
from lawful_intercept.administration.tasking import Wanted, plan
from lawful_intercept.x1.exchange import (
    ActivateTask,
    AllDetails,
    CreateDestination,
    DeactivateTask,
    RemoveDestination,
)
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationRecord,
    DestinationStatus,
    ElementStatus,
    Provisioning,
    TaskRecord,
    TaskStatus,
)
from tests.support.administration import NOON, active, site

NOBODY = Given(frozenset(), frozenset())
EMPTY = AllDetails(ElementStatus())


def wanted(*numbers: int) -> Wanted:
    found = [active(number, liid=f"L{number}") for number in numbers]
    return plan(found, site(), NOON, timedelta())["mdf1"]


def held(*numbers: int, status: TaskStatus | None = None) -> AllDetails:
    one = wanted(*numbers)
    tasks = tuple(TaskRecord(task, status or TaskStatus()) for task in one.tasks.values())
    destinations = tuple(DestinationRecord(each, DestinationStatus()) for each in one.destinations.values())
    return AllDetails(ElementStatus(), tasks, destinations)


def names(found: tuple[object, ...]) -> list[str]:
    return [type(step.request).__name__ for step in found]  # type: ignore[attr-defined]


def test_from_nothing_destinations_first() -> None:
    found = steps(EMPTY, wanted(1), NOBODY)
    assert names(found) == ["CreateDestination", "CreateDestination", "ActivateTask"]
    assert {step.why for step in found} == {Why.DUE}


def test_what_is_held_needs_nothing() -> None:
    assert steps(held(1, 2), wanted(1, 2), NOBODY) == ()


def test_the_order_of_targets_is_none() -> None:
    one = held(1)
    task = one.tasks[0].details
    turned = replace(one, tasks=(TaskRecord(replace(task, targets=task.targets[::-1]), TaskStatus()),))
    assert steps(turned, wanted(1), NOBODY) == ()


def test_what_this_admf_never_gave_is_removed_and_told() -> None:
    (step,) = steps(held(1, 2), wanted(1), NOBODY)
    assert isinstance(step.request, DeactivateTask)
    assert step.why is Why.UNKNOWN
    xid = step.request.xid
    (step,) = steps(held(1, 2), wanted(1), Given(frozenset(), {xid}))
    assert step.why is Why.DUE


def test_what_was_given_and_is_gone_is_given_again_and_told() -> None:
    gone = frozenset(wanted(1).tasks)
    tasks = [step for step in steps(EMPTY, wanted(1), Given(gone, gone)) if isinstance(step.request, ActivateTask)]
    assert [step.why for step in tasks] == [Why.LOST]


def test_what_is_held_otherwise_is_put_right() -> None:
    one = held(1)
    other = replace(one.tasks[0].details, delivery=DeliveryType.X2_ONLY)
    wrong = replace(one, tasks=(TaskRecord(other, TaskStatus()),))
    assert names(steps(wrong, wanted(1), NOBODY)) == ["ModifyTask"]
    failed = held(1, status=TaskStatus(provisioning=Provisioning.FAILED))
    assert names(steps(failed, wanted(1), NOBODY)) == ["ModifyTask"]


def test_a_refusal_that_says_so_is_no_refusal() -> None:
    assert done_already(DeactivateTask(UUID(int=1)), 2020)
    assert done_already(RemoveDestination(UUID(int=1)), 2040)
    assert not done_already(DeactivateTask(UUID(int=1)), 4000)


@given(st.sets(st.integers(1, 5)), st.sets(st.integers(1, 5)))
def test_steps_lead_there_and_end(have: set[int], want: set[int]) -> None:
    state, goal = held(*have), wanted(*want)
    for step in steps(state, goal, NOBODY):
        tasks = {record.details.xid for record in state.tasks}
        destinations = {record.details.did for record in state.destinations}
        if isinstance(step.request, CreateDestination):
            assert step.request.details.did not in destinations
        if isinstance(step.request, ActivateTask):
            assert step.request.details.xid not in tasks
            assert set(step.request.details.destinations) <= destinations
        if isinstance(step.request, RemoveDestination):
            assert not [one for one in state.tasks if step.request.did in one.details.destinations]
        state = applied(state, step.request)
    assert {record.details.xid for record in state.tasks} == goal.tasks.keys()
    assert steps(state, goal, NOBODY) == ()
