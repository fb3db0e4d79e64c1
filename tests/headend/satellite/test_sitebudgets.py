"""Budgets of the sample's carrier, from its fleet document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headend.satellite.documents import SatelliteEquipment, UplinkSection
from headend.satellite.sitebudgets import SiteBudget, record, site_budgets, wanted_tables
from nf.documents.fleet import Fleet
from nf.documents.loader import load_fleet
from nf.errors import DocumentError
from tests.headend.satellite.documents import REGISTRY, carrier, compiled, fleet_data, lineup_data, refused


def loaded(data: dict[str, Any]) -> tuple[Fleet, SatelliteEquipment]:
    fleet = load_fleet(json.dumps(data), file="fleet.json", extensions=REGISTRY).document
    satellite = fleet.spec.equipment["satellite"]
    assert isinstance(satellite, SatelliteEquipment)
    return fleet, satellite


def budgets(data: dict[str, Any]) -> dict[str, SiteBudget]:
    fleet, satellite = loaded(data)
    return {found.site: found for found in site_budgets(satellite, satellite.carriers[0], fleet)}


def told(data: dict[str, Any]) -> list[tuple[str, str]]:
    return [(warning.key, warning.rule) for warning in compiled(lineup_data(), data).warnings]


def test_the_sample_has_a_budget_at_every_site_and_nothing_to_be_warned_of() -> None:
    found = budgets(fleet_data())
    assert list(found) == ["pop1", "pop2"]
    one = found["pop1"]
    assert one.elevation_deg == pytest.approx(35.4, abs=0.1)
    assert one.g_over_t_db_per_k == pytest.approx(19.8, abs=0.1)  # 1.2 m, 65 %, 150 K at 11.75 GHz
    # 55 - 207.3 - 0.5 + 5 + 228.6 - 63 and 36 - 205.4 - 0.5 + 19.8 + 228.6 - 63
    assert one.uplink_es_n0_db == pytest.approx(17.9, abs=0.2)
    assert one.downlink_es_n0_db == pytest.approx(15.4, abs=0.2)
    assert one.missing == ()
    assert [row.modcod for row in one.modcods] == ["8PSK 3/4", "QPSK 3/5", "QPSK 1/3"]
    available = [row.availability_percent or 0.0 for row in one.modcods]
    assert 99.9 < available[0] < available[1] < available[2] < 100
    assert told(fleet_data()) == []


def test_power_left_is_rain_that_the_uplink_stands() -> None:
    data = fleet_data()
    before = budgets(data)["pop1"].modcods[0]
    carrier(data)["power"]["cap"] = -7
    after = budgets(data)["pop1"].modcods[0]
    assert after.uplink_rain_db == pytest.approx(before.uplink_rain_db - 3, abs=0.02)
    assert after.downlink_rain_db == before.downlink_rain_db
    assert (after.availability_percent or 0) < (before.availability_percent or 0)


def test_a_gain_over_temperature_counts_as_written() -> None:
    data = fleet_data()
    station = carrier(data)["receivers"][0]["station"]
    del station["dish"]
    station["g_over_t"] = 17.0
    assert budgets(data)["pop1"].g_over_t_db_per_k == 17.0
    station["dish"] = 1.2
    with pytest.raises(DocumentError) as refused_both:
        loaded(data)
    assert "either g_over_t or dish" in refused_both.value.problems[0].rule


def test_without_tables_there_are_margins_and_no_availability() -> None:
    data = fleet_data()
    del data["spec"]["equipment"]["satellite"]["rain"]
    one = budgets(data)["pop1"]
    assert one.missing == ("the uplink at hub", "the downlink at pop1")
    assert all(row.availability_percent is None and row.downlink_rain_db > 0 for row in one.modcods)
    rules = told(data)
    assert [key for key, _ in rules] == [f"spec.equipment.satellite.carriers[0].receivers[{n}].site" for n in (0, 1)]
    assert "no rain table of the uplink at hub and the downlink at pop1" in rules[0][1]


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"latitude": 45.80}, ()),
        ({"latitude": 47.0}, ("the downlink at pop1",)),
        ({"longitude": 9.0}, ("the downlink at pop1",)),
    ],
)
def test_a_table_serves_the_place_that_it_was_made_for(change: dict[str, float], missing: tuple[str, ...]) -> None:
    data = fleet_data()
    carrier(data)["receivers"][0]["station"].update(change)
    assert budgets(data)["pop1"].missing == missing


def test_a_site_that_has_it_too_rarely_is_a_warning() -> None:
    data = fleet_data()
    carrier(data)["availability"] = 99.9999
    keys = [key for key, rule in told(data) if "99.9999 % is wanted (at QPSK 1/3" in rule]
    assert keys == [f"spec.equipment.satellite.carriers[0].receivers[{n}].site" for n in (0, 1)]


def test_what_is_written_of_a_receiver_and_its_budget_are_compared() -> None:
    data = fleet_data()
    carrier(data)["receivers"][1]["clear_es_n0"] = 18
    ((key, rule),) = told(data)
    assert key == "spec.equipment.satellite.carriers[0].receivers[1].clear_es_n0"
    assert "pop2 has 12.5 dB in clear sky by its budget" in rule


def test_tables_that_serve_two_paths_are_made_once() -> None:
    fleet, satellite = loaded(fleet_data())
    wanted = wanted_tables(satellite, fleet)
    assert [(one.site, one.frequency_hz) for one in wanted] == [
        ("hub", 14_250_000_000),
        ("pop1", 11_750_000_000),
        ("pop2", 11_750_000_000),
    ]
    twice = satellite.model_copy(update={"carriers": satellite.carriers * 2})
    assert wanted_tables(twice, fleet) == wanted
    assert all(any(one.served_by(there) for there in satellite.rain) for one in wanted)
    assert all(one.served_by(record(one, satellite.rain[0].table())) for one in wanted)


def test_an_antenna_that_cannot_see_its_satellite_is_refused() -> None:
    data = fleet_data()
    carrier(data)["receivers"][0]["station"]["longitude"] = -170
    (problem,) = refused(lineup_data(), data)
    assert "below its horizon" in problem.rule
    assert problem.key == "spec.equipment.satellite.carriers[0].receivers[0].station"
    data = fleet_data()
    del data["spec"]["equipment"]["satellite"]["transponders"][0]["position"]
    (problem,) = refused(lineup_data(), data)
    assert "ku7 has no position on the orbit" in problem.rule


def test_stations_change_nothing_on_the_appliances() -> None:
    bare = fleet_data()
    for receiver in carrier(bare)["receivers"]:
        del receiver["station"]
    for key in ("station", "interference", "availability"):
        del carrier(bare)[key]
    section = compiled(lineup_data(), fleet_data()).configs["headend"].sections["satellite-uplink"]
    assert isinstance(section, UplinkSection)
    assert section == compiled(lineup_data(), bare).configs["headend"].sections["satellite-uplink"]
    assert "station" not in json.dumps(section.to_json())
    assert told(bare) == []


def test_a_table_that_is_none_is_refused_with_its_place() -> None:
    data = fleet_data()
    data["spec"]["equipment"]["satellite"]["rain"][0]["rows"] = [[1, 1], [2, 2]]
    with pytest.raises(DocumentError) as no_table:
        loaded(data)
    (problem,) = no_table.value.problems
    assert (problem.key, "rain table" in problem.rule) == ("spec.equipment.satellite.rain[0]", True)
