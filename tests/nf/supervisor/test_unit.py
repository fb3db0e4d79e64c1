from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.units import UnitSpec, UnitState
from nf.supervisor.unit import TRANSITIONS, Backoff, TransitionError, UnitEffect, UnitInput, transition

WITH_PROCESS = {UnitState.STARTING, UnitState.READY, UnitState.STOPPING}
EXITS = {UnitInput.DIED, UnitInput.FAILED, UnitInput.COMPLETED}


@pytest.mark.parametrize("state", UnitState)
def test_a_person_may_ask_for_start_and_stop_in_every_state(state: UnitState) -> None:
    assert transition(state, UnitInput.START).state is not UnitState.STOPPED
    assert transition(state, UnitInput.STOP).state in {UnitState.STOPPED, UnitState.STOPPING}


def test_what_is_absent_is_an_error() -> None:
    with pytest.raises(TransitionError, match="stopped on died"):
        transition(UnitState.STOPPED, UnitInput.DIED)


@pytest.mark.parametrize("state", UnitState)
@pytest.mark.parametrize("given_input", sorted(EXITS, key=lambda one: one.name))
def test_an_exit_is_taken_exactly_where_there_is_a_process(state: UnitState, given_input: UnitInput) -> None:
    assert ((state, given_input) in TRANSITIONS) == (state in WITH_PROCESS)
    if state in WITH_PROCESS:
        assert transition(state, given_input).state not in WITH_PROCESS


def test_a_process_appears_by_spawn_or_adoption_only() -> None:
    for (state, given_input), step in TRANSITIONS.items():
        if state not in WITH_PROCESS and step.state in WITH_PROCESS:
            assert step.effect is UnitEffect.SPAWN or given_input is UnitInput.ADOPT


@given(st.lists(st.sampled_from(UnitInput), max_size=40))
def test_stop_leads_to_stopped_from_wherever_a_life_has_led(inputs: list[UnitInput]) -> None:
    state = UnitState.STOPPED
    for item in inputs:
        if (state, item) in TRANSITIONS:
            state = transition(state, item).state
    state = transition(state, UnitInput.STOP).state
    if state is UnitState.STOPPING:
        state = transition(state, UnitInput.DIED).state
    assert state is UnitState.STOPPED


def test_backoff_doubles_to_its_last_and_starts_anew_after_reset() -> None:
    spec = UnitSpec("x", ("x",), backoff_first_s=0.2, backoff_last_s=1.0)
    backoff = Backoff()
    assert [backoff.next_s(spec) for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.next_s(spec) == 0.2


def test_backoff_survives_a_unit_that_dies_for_months() -> None:
    backoff, spec = Backoff(), UnitSpec("x", ("x",))
    assert [backoff.next_s(spec) for _ in range(3000)][-1] == spec.backoff_last_s
