"""When VIPs are announced, over any history of probes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.media.anycast.documents import Health, Vip
from nf.media.anycast.machine import TABLE, Input, State, VipMachine


def run(history: str, *, hold_s: float = 1.0, announced: bool = False) -> VipMachine:
    """`.` well, `x` failed, one each quarter of a second."""
    machine = VipMachine(hold_s, 0.0, announced=announced)
    for number, what in enumerate(history):
        machine.probed("hung" if what == "x" else "", number * 0.25)
    return machine


def test_a_cache_that_is_well_is_proved_by_the_vip_before_it_is_announced() -> None:
    assert run(".").state is State.ARMED
    assert run(".").effect.own
    assert not run(".").effect.announced
    assert run("..").effect.announced
    assert run(".x").state is State.SHUT


def test_one_failure_is_none_and_two_withdraw() -> None:
    assert run("..x").effect.announced
    assert run("..x.").state is State.OPEN
    machine = run("..xx")
    assert not machine.effect.own
    assert machine.why == "hung"


def test_what_was_withdrawn_has_to_be_well_for_the_hold_time() -> None:
    assert run("..xx....").state is State.HELD
    assert run("..xx.....").state is State.ARMED
    assert run("..xx......").state is State.OPEN
    assert run("..xx...x....").state is State.HELD  # the hold begins anew


def test_an_earlier_life_is_kept_until_probes_say_otherwise() -> None:
    assert run("", announced=True).effect.announced
    assert run("x", announced=True).effect.announced
    assert not run("xx", announced=True).effect.announced


@given(st.text(alphabet=".x", max_size=200))
def test_a_flapping_cache_changes_routes_no_oftener_than_hold_allows(history: str) -> None:
    machine, before, withdrawn = VipMachine(2.0, 0.0, announced=False), False, 0
    for number, what in enumerate(history):
        machine.probed("hung" if what == "x" else "", number * 0.25)
        withdrawn += before and not machine.effect.announced
        before = machine.effect.announced
        assert machine.effect.own or not machine.effect.announced
    assert withdrawn <= 1 + len(history) * 0.25 / 2.0


def test_every_state_knows_every_probe() -> None:
    assert {state for state, given_ in TABLE if given_ is Input.WELL} == set(State)
    assert {state for state, given_ in TABLE if given_ is Input.FAILED} == set(State)


def test_what_documents_may_not_say() -> None:
    with pytest.raises(ValueError, match="is not in"):
        Vip.model_validate({"address": "198.18.0.53", "prefix": "198.18.1.0/24"})
    with pytest.raises(ValueError, match="longer than until the next"):
        Health.model_validate({"interval": "250ms", "timeout": "300ms"})
