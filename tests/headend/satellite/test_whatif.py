from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.satellite.whatif import plan_fade
from tests.headend.satellite.link import POWER, REFERENCE, RUNGS, SETTINGS, Link, ramp


def test_six_decibels_cost_power_only() -> None:
    plan = plan_fade(RUNGS, REFERENCE, POWER, SETTINGS, 6.0)
    assert (plan.relocks, plan.power_db, plan.lowest, plan.outage_s) == (0, 6.0, RUNGS[0], {})
    assert [event.text for event in plan.events] == ["uplink power reaches its cap, -14.0 dBm"]
    assert plan.recovered


def test_twelve_decibels_say_who_leaves_and_who_comes_back() -> None:
    plan = plan_fade(RUNGS, REFERENCE, POWER, SETTINGS, 12.0)
    text = "\n".join(plan.explain())
    assert plan.lowest.left_out == ("shop",)
    assert "one receiver relock (8PSK 3/4 to QPSK 1/2)" in text
    assert "shop left out (uplink power is at its cap)" in text
    assert "shop back" in text
    assert text.endswith("all comes back")
    assert plan.outage_s == {}


def test_it_says_what_the_link_then_does() -> None:
    """The link of the adaptation's tests has delays that the plan does not: the same MODCODs all the same."""
    for depth in (6.0, 12.0):
        plan = plan_fade(RUNGS, REFERENCE, POWER, SETTINGS, depth)
        flown = Link(uplink=ramp(depth, 0.5)).run(340)
        assert plan.relocks == len(flown.relocks)


def test_one_sites_fade_moves_that_site_only() -> None:
    plan = plan_fade(RUNGS, REFERENCE, POWER, SETTINGS, 10.0, site="pop1")
    assert (plan.relocks, plan.power_db, plan.lowest) == (0, 0.0, RUNGS[0])
    assert [event.text for event in plan.events] == ["pop1 takes its next path", "pop1 takes the satellite again"]
    assert set(plan.outage_s) == {"pop1"}
    assert plan.explain()[0].startswith("downlink of pop1")


def test_a_fade_below_every_modcod_is_said_to_be_an_outage() -> None:
    plan = plan_fade(RUNGS, REFERENCE, POWER, SETTINGS, 25.0, slope_db_per_s=1.0)
    assert plan.lowest == RUNGS[-1]
    assert plan.outage_s["pop1"] > 10
    assert "would be out of lock" in "\n".join(plan.explain())


@settings(deadline=None, max_examples=25)
@given(st.floats(0.5, 20), st.floats(0.05, 1.0))
def test_deeper_fades_never_need_less(fade_db: float, slope: float) -> None:
    plan = plan_fade(RUNGS, REFERENCE, POWER, SETTINGS, fade_db, slope_db_per_s=slope)
    assert plan.recovered
    assert plan.power_db <= POWER.headroom_db
    assert plan.power_db == pytest.approx(min(fade_db, POWER.headroom_db), abs=0.35)
    assert all(0 <= event.fade_db <= fade_db for event in plan.events)
