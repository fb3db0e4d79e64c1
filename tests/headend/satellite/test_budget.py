from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.satellite import rain
from headend.satellite.budget import (
    DownlinkPath,
    Link,
    UplinkPath,
    Weather,
    availability_percent,
    budget,
    combined_db,
    downlink_rain_margin_db,
    free_space_loss_db,
    rain_noise_loss_db,
    slant_range_km,
    uplink_rain_margin_db,
)
from headend.satellite.fade import scale_attenuation_db
from headend.satellite.rain import RainTable
from nf.errors import InputError, UnavailableError

DATA = json.loads((Path(__file__).parents[2] / "data/satellite/rain.json").read_text())
TABLES = {(row["site"], row["frequency_hz"]): RainTable.from_data(row) for row in DATA["tables"]}
PARIS_DOWN, PARIS_UP = TABLES["paris", 11.7e9], TABLES["paris", 14.25e9]
LINK = Link(
    symbol_rate_baud=30e6,
    uplink=UplinkPath(eirp_dbw=72.0, frequency_hz=14.25e9, elevation_deg=35.0, g_over_t_db_per_k=4.0, losses_db=0.5),
    downlink=DownlinkPath(
        eirp_dbw=50.0,
        frequency_hz=11.7e9,
        elevation_deg=35.0,
        g_over_t_db_per_k=18.0,
        noise_temperature_k=140.0,
        losses_db=0.5,
    ),
    interference_db=(24.0, 22.0),
)


def test_distances_and_losses_are_the_textbooks() -> None:
    assert slant_range_km(90.0) == pytest.approx(35_786, abs=1)
    assert slant_range_km(0.0) == pytest.approx(41_679, abs=2)
    assert free_space_loss_db(35_786, 12e9) == pytest.approx(205.1, abs=0.05)
    assert combined_db(10.0, 10.0) == pytest.approx(6.99, abs=0.01)
    assert rain_noise_loss_db(0.0, 150.0) == 0.0
    assert rain_noise_loss_db(3.0, 150.0) == pytest.approx(2.81, abs=0.02)


def test_a_budget_is_the_sum_by_hand() -> None:
    found = budget(LINK)
    # 72 - 207.1 - 0.5 + 4 + 228.6 - 74.8 and 50 - 205.3 - 0.5 + 18 + 228.6 - 74.8
    assert found.uplink_es_n0_db == pytest.approx(22.2, abs=0.2)
    assert found.downlink_es_n0_db == pytest.approx(16.0, abs=0.2)
    assert found.es_n0_db == pytest.approx(combined_db(found.uplink_es_n0_db, found.downlink_es_n0_db, 24.0, 22.0))


@given(st.floats(0, 30), st.floats(0, 30), st.floats(0, 10))
def test_rain_takes_and_power_gives(uplink_db: float, downlink_db: float, power_db: float) -> None:
    clear = budget(LINK).es_n0_db
    wet = budget(LINK, Weather(uplink_db, downlink_db)).es_n0_db
    helped = budget(LINK, Weather(uplink_db, downlink_db, min(power_db, uplink_db))).es_n0_db
    assert wet <= helped <= clear + 1e-9
    # Rain at the receiver takes more than its attenuation, since it also shines.
    alone = budget(LINK, Weather(downlink_rain_db=downlink_db))
    assert budget(LINK).downlink_es_n0_db - alone.downlink_es_n0_db >= downlink_db - 1e-9


@given(st.floats(0, 12), st.floats(0, 8))
def test_margins_are_where_the_budget_meets_the_requirement(required_db: float, headroom_db: float) -> None:
    margin = downlink_rain_margin_db(LINK, required_db)
    assert budget(LINK, Weather(downlink_rain_db=margin)).es_n0_db == pytest.approx(required_db, abs=0.01)
    plain, helped = (
        uplink_rain_margin_db(LINK, required_db),
        uplink_rain_margin_db(LINK, required_db, headroom_db=headroom_db),
    )
    assert helped == pytest.approx(plain + headroom_db, abs=0.01)


def test_power_control_and_robust_modcods_buy_availability() -> None:
    def available(required_db: float, headroom_db: float = 0.0) -> float:
        return availability_percent(LINK, required_db, uplink=PARIS_UP, downlink=PARIS_DOWN, headroom_db=headroom_db)

    assert available(40.0) == 0.0
    assert 99.5 < available(8.41) < available(8.41, 6.0) < available(4.53, 6.0) <= 100 - 0.002
    assert downlink_rain_margin_db(LINK, 40.0) == 0.0


@pytest.mark.parametrize("table", TABLES.values(), ids=str)
def test_tables_give_back_what_they_hold(table: RainTable) -> None:
    for percent, attenuation in table.rows:
        assert table.attenuation_db(percent) == pytest.approx(attenuation)
        assert table.exceeded_percent(attenuation) == pytest.approx(percent)
    assert RainTable.from_data(json.loads(json.dumps(table.to_data()))) == table


@given(st.sampled_from(list(TABLES.values())), st.floats(0.001, 5))
def test_tables_are_read_between_their_rows(table: RainTable, percent: float) -> None:
    assert table.exceeded_percent(table.attenuation_db(percent)) == pytest.approx(percent, rel=1e-6)


def test_an_outage_is_never_understated_outside_a_table() -> None:
    assert PARIS_UP.exceeded_percent(99.0) == 0.001
    assert PARIS_UP.exceeded_percent(0.0) == 5.0
    for percent in (0.0001, 50.0):
        with pytest.raises(InputError, match="the table holds"):
            PARIS_UP.attenuation_db(percent)


@pytest.mark.parametrize("rows", [(), ((1, 1),), ((1, 1), (2, 2)), ((2, 2), (1, 1)), ((0, 2), (1, 1))])
def test_tables_that_are_none_are_refused(rows: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(InputError):
        RainTable.from_data({**PARIS_UP.to_data(), "rows": rows})


def test_data_that_is_no_table_is_refused() -> None:
    for data in ({}, {**PARIS_UP.to_data(), "rows": "x"}, {**PARIS_UP.to_data(), "tilt_deg": None}):
        with pytest.raises(InputError, match="not a rain table"):
            RainTable.from_data(data)


def test_scaling_a_table_is_near_the_table_of_the_other_frequency() -> None:
    for percent in (0.01, 0.1, 1.0):
        scaled = scale_attenuation_db(PARIS_DOWN.attenuation_db(percent), 11.7e9, 14.25e9)
        assert scaled == pytest.approx(PARIS_UP.attenuation_db(percent), rel=0.15)


def test_without_itur_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(rain, "import_module", absent)
    with pytest.raises(UnavailableError, match="satellite"):
        rain.tabulate("x", latitude_deg=0, longitude_deg=0, frequency_hz=12e9, elevation_deg=40)


@pytest.mark.skipif(find_spec("itur") is None, reason="the extra 'satellite' is not installed")
@pytest.mark.parametrize("row", DATA["tables"], ids=lambda row: f"{row['site']}-{row['frequency_hz'] / 1e9:g}")
def test_tables_are_what_p618_gives(row: dict[str, Any]) -> None:
    made = rain.tabulate(
        row["site"],
        latitude_deg=row["latitude_deg"],
        longitude_deg=row["longitude_deg"],
        frequency_hz=row["frequency_hz"],
        elevation_deg=row["elevation_deg"],
    )
    for ours, kept in zip(made.rows, row["rows"], strict=True):
        assert ours == pytest.approx(tuple(kept), rel=0.01)
