from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.satellite.budget import slant_range_km
from headend.satellite.geometry import elevation_deg, tilt_deg


def test_elevations_are_those_of_pointing_tables() -> None:
    assert elevation_deg(0.0, 19.2, 19.2) == pytest.approx(90.0)
    assert elevation_deg(48.86, 2.35, 19.2) == pytest.approx(31.6, abs=0.1)  # Paris, Astra 19.2E
    assert elevation_deg(51.5, -0.13, 28.2) == pytest.approx(25.4, abs=0.3)  # London, Astra 28.2E
    assert elevation_deg(48.86, -170.0, 19.2) < 0


@given(st.floats(-75, 75), st.floats(-180, 180), st.floats(-60, 60))
def test_the_sky_is_the_same_east_and_west_north_and_south(latitude: float, orbit: float, away: float) -> None:
    here = elevation_deg(latitude, orbit + away, orbit)
    assert here == pytest.approx(elevation_deg(-latitude, orbit - away, orbit), abs=1e-6)
    assert here <= elevation_deg(latitude, orbit, orbit) + 1e-9
    if here > 0:
        assert 35_700 < slant_range_km(here) < 41_700


def test_polarization_turns_away_from_the_satellites_meridian() -> None:
    assert tilt_deg(48.0, 19.2, 19.2, "horizontal") == pytest.approx(0.0)
    assert tilt_deg(48.0, 19.2, 19.2, "vertical") == pytest.approx(90.0)
    assert tilt_deg(48.0, 2.0, 19.2, "horizontal") == pytest.approx(14.9, abs=0.1)
    assert tilt_deg(48.0, 2.0, 19.2, "vertical") == pytest.approx(75.1, abs=0.1)
    assert tilt_deg(-48.0, 2.0, 19.2, "horizontal") == pytest.approx(14.9, abs=0.1)
    assert tilt_deg(48.0, 2.0, 19.2, "circular") == 45.0
