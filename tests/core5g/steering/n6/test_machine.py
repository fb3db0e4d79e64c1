"""The gate's table: every state hears every input that can come, and two failures in a row shut it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.steering.n6.machine import TABLE, GateMachine, Input, State


def test_every_state_hears_every_input_and_only_a_held_gate_waits() -> None:
    for state in State:
        assert {given for left, given in TABLE if left is state} >= {Input.WELL, Input.FAILED, Input.LINK_DOWN}
    assert [state for state, given in TABLE if given is Input.HELD_LONG] == [State.HELD]


def test_it_leaves_the_kernel_as_it_was_until_it_knows() -> None:
    gate = GateMachine(2.0, 0.0)
    assert gate.steers is None
    gate.probed("silent", 0.1)
    assert gate.steers is None
    gate.probed("silent", 0.2)
    assert (gate.steers, gate.why, gate.since) == (False, "silent", 0.2)


def test_one_failure_is_doubted_and_two_shut() -> None:
    gate = GateMachine(2.0, 0.0)
    gate.probed("", 0.0)
    gate.probed("silent", 1.0)
    assert (gate.state, gate.steers, gate.why) == (State.DOUBTED, True, "the cache is well")
    gate.probed("", 2.0)
    gate.probed("silent", 3.0)
    gate.probed("silent", 4.0)
    assert (gate.steers, gate.since) == (False, 4.0)


def test_it_opens_when_the_cache_has_been_well_for_the_hold_time() -> None:
    gate = GateMachine(2.0, 0.0)
    gate.link_down("eth1", 0.0)
    assert (gate.steers, gate.why) == (False, "the link eth1 is down")
    gate.probed("", 1.0)
    gate.probed("silent", 2.0)
    gate.probed("", 2.5)
    gate.probed("", 4.4)
    assert gate.steers is False
    gate.probed("", 4.5)
    assert (gate.steers, gate.why, gate.since) == (True, "the cache is well", 4.5)


@given(st.lists(st.sampled_from(["well", "failed", "down"]), max_size=30))
def test_whatever_comes_it_never_steers_after_two_failures_or_a_lost_link(events: list[str]) -> None:
    gate, failures = GateMachine(1.0, 0.0), 0
    for now, event in enumerate(events):
        if event == "down":
            gate.link_down("eth1", now)
        else:
            gate.probed("" if event == "well" else "silent", now)
        failures = failures + 1 if event == "failed" else 0
        if event == "down" or failures >= 2:
            assert gate.steers is False


def test_what_is_not_in_the_table_is_an_error() -> None:
    gate = GateMachine(1.0, 0.0)
    with pytest.raises(KeyError):
        gate._take(Input.HELD_LONG, "", 0.0)
