"""The way back: what uplink and PoPs would observe after a commit, adopted, compiles to the very same sections."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from headend.multicast.adopter import MulticastAdopter
from headend.satellite.adopter import SatelliteAdopter
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from nf.noc.adoption import compose
from tests.headend.satellite.documents import REGISTRY, compiled, fleet_data, lineup_data, satellite_path

ADOPTERS = (MulticastAdopter(), SatelliteAdopter())
Observed = dict[str, dict[str, Any]]


def documents(lineup: dict[str, Any]) -> tuple[LineUp, Fleet]:
    return (
        load_lineup(json.dumps(lineup), file="lineup.json", extensions=REGISTRY).document,
        load_fleet(json.dumps(fleet_data()), file="fleet.json", extensions=REGISTRY).document,
    )


def observed(lineup: dict[str, Any]) -> Observed:
    configs = compiled(lineup, fleet_data()).configs
    return {
        name: {section: value.to_json() for section, value in config.sections.items()}
        for name, config in configs.items()
    }


@pytest.mark.parametrize("known", [True, False], ids=["documents are there", "the line-up is lost"])
@pytest.mark.parametrize("name", ["lineup.yaml", "lineup-satellite.yaml"])
def test_committing_what_is_adopted_is_an_empty_plan(name: str, known: bool) -> None:
    data = lineup_data(name)
    satellite_path(data, 1)["pmt_pid"] = 4000
    have = observed(data)
    lineup, fleet = documents(data)
    found = [adopter.adopt(have, fleet) for adopter in ADOPTERS]
    assert [one.problems for one in found] == [(), ()]
    written = compose(fleet, lineup if known else LineUp.empty(), found, "tag:tv.example,2026:")
    again = load_lineup(written.lineup_yaml, file="lineup.yaml", extensions=REGISTRY).document
    assert load_fleet(written.fleet_yaml, file="fleet.yaml", extensions=REGISTRY).document.spec.equipment
    if known:
        paths = [sorted(c.delivery, key=lambda p: p.id) for c in again.spec.channels]
        assert paths == [sorted(c.delivery, key=lambda p: p.id) for c in lineup.spec.channels]
    after = observed(again.to_json())
    for appliance in ("headend", "pop1", "pop2"):
        for section in ("satellite-uplink", "satellite-receiver"):
            want, got = have[appliance].get(section), after[appliance].get(section)
            assert known is False or want == got
            assert (want is None) == (got is None)


def test_what_no_document_can_say_is_a_problem() -> None:
    have = observed(lineup_data())
    _, fleet = documents(lineup_data())
    nobody = copy.deepcopy(have)
    for pop in ("pop1", "pop2"):
        del nobody[pop]["satellite-receiver"]
    assert "no PoP that was seen receives it" in SatelliteAdopter().adopt(nobody, fleet).problems[0]
    two = copy.deepcopy(have)
    two["pop1"]["satellite-receiver"]["carriers"][0]["services"][0]["group"] = "232.99.0.1"
    assert "in several ways (pop1, pop2)" in SatelliteAdopter().adopt(two, fleet).problems[0]
    altered = copy.deepcopy(have)
    altered["headend"]["satellite-uplink"]["altered"] = ["enc1: channel[1].bit_rate is 700000, not 1200000"]
    assert "altered" in SatelliteAdopter().adopt(altered, fleet).problems[0]


def test_a_pop_that_acts_by_another_policy_than_is_written_gives_the_channel_its_own() -> None:
    data = lineup_data()
    data["spec"]["policy"].pop("failover", None)
    data["spec"]["channels"][0]["failover"] = {"hold_down": "7s", "failback": {"after": "9s", "approve": "auto"}}
    have = observed(data)
    lineup, fleet = documents(lineup_data())
    found = [adopter.adopt(have, fleet) for adopter in ADOPTERS]
    written = compose(fleet, lineup, found, "tag:tv.example,2026:")
    again = load_lineup(written.lineup_yaml, file="lineup.yaml", extensions=REGISTRY).document
    assert observed(again.to_json())["pop1"]["satellite-receiver"] == have["pop1"]["satellite-receiver"]
    assert [channel.failover is not None for channel in again.spec.channels] == [True, True]
    failover = again.spec.channels[0].failover
    assert failover is not None
    assert (failover.hold_down_ms, failover.failback.after_ms) == (7000, 9000)
