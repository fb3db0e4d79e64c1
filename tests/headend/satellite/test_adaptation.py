"""The adaptation flown over a link with its own delays, through ramps and random weather."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.satellite.actions import (
    Alarm,
    AlarmKind,
    LeaveSite,
    Observation,
    Reason,
    ReturnSite,
    SetPower,
    StepDown,
    StepUp,
)
from headend.satellite.adaptation import Adaptation, State, problems
from headend.satellite.fade import LinkReference
from headend.satellite.ulpc import Mode
from tests.headend.satellite.link import (
    BEACON_DBM,
    POWER,
    REFERENCE,
    RUNGS,
    SETTINGS,
    Fade,
    Link,
    ramp,
)

flights = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
QUIET_S = 5.0


def weather(legs: list[tuple[float, float]], *, top_db: float = 16.0, quiet_s: float = QUIET_S) -> tuple[Fade, float]:
    """Legs of (seconds, dB/s) one after the other, then back to clear sky at 0.5 dB/s. Returns the fade and its end."""
    points = [(0.0, 0.0), (quiet_s, 0.0)]
    for seconds, slope in legs:
        at_s, depth = points[-1]
        points.append((at_s + seconds, min(top_db, max(0.0, depth + slope * seconds))))
    at_s, depth = points[-1]
    points.append((at_s + depth / 0.5 + 0.001, 0.0))

    def fade(now_s: float) -> float:
        for (from_s, low), (to_s, high) in pairwise(points):
            if from_s <= now_s < to_s:
                return low + (high - low) * (now_s - from_s) / (to_s - from_s)
        return 0.0

    return fade, points[-1][0]


legs = st.lists(st.tuples(st.floats(2, 40), st.floats(-1, 1)), min_size=1, max_size=5)
gentle_legs = st.lists(st.tuples(st.floats(2, 40), st.floats(-0.5, 0.5)), min_size=1, max_size=5)
seeds = st.integers(0, 2**16)


def noisy(seed: int, sigma_db: float = 0.08) -> Link:
    generator = random.Random(seed)  # noqa: S311 - measurement noise of a test
    return Link(noise=lambda: generator.gauss(0, sigma_db))


def assert_the_rules_hold(link: Link) -> None:
    """What holds whatever the weather does."""
    assert not link.overfilled
    assert all(action.level_dbm <= POWER.ceiling_dbm for action in link.of(SetPower) if isinstance(action, SetPower))
    for earlier, later in pairwise(link.relocks):
        assert later - earlier >= SETTINGS.dwell_s
    levels = [level for _, level in link.levels]
    for earlier_level, later_level in pairwise(levels):
        assert abs(later_level - earlier_level) <= 0.5 * 2 + 1e-6
    for at_s, action in link.actions:
        if isinstance(action, StepDown):
            assert_last_resort(link, at_s, action)
        if isinstance(action, StepUp):
            assert link.rungs.index(action.rung_from) - link.rungs.index(action.rung_to) == 1


def assert_last_resort(link: Link, at_s: float, step: StepDown) -> None:
    """Power is at its cap, or could not have come in time: by the weather itself, not by what the controller says."""
    if step.reason is Reason.POWER_AT_CAP:
        assert link.level_dbm(at_s + 0.15) >= POWER.ceiling_dbm - 0.3
        return
    assert step.reason is Reason.TOO_LATE
    ahead_s = SETTINGS.step_duration_s + SETTINGS.loop_delay_s
    recent = max(0.0, link.uplink(at_s) - link.uplink(at_s - SETTINGS.slope_window_s)) / SETTINGS.slope_window_s
    deepening = max(recent, (link.uplink(at_s) - link.uplink(at_s - 2)) / 2, 0.0)
    worst = min(link.es_n0_db(name, at_s) for name in link.reference.es_n0_db)
    ahead_db = worst - deepening * ahead_s + POWER.slew_db_per_s * SETTINGS.step_duration_s
    assert ahead_db < step.rung_from.required_es_n0_db + SETTINGS.margin_down_db + 1.5


@pytest.mark.parametrize("slope", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("depth", [4.0, 6.0, 9.0, 12.0])
def test_an_uplink_fade_and_back_loses_no_lock(depth: float, slope: float) -> None:
    link = Link(uplink=ramp(depth, slope)).run(20 + 2 * depth / slope + 60 + 200)
    assert link.lost == []
    assert_the_rules_hold(link)
    assert link.controller.rung is RUNGS[0]
    assert dict(link.rates) == dict(RUNGS[0].services)
    assert link.controller.level_dbm == pytest.approx(POWER.clear_dbm, abs=0.3)


def test_twelve_decibels_take_power_first_then_one_step_down_and_all_comes_back() -> None:
    link = Link(uplink=ramp(12.0, 0.5)).run(340)
    downs = [(at_s, action) for at_s, action in link.actions if isinstance(action, StepDown)]
    ups = [action for action in link.of(StepUp) if isinstance(action, StepUp)]
    [(down_s, down)] = downs
    assert down.reason is Reason.POWER_AT_CAP
    assert max(level for at_s, level in link.levels if at_s <= down_s) == POWER.cap_dbm
    assert down.rung_to.left_out == ("shop",)
    assert down.disruption == ("one receiver relock (8PSK 3/4 to QPSK 1/2); news, film at a lower rate; shop left out")
    assert [up.rung_to.modcod.name for up in ups] == ["QPSK 3/4", "8PSK 3/4"]
    assert len(link.relocks) == 3
    raised = {action.kind for action in link.of(Alarm) if isinstance(action, Alarm) and action.raised}
    assert raised == {AlarmKind.UPLINK_FADE, AlarmKind.POWER_AT_CAP, AlarmKind.REDUCED}
    cleared = {action.kind for action in link.of(Alarm) if isinstance(action, Alarm) and not action.raised}
    assert cleared == raised
    assert link.controller.sites_away == frozenset()


def test_what_power_can_answer_costs_no_relock() -> None:
    link = Link(uplink=ramp(6.0, 0.5)).run(200)
    assert (link.relocks, link.lost) == ([], [])
    assert max(level for _, level in link.levels) == pytest.approx(POWER.cap_dbm, abs=0.21)


@flights
@given(gentle_legs, seeds)
def test_fades_up_to_half_a_decibel_a_second_lose_no_lock(trace: list[tuple[float, float]], seed: int) -> None:
    link = noisy(seed)
    link.uplink, end_s = weather(trace, top_db=12.0)
    link.run(end_s + 150)
    assert link.lost == []
    assert_the_rules_hold(link)
    assert link.controller.rung is RUNGS[0]


@flights
@given(legs, seeds)
def test_the_rules_hold_in_any_weather(trace: list[tuple[float, float]], seed: int) -> None:
    link = noisy(seed)
    link.uplink, end_s = weather(trace)
    link.run(end_s + 200)
    assert_the_rules_hold(link)
    assert link.controller.rung is RUNGS[0]
    assert link.controller.state is State.STEADY
    assert link.controller.level_dbm == pytest.approx(POWER.clear_dbm, abs=0.5)


@flights
@given(legs, seeds, st.sampled_from(["pop1", "pop2"]))
def test_one_sites_fade_never_changes_the_carrier(trace: list[tuple[float, float]], seed: int, site: str) -> None:
    link = noisy(seed)
    fade, end_s = weather(trace, top_db=25.0)
    link.sites = {site: fade}
    link.run(end_s + 60)
    assert link.of(StepDown, StepUp) == []
    assert all(abs(level - POWER.clear_dbm) <= 0.75 for _, level in link.levels)
    changes = link.of(LeaveSite, ReturnSite)
    assert changes == [LeaveSite(site), ReturnSite(site)] * (len(changes) // 2)
    assert link.controller.sites_away == frozenset()
    assert {name for _, name in link.lost} <= {site}


@flights
@given(legs, legs, seeds)
def test_a_sites_fade_on_top_of_the_uplinks_changes_nothing_for_the_others(
    trace: list[tuple[float, float]], other: list[tuple[float, float]], seed: int
) -> None:
    """The carrier does what it would have done without that site."""
    plain, both = noisy(seed), noisy(seed)
    plain.noise = both.noise = lambda: 0.0
    plain.uplink, end_s = weather(trace)
    both.uplink = plain.uplink
    both.sites = {"pop2": weather(other, top_db=25.0)[0]}
    for link in (plain, both):
        link.reference = replace(REFERENCE, es_n0_db={"pop1": 13.0, "pop2": 13.0})
        link.__post_init__()
        link.run(end_s + 60)
    assert_the_rules_hold(both)
    steps = [[action.rung_to.modcod.name for action in link.of(StepDown, StepUp)] for link in (plain, both)]
    assert steps[0] == steps[1]


def test_a_site_leaves_and_comes_back_with_hysteresis() -> None:
    link = Link(sites={"pop1": ramp(8.0, 0.5, hold_s=20)}).run(150)
    (left_s, left), (back_s, back) = [
        (at_s, action) for at_s, action in link.actions if isinstance(action, LeaveSite | ReturnSite)
    ]
    assert (left, back) == (LeaveSite("pop1"), ReturnSite("pop1"))
    # It leaves before it is lost, and is back 30 s after its reception is good.
    assert left_s < min(at_s for at_s, _ in link.lost)
    assert back_s - max(at_s for at_s, _ in link.lost) >= SETTINGS.up_hold_s
    kinds = [action.kind for action in link.of(Alarm) if isinstance(action, Alarm)]
    assert kinds == [AlarmKind.SITE_FADE, AlarmKind.SITE_FADE]


def test_a_beacon_that_is_lost_freezes_power_and_receivers_still_save_the_carrier() -> None:
    link = Link(uplink=ramp(9.0, 0.25, hold_s=20), beacon=lambda now_s: None if now_s > 24 else BEACON_DBM)
    link.run(60)
    assert link.controller.power_mode is Mode.FROZEN
    assert all(level == POWER.clear_dbm for _, level in link.levels)
    reasons = {action.reason for action in link.of(StepDown) if isinstance(action, StepDown)}
    assert reasons == {Reason.POWER_HELD}
    assert link.lost == []
    assert AlarmKind.BEACON_LOST in {action.kind for action in link.of(Alarm) if isinstance(action, Alarm)}


def test_a_beacon_receiver_that_fails_moves_neither_power_nor_carrier() -> None:
    link = Link(beacon=lambda now_s: BEACON_DBM - (9.0 if now_s > 20 else 0.0)).run(200)
    assert link.of(SetPower, StepDown, StepUp) == []
    [alarm] = [action for action in link.of(Alarm) if isinstance(action, Alarm)]
    assert (alarm.kind, alarm.raised) == (AlarmKind.BEACON_SUSPECT, True)


def test_all_sites_fading_under_a_clear_beacon_get_no_power_but_a_robuster_carrier() -> None:
    fade = ramp(7.0, 0.25)
    link = Link(sites={"pop1": fade, "pop2": fade}).run(90)
    assert link.of(SetPower) == []
    reasons = {action.reason for action in link.of(StepDown) if isinstance(action, StepDown)}
    assert reasons == {Reason.COMMON_FADE}
    assert link.lost == []


def test_a_beacon_that_underrates_the_fade_is_helped_by_power_under_risk() -> None:
    link = Link(uplink=ramp(4.0, 0.25), uplink_to_beacon=1.9)
    link.reference = replace(REFERENCE, es_n0_db={"pop1": 10.2, "pop2": 10.3})
    link.__post_init__()
    link.run(200)
    assert (link.of(StepDown), link.lost) == ([], [])


def controller() -> Adaptation:
    made = Adaptation(RUNGS, REFERENCE, POWER, SETTINGS, now_s=0.0)
    for now in range(12):
        assert made.observe(clear(float(now))) == ()
    assert made.state is State.STEADY
    return made


def clear(at_s: float) -> Observation:
    return Observation(at_s, {"pop1": 13.0, "pop2": 14.0}, BEACON_DBM)


def failing(at_s: float) -> Observation:
    """Both receivers at the edge, the beacon clear."""
    return Observation(at_s, {"pop1": 8.5, "pop2": 9.5}, BEACON_DBM)


def test_a_step_that_failed_is_asked_for_again_after_the_dwell() -> None:
    made = controller()
    [down] = [action for action in made.observe(failing(12.0)) if isinstance(action, StepDown)]
    assert made.state is State.CHANGING
    assert not [action for action in made.observe(failing(13.0)) if isinstance(action, StepDown)]
    made.step_failed(14.0, "the mux did not take its rates")
    assert made.rung is RUNGS[0]
    alarms = [action for action in made.observe(failing(15.0)) if isinstance(action, Alarm)]
    assert [(alarm.kind, alarm.text) for alarm in alarms] == [(AlarmKind.STEP_FAILED, "the mux did not take its rates")]
    assert not [action for action in made.observe(failing(23.0)) if isinstance(action, StepDown)]
    [again] = [action for action in made.observe(failing(24.0)) if isinstance(action, StepDown)]
    assert again.rung_from == down.rung_from
    made.step_done(26.0, again.rung_to)
    assert made.rung == again.rung_to
    assert AlarmKind.STEP_FAILED in {a.kind for a in made.observe(failing(27.0)) if isinstance(a, Alarm)}


def test_what_the_table_does_not_have_is_an_error() -> None:
    made = controller()
    with pytest.raises(KeyError):
        made.step_done(20.0, RUNGS[1])
    with pytest.raises(ValueError, match="not in"):
        made.step_done(20.0, replace(RUNGS[0], left_out=("x",)))


def test_off_the_air_nothing_is_done_and_power_is_clear_skys() -> None:
    made = controller()
    faded = {"pop1": 11.0, "pop2": 12.0}
    for now in range(12, 20):
        made.observe(Observation(float(now), faded, BEACON_DBM - 1.4))
    assert made.level_dbm > POWER.clear_dbm
    actions = made.observe(Observation(20.0, {"pop1": None, "pop2": None}, BEACON_DBM - 3.0, muted=True))
    assert SetPower(POWER.clear_dbm) in actions
    assert made.state is State.MUTED
    assert made.es_n0_db is None
    assert made.margin_db is None
    assert made.observe(Observation(21.0, {"pop1": None, "pop2": None}, None, muted=True)) == ()
    assert not [a for a in made.observe(failing(22.0)) if isinstance(a, StepDown)]
    assert made.state is State.DWELL


def test_no_receiver_and_no_beacon_change_nothing() -> None:
    made = controller()
    seen = [action for now in range(12, 60) for action in made.observe(Observation(float(now), {}, None))]
    assert {action.kind for action in seen if isinstance(action, Alarm)} == {
        AlarmKind.NO_TELEMETRY,
        AlarmKind.BEACON_LOST,
    }
    assert len(seen) == 2


def test_a_carrier_lost_in_clear_sky_is_an_alarm_and_no_matter_of_modcods() -> None:
    made = controller()
    lost = {"pop1": None, "pop2": None}
    seen = [action for now in range(12, 60) for action in made.observe(Observation(float(now), lost, BEACON_DBM))]
    [alarm] = seen
    assert isinstance(alarm, Alarm)
    assert (alarm.kind, alarm.raised) == (AlarmKind.CARRIER_LOST, True)


def test_at_the_last_rung_only_an_alarm_is_left() -> None:
    made = Adaptation(RUNGS, REFERENCE, POWER, SETTINGS, now_s=0.0, rung=len(RUNGS) - 1)
    deep = {"pop1": -1.5, "pop2": -0.5}
    seen = [action for now in range(40) for action in made.observe(Observation(float(now), deep, BEACON_DBM - 10))]
    assert not [action for action in seen if isinstance(action, StepDown)]
    assert AlarmKind.NO_LOWER_RUNG in {action.kind for action in seen if isinstance(action, Alarm)}


def test_a_receiver_that_could_never_come_back_to_the_top_is_a_problem() -> None:
    assert problems(RUNGS, REFERENCE, SETTINGS) == ()
    thin = LinkReference({"pop1": 9.0, "pop2": 14.0}, beacon_db=None)
    [problem] = problems(RUNGS, thin, SETTINGS, key="spec.x")
    assert (problem.key, problem.value) == ("spec.x", "pop1")
    assert "needs 9.6 dB" in problem.rule
