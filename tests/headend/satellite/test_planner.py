from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.satellite.documents import ReceiverSection, UplinkSection
from headend.satellite.framing import net_bitrate_bps
from headend.satellite.modcod import by_name
from nf.documents.appliance import ApplianceConfig
from tests.headend.satellite.documents import carrier, compiled, fleet_data, lineup_data, refused, satellite_path


def uplink(configs: Any) -> UplinkSection:
    section = configs["headend"].sections["satellite-uplink"]
    assert isinstance(section, UplinkSection)
    return section


def downlink(config: ApplianceConfig) -> ReceiverSection:
    section = config.sections["satellite-receiver"]
    assert isinstance(section, ReceiverSection)
    return section


def test_the_sample_gives_one_carrier_with_every_operating_point() -> None:
    (one,) = uplink(compiled(lineup_data(), fleet_data()).configs).carriers
    assert [rung.modcod for rung in one.ladder] == ["8PSK 3/4", "QPSK 3/5", "QPSK 1/3"]
    assert one.ladder[0].net_rate_bps == net_bitrate_bps(by_name("8PSK 3/4"), 2_000_000, pilots=True)
    rates = [{service.channel: service.rate_bps for service in rung.services} for rung in one.ladder]
    assert rates[0] == {"ch1": 1_200_000, "ch2": 1_200_000}
    assert rates[1]["ch1"] == 1_200_000
    assert 800_000 <= rates[1]["ch2"] < 1_200_000  # lowered, not left out
    assert set(rates[2]) == {"ch1"}  # the less important one has left


def test_every_pop_gives_out_what_it_receives_and_knows_the_other_way() -> None:
    found = compiled(lineup_data(), fleet_data())
    (one,) = downlink(found.configs["pop2"]).carriers
    assert [str(address) for address in one.services[0].outputs] == ["10.3.2.1", "10.3.3.1"]
    first = one.services[0]
    assert (str(first.fallback_source), str(first.fallback_group)) == ("10.1.0.10", "232.10.1.1")
    assert one.requires == uplink(found.configs).carriers[0].provides
    probes = [probe for probe in found.configs["r3"].probes if probe.path == "sat"]
    assert [(probe.channel, probe.required) for probe in probes] == [("ch1", False), ("ch2", False)]
    assert probes[0].arguments["source"] == "10.3.3.1"
    assert [(hop.appliance, hop.point) for hop in found.hops if (hop.channel, hop.path) == ("ch1", "sat")] == [
        ("headend", "uplink"),
        ("pop1", "downlink"),
        ("pop2", "downlink"),
        ("r1", "receiver"),
        ("r2", "receiver"),
        ("r3", "receiver"),
    ]


def test_the_satellite_counts_on_the_lan_behind_the_pop() -> None:
    found = compiled(lineup_data(), fleet_data())
    used = {(use.link, use.sender): use.used_bps for use in found.links}
    assert used["pop1-r1", "pop1"] == 2 * 1_000_000 + 2 * 1_200_000


def test_a_carrier_without_services_is_not_on_the_air() -> None:
    lineup = lineup_data()
    for channel in lineup["spec"]["channels"]:
        channel["delivery"] = [path for path in channel["delivery"] if path["type"] == "ssm"]
    configs = compiled(lineup, fleet_data()).configs
    assert "satellite-uplink" not in configs["headend"].sections
    assert "satellite-receiver" not in configs["pop1"].sections


def test_what_does_not_fit_the_carrier_is_refused_with_its_shortfall() -> None:
    lineup = lineup_data()
    satellite_path(lineup, 1)["rate"] = "3M"
    (problem,) = [p for p in refused(lineup, fleet_data()) if "carrier" in p.rule]
    assert "carrier sat1 is full" in problem.rule
    assert "0.113M short" in problem.rule
    assert "ch1/sat 1200k, ch2/sat 3M" in problem.rule
    assert problem.key == "spec.channels[1].delivery[1].rate"
    assert problem.file == "lineup.json"
    assert "0.113M" in problem.remedy


def lineup_with(channel: int, **changes: Any) -> dict[str, Any]:
    lineup = lineup_data()
    satellite_path(lineup, channel).update(changes)
    return lineup


@pytest.mark.parametrize(
    ("lineup", "rule", "key"),
    [
        (lineup_with(1, service_id=101), "service id is taken", "spec.channels[1].delivery[1].service_id"),
        (lineup_with(1, input=7001), "input port is taken", "spec.channels[1].delivery[1].input"),
        (
            lineup_with(1, output={"group": "232.20.1.1"}),
            "group is given out",
            "spec.channels[1].delivery[1].output.group",
        ),
        (lineup_with(1, pmt_pid=1620), "its PIDs 1620 to 1635 overlap", "spec.channels[1].delivery[1].pmt_pid"),
        (lineup_with(0, carrier="sat2"), "no such carrier", "spec.channels[0].delivery[1].carrier"),
        (lineup_with(0, sites=["core"]), "the site has no receiver of sat1", "spec.channels[0].delivery[1].sites[0]"),
        (lineup_with(0, sites=["moon"]), "no such site in the fleet", "spec.channels[0].delivery[1].sites[0]"),
        (lineup_with(0, fallback="ott"), "cannot fall back to that path", "spec.channels[0].delivery[1].fallback"),
        (lineup_with(0, rate=1_200_300), "whole kbit/s", "spec.channels[0].delivery[1]"),
        (lineup_with(0, min_rate="2M"), "min_rate is more than rate", "spec.channels[0].delivery[1]"),
        (lineup_with(0, service_id=60000), "gives no PID of its own", "spec.channels[0].delivery[1]"),
    ],
)
def test_a_path_that_breaks_a_rule_is_refused_where_it_stands(lineup: dict[str, Any], rule: str, key: str) -> None:
    problems = refused(lineup, fleet_data())
    assert any(rule in problem.rule and problem.key == key and problem.remedy for problem in problems), problems


def test_a_fallback_comes_to_every_site_that_may_need_it() -> None:
    lineup = lineup_data()
    lineup["spec"]["channels"][0]["delivery"][0]["sites"] = ["pop1"]
    (problem,) = refused(lineup, fleet_data())
    assert (problem.rule, problem.key) == ("iptv does not come to pop2", "spec.channels[0].delivery[1].fallback")


def fleet_with(**changes: Any) -> dict[str, Any]:
    fleet = fleet_data()
    carrier(fleet).update(changes)
    return fleet


KEY = "spec.equipment.satellite.carriers[0]"


@pytest.mark.parametrize(
    ("fleet", "rule", "key"),
    [
        (fleet_with(transponder="ku9"), "no such transponder", f"{KEY}.transponder"),
        (fleet_with(appliance="nobody"), "no such appliance", f"{KEY}.appliance"),
        (fleet_with(modem="mod9"), "no such device", f"{KEY}.modem"),
        (fleet_with(mux="enc1"), "no data_address", f"{KEY}.mux"),
        (fleet_with(centre="11.768G"), "edge", f"{KEY}.centre"),
        (fleet_with(symbol_rate="33M"), "occupies", f"{KEY}.centre"),
        (fleet_with(roll_off=0.3), "a roll-off is", f"{KEY}.roll_off"),
        (fleet_with(modcods=["9PSK 3/4"]), "MODCOD", f"{KEY}.modcods[0]"),
        (fleet_with(power={"clear": -20, "cap": -24}), "cap is below", f"{KEY}.power"),
        (fleet_with(margins={"down": 2, "up": 1}), "to and fro", f"{KEY}.margins"),
    ],
)
def test_equipment_that_breaks_a_rule_is_refused_where_it_stands(fleet: dict[str, Any], rule: str, key: str) -> None:
    problems = refused(lineup_data(), fleet)
    assert any(rule in f"{p.rule} {p.remedy}" and p.key == key and p.file == "fleet.json" for p in problems), problems


def test_two_carriers_may_not_overlap() -> None:
    fleet = fleet_data()
    second = copy.deepcopy(carrier(fleet)) | {"id": "sat2", "centre": "11.751G"}
    fleet["spec"]["equipment"]["satellite"]["carriers"].append(second)
    problems = refused(lineup_data(), fleet)
    assert any("overlap" in problem.rule for problem in problems)
    assert any("the device has work already" in problem.rule for problem in problems)


def test_a_second_path_over_the_same_transponder_is_worth_a_warning() -> None:
    fleet, lineup = fleet_data(), lineup_data()
    devices = fleet["spec"]["equipment"]["snmp"]["devices"]
    names = {"enc1": "enc2", "mux1": "mux2", "mod1": "mod2", "rx1": "rx3", "rx2": "rx4"}
    devices += [{**device, "id": names[device["id"]]} for device in list(devices)]
    second = copy.deepcopy(carrier(fleet)) | {"id": "sat2", "centre": "11.755G"}
    second |= {role: names[second[role]] for role in ("encoder", "mux", "modem")}
    for receiver in second["receivers"]:
        receiver["device"] = names[receiver["device"]]
    fleet["spec"]["equipment"]["satellite"]["carriers"].append(second)
    again = copy.deepcopy(satellite_path(lineup, 0)) | {
        "id": "sat-b",
        "carrier": "sat2",
        "output": {"group": "232.20.2.1"},
    }
    lineup["spec"]["channels"][0]["delivery"].append(again)
    (warning,) = compiled(lineup, fleet).warnings
    assert "shares transponder ku7 with ch1/sat" in warning.rule
    assert (warning.file, warning.key) == ("lineup.json", "spec.channels[0].delivery[2].carrier")


@settings(max_examples=60, deadline=None)
@given(
    rates=st.lists(st.integers(300, 1_500).map(lambda kbps: kbps * 1000), min_size=1, max_size=6),
    priorities=st.lists(st.integers(1, 9), min_size=6, max_size=6),
)
def test_no_rung_ever_carries_more_than_it_has(rates: list[int], priorities: list[int]) -> None:
    lineup = lineup_data()
    template = lineup["spec"]["channels"][0]
    channels = []
    for number, rate in enumerate(rates, start=1):
        path = {
            **satellite_path(lineup, 0),
            "service_id": 100 + number,
            "input": 7000 + number,
            "rate": rate,
            "min_rate": 300_000,
            "priority": priorities[number - 1],
            "output": {"group": f"232.20.9.{number}"},
        }
        path.pop("fallback")
        channels.append(
            {**template, "id": f"x{number}", "lcn": number, "uid": f"tag:a.test,2026:x{number}", "delivery": [path]}
        )
    lineup["spec"]["channels"] = channels
    given = carrier(fleet_data())
    room = net_bitrate_bps(by_name("8PSK 3/4"), 2_000_000, pilots=True) * 0.95 - 50_000
    if sum(rates) > room:
        assert any("is full" in problem.rule for problem in refused(lineup, fleet_data()))
        return
    (one,) = uplink(compiled(lineup, fleet_data()).configs).carriers
    for rung in one.ladder:
        assert sum(service.rate_bps for service in rung.services) + 50_000 <= rung.ts_rate_bps
        assert rung.ts_rate_bps <= rung.net_rate_bps * (1 - given["reserve"])
