from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.satellite.fade import (
    BeaconState,
    FadeKind,
    LinkReference,
    estimate,
    scale_attenuation_db,
    slope_db_per_s,
    uplink_to_beacon,
)

REFERENCE = LinkReference({"pop1": 13.0, "pop2": 14.0}, beacon_db=-60.0)
ALONE = LinkReference({"pop1": 13.0}, beacon_db=-60.0)
fades = st.floats(0, 20)


def beacon(uplink_db: float) -> float:
    return -60.0 - uplink_db / 1.48


@given(fades, fades, st.floats(-2, 10))
def test_an_uplink_fade_and_one_sites_are_told_apart(uplink: float, site: float, tx_offset: float) -> None:
    found = estimate(
        REFERENCE,
        beacon_db=beacon(uplink),
        es_n0_db={"pop1": 13.0 + tx_offset - uplink - site, "pop2": 14.0 + tx_offset - uplink},
        tx_offset_db=tx_offset,
    )
    assert found.beacon is BeaconState.GOOD
    assert found.uplink_db == pytest.approx(uplink, abs=1e-6)
    assert found.common_db == pytest.approx(uplink, abs=1e-6)
    assert found.site_db["pop1"] == pytest.approx(site, abs=1e-6)
    assert found.site_db["pop2"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("uplink", "sites", "kind"),
    [
        (0.0, (0.0, 0.0), FadeKind.CLEAR),
        (5.0, (0.0, 0.0), FadeKind.UPLINK),
        (0.0, (5.0, 0.0), FadeKind.SITE),
        (4.0, (5.0, 0.0), FadeKind.UPLINK_AND_SITE),
        (0.0, (3.0, 4.0), FadeKind.COMMON),
    ],
)
def test_kinds_of_fades(uplink: float, sites: tuple[float, float], kind: FadeKind) -> None:
    seen = {"pop1": 13.0 - uplink - sites[0], "pop2": 14.0 - uplink - sites[1]}
    assert estimate(REFERENCE, beacon_db=beacon(uplink), es_n0_db=seen, tx_offset_db=0.0).kind is kind


def test_one_receiver_out_of_lock_is_that_sites_fade() -> None:
    found = estimate(REFERENCE, beacon_db=-60.0, es_n0_db={"pop1": None, "pop2": 14.0}, tx_offset_db=0.0)
    assert found.kind is FadeKind.SITE
    assert (found.common_db, found.site_db["pop1"]) == (0.0, math.inf)


def test_a_single_receiver_cannot_blame_the_uplink_against_the_beacon() -> None:
    found = estimate(ALONE, beacon_db=-60.0, es_n0_db={"pop1": 5.0}, tx_offset_db=0.0)
    assert found.kind is FadeKind.SITE
    assert (found.common_db, found.uplink_db, found.site_db["pop1"]) == (0.0, 0.0, 8.0)
    unread = estimate(ALONE, beacon_db=None, es_n0_db={"pop1": 5.0}, tx_offset_db=0.0)
    assert (unread.kind, unread.common_db) == (FadeKind.UNKNOWN, None)


def test_a_beacon_that_no_receiver_confirms_is_not_believed() -> None:
    found = estimate(REFERENCE, beacon_db=beacon(8.0), es_n0_db={"pop1": 13.0, "pop2": 14.0}, tx_offset_db=0.0)
    assert (found.beacon, found.uplink_db) == (BeaconState.SUSPECT, 0.0)
    alone = estimate(REFERENCE, beacon_db=beacon(8.0), es_n0_db={}, tx_offset_db=0.0)
    assert (alone.beacon, alone.kind) == (BeaconState.GOOD, FadeKind.UPLINK)


def test_a_fade_that_has_just_gone_still_explains_what_receivers_report() -> None:
    seen = {"pop1": 9.0, "pop2": 10.0}
    late = estimate(REFERENCE, beacon_db=beacon(0.5), es_n0_db=seen, tx_offset_db=0.0, recent_uplink_db=4.0)
    assert late.unexplained_db == 0.0
    assert estimate(REFERENCE, beacon_db=beacon(0.5), es_n0_db=seen, tx_offset_db=0.0).kind is FadeKind.COMMON


def test_receivers_that_are_not_in_the_plan_do_not_count() -> None:
    seen = {"pop1": 13.0, "pop2": 14.0, "elsewhere": -20.0}
    found = estimate(REFERENCE, beacon_db=-60.0, es_n0_db=seen, tx_offset_db=0.0)
    assert set(found.site_db) == {"pop1", "pop2"}
    assert REFERENCE.worst_es_n0_db == 13.0


@given(st.floats(-2, 2), st.floats(-50, 50), st.integers(3, 20))
def test_the_slope_of_a_straight_line_is_found(slope: float, start: float, count: int) -> None:
    assert slope_db_per_s([(at, start + slope * at) for at in range(count)]) == pytest.approx(slope, abs=1e-6)


def test_too_few_samples_have_no_slope() -> None:
    assert slope_db_per_s([(0, 0), (1, 5)]) == 0.0
    assert slope_db_per_s([(1, 0), (1, 5), (1, 7)]) == 0.0


def test_frequency_scaling_is_near_the_full_calculation() -> None:
    """Full P.618 at Paris, elevation 35 degrees, 0.01 %: 4.23 dB at 11.7 GHz and 6.51 dB at 14.25 GHz."""
    assert uplink_to_beacon(11.7e9, 14.25e9) == pytest.approx(1.48, abs=0.005)
    assert scale_attenuation_db(4.23, 11.7e9, 14.25e9) == pytest.approx(6.51, abs=0.5)


@given(st.floats(0, 40), st.floats(7e9, 55e9), st.floats(7e9, 55e9))
def test_more_frequency_is_more_attenuation(attenuation: float, first_hz: float, second_hz: float) -> None:
    scaled = scale_attenuation_db(attenuation, first_hz, second_hz)
    if first_hz <= second_hz:
        assert scaled >= attenuation * 0.999
    assert scale_attenuation_db(attenuation, first_hz, first_hz) == pytest.approx(attenuation)
