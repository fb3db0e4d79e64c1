from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.satellite.fade import BeaconState, FadeEstimate, FadeKind
from headend.satellite.power import PowerControl
from headend.satellite.ulpc import TABLE, BeaconInput, Mode, Ulpc, UlpcSettings, advance, psd_cap_dbm, start

SETTINGS = UlpcSettings(clear_dbm=-20.0, cap_dbm=-14.0)
readings = st.lists(st.tuples(st.floats(0.05, 10), st.one_of(st.none(), st.floats(0, 25))), max_size=60)


def run(settings: UlpcSettings, trace: list[tuple[float, float | None]]) -> list[Ulpc]:
    state, now_s = start(settings, 0.0), 0.0
    states = [state]
    for elapsed_s, fade_db in trace:
        now_s += elapsed_s
        state = advance(settings, state, fade_db, now_s)
        states.append(state)
    return states


@given(readings, st.floats(-25, -10), st.one_of(st.none(), st.floats(-25, -10)), st.floats(0, 1))
def test_no_trace_takes_power_above_a_cap(
    trace: list[tuple[float, float | None]], cap: float, psd_cap: float | None, fraction: float
) -> None:
    settings = UlpcSettings(clear_dbm=-20.0, cap_dbm=cap, psd_cap_dbm=psd_cap, fraction=fraction)
    for state in run(settings, trace):
        assert state.level_dbm <= min(cap, psd_cap if psd_cap is not None else cap) + 1e-9


@given(readings)
def test_no_step_is_faster_than_the_slew(trace: list[tuple[float, float | None]]) -> None:
    states, now_s = run(SETTINGS, trace), 0.0
    moved_s = 0.0
    for before, after, (elapsed_s, _) in zip(states, states[1:], trace, strict=False):
        now_s += elapsed_s
        if after.level_dbm != before.level_dbm:
            assert abs(after.level_dbm - before.level_dbm) <= 0.5 * (now_s - moved_s) + 1e-6
            moved_s = now_s
        assert after.at_s <= now_s


@given(st.floats(0.1, 20), st.floats(0, 1))
def test_power_settles_at_the_answered_share(fade_db: float, fraction: float) -> None:
    settings = UlpcSettings(clear_dbm=-20.0, cap_dbm=-14.0, fraction=fraction)
    level = run(settings, [(1.0, fade_db)] * 60)[-1].level_dbm
    assert level == pytest.approx(-20 + min(fade_db * fraction, 6.0), abs=0.31)


def test_without_a_beacon_power_stays_then_goes_back() -> None:
    ramp: list[tuple[float, float | None]] = [(1.0, 5.0)] * 20
    before = run(SETTINGS, ramp)[-1]
    assert before.level_dbm == -15.0
    held = run(SETTINGS, [*ramp, *[(1.0, None)] * 60])
    assert {(state.mode, state.level_dbm) for state in held[21:]} == {(Mode.FROZEN, -15.0)}
    gone = run(SETTINGS, [*ramp, *[(1.0, None)] * 200])[-1]
    assert gone.mode is Mode.DECAYING
    assert gone.level_dbm == pytest.approx(-20.0, abs=0.31)
    back = run(SETTINGS, [*ramp, *[(1.0, None)] * 200, *[(1.0, 5.0)] * 20])[-1]
    assert (back.mode, back.level_dbm) == (Mode.TRACKING, -15.0)


def test_short_intervals_still_reach_the_slew() -> None:
    assert run(SETTINGS, [(0.05, 6.0)] * 200)[-1].level_dbm == pytest.approx(-15.0, abs=0.2)


def test_what_the_table_does_not_have_is_an_error() -> None:
    assert (Mode.TRACKING, BeaconInput.OVERDUE) not in TABLE
    assert (Mode.DECAYING, BeaconInput.MISSING) not in TABLE


def test_the_limit_on_eirp_density_gives_a_level() -> None:
    # 30 Msym/s at -30 dBW/Hz is 44.8 dBW of EIRP; with 90 dB from the modem's output that is -45.2 dBW, -15.2 dBm.
    assert psd_cap_dbm(-30.0, symbol_rate_baud=30e6, gain_db=90.0) == pytest.approx(-15.23, abs=0.01)
    settings = UlpcSettings(clear_dbm=-20.0, cap_dbm=-10.0, psd_cap_dbm=-15.23)
    assert (settings.ceiling_dbm, settings.headroom_db) == (-15.23, pytest.approx(4.77))
    assert UlpcSettings(clear_dbm=-20.0, cap_dbm=-22.0).headroom_db == 0.0


def uplink(fade_db: float) -> FadeEstimate:
    return FadeEstimate(BeaconState.GOOD, FadeKind.UPLINK, fade_db, fade_db, 0.0, {})


def test_under_risk_power_answers_more_than_the_beacon_says_but_within_the_cap() -> None:
    control = PowerControl(SETTINGS, onset_db=1.0, now_s=0.0)
    for now in range(1, 30):
        control.update(float(now), uplink(4.0), at_risk=False)
    assert control.level_dbm == -16.0
    assert control.left_db(4.0) == pytest.approx(1.2)
    assert control.coming_db(4.0, 1.0) == 0.5
    for now in range(30, 60):
        control.update(float(now), uplink(4.0), at_risk=True)
    assert control.level_dbm == pytest.approx(-14.8, abs=0.25)
    assert not control.left_db(4.0)
    for now in range(60, 90):
        control.update(float(now), uplink(6.0), at_risk=True)
    assert control.at_cap
    assert control.level_dbm <= -14.0
    control.reset(90.0)
    assert control.level_dbm == -20.0


def test_no_fade_is_answered_with_no_power_at_any_risk() -> None:
    control = PowerControl(SETTINGS, onset_db=1.0, now_s=0.0)
    assert [control.update(float(now), uplink(0.0), at_risk=True) for now in range(30)] == [None] * 30
    assert control.unfounded_db() == 0.0
