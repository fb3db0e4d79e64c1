"""Devices of a fleet: what is refused, and what every appliance gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.devices.documents import SnmpDevicesSection
from headend.devices.modelfile import load_models
from headend.devices.names import ALL, LIST, OPERATIONS
from headend.devices.ownership import owner_of
from headend.devices.planner import DevicesPlanner
from headend.satellite.claims import BY_ROLE
from headend.satellite.documents import UplinkSection
from headend.satellite.planner import SatellitePlanner
from headend.satellite.uplink.settings import settings
from nf.contracts.planner import Contribution, Planner
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from tests.headend.satellite.documents import REGISTRY, carrier, compiled, fleet_data, lineup_data
from tests.headend.satellite.documents import refused as refusals

PATH = "spec.equipment.snmp"


def snmp(fleet: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = fleet["spec"]["equipment"]["snmp"]
    return found


def device(fleet: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in snmp(fleet)["devices"] if one["id"] == name)
    return found


def plan(fleet: dict[str, Any], lineup: dict[str, Any] | None = None, planner: Planner | None = None) -> Contribution:
    loaded = load_fleet(json.dumps(fleet), file="fleet.json", extensions=REGISTRY).document
    given_lineup = load_lineup(json.dumps(lineup or lineup_data()), file="lineup.json", extensions=REGISTRY).document
    assert isinstance(loaded, Fleet)
    assert isinstance(given_lineup, LineUp)
    return (planner or DevicesPlanner()).plan(given_lineup, loaded)


def sections(found: Contribution) -> Mapping[str, SnmpDevicesSection]:
    result: dict[str, SnmpDevicesSection] = {}
    for appliance, parts in found.sections.items():
        section = parts["snmp-devices"]
        assert isinstance(section, SnmpDevicesSection)
        result[appliance] = section
    return result


def refused(fleet: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Key -> rule and remedy."""
    return {problem.key: (problem.rule, problem.remedy) for problem in plan(fleet).problems}


def second_encoder(fleet: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A fleet with a spare encoder and a group; `more` goes into the group."""
    snmp(fleet)["devices"].append(device(fleet, "enc1") | {"id": "enc2", "address": "172.20.20.31"})
    switched = {"device": "mux1", "parameter": "service[1].input_address", "main": "10.1.1.31", "backup": "10.1.1.41"}
    group = {
        "id": "encoders",
        "mode": "reverting",
        "positions": [{"id": "first", "main": "enc1", "switch": [switched]}],
        "backups": ["enc2"],
        "triggers": ["device-silent", "encoder-input-lost"],
    }
    snmp(fleet)["groups"] = [group | more]
    return fleet


def test_every_appliance_looks_after_its_devices_with_any_line_up_or_none() -> None:
    found = plan(fleet_data())
    assert {name: [one.id for one in section.devices] for name, section in sections(found).items()} == {
        "headend": ["enc1", "mod1", "mux1"],
        "pop1": ["rx1"],
        "pop2": ["rx2"],
    }
    empty = lineup_data()
    empty["spec"]["channels"] = []
    assert plan(fleet_data(), empty) == found
    place = sections(found)["pop1"].notifications
    assert place is not None
    assert (str(place.address), place.port) == ("172.20.20.14", 162)


def test_operations_of_a_device_are_done_where_it_is_looked_after() -> None:
    operations = plan(fleet_data()).operations
    assert {op.name for op in operations if op.object == "rx2"} == set(OPERATIONS)
    assert {op.stages for op in operations if op.object == "rx2"} == {((("pop2", "snmp-devices"),),)}
    (everywhere,) = [op for op in operations if op.name == LIST]
    assert (everywhere.object, [appliance for appliance, _ in everywhere.stages[0]]) == (
        ALL,
        ["headend", "pop1", "pop2"],
    )


def test_a_section_reads_back_as_it_was_written() -> None:
    for section in sections(plan(second_encoder(fleet_data()))).values():
        assert SnmpDevicesSection.model_validate(json.loads(json.dumps(section.to_json()))) == section


def test_what_a_carrier_sets_is_claimed_and_nothing_else() -> None:
    (carrier,) = compiled(lineup_data(), fleet_data()).configs["headend"].sections["satellite-uplink"].carriers  # type: ignore[attr-defined]
    for rung in carrier.ladder:
        found = settings(carrier, rung)
        for role in ("encoder", "mux", "modem"):
            keys = {f"{name.partition('[')[0]}{name.partition(']')[2]}" for name in getattr(found, role)}
            assert keys <= BY_ROLE[role]
    acts = {"tx_level", "tx_enable", "apply_carrier"}
    top = settings(carrier, carrier.ladder[0])
    assert set(top.modem) | acts == BY_ROLE["modem"]
    claims = sections(plan(fleet_data()))["headend"].claims
    assert {(one.device, one.owner) for one in claims} == {(name, "carrier sat1") for name in ("enc1", "mod1", "mux1")}


@pytest.mark.parametrize(
    ("name", "changes", "key", "rule", "remedy"),
    [
        ("rx2", {"id": "rx1"}, "devices[4].id", "there is a device of this name already", "rename"),
        ("rx2", {"address": "172.20.20.24"}, "devices[4].address", "another device is at this address", "one agent"),
        ("rx1", {"appliance": "pop3"}, "devices[3].appliance", "no such appliance", "did you mean pop"),
        (
            "rx1",
            {"model": "nf-lab-receivr"},
            "devices[3].model",
            "no such device model",
            "did you mean nf-lab-receiver?",
        ),
    ],
)
def test_a_device_that_is_wrong_is_refused_at_its_key(
    name: str, changes: dict[str, Any], key: str, rule: str, remedy: str
) -> None:
    fleet = fleet_data()
    device(fleet, name).update(changes)
    told = refused(fleet)[f"{PATH}.{key}"]
    assert rule in told[0]
    assert remedy in told[1]


@pytest.mark.parametrize(
    ("name", "parameter", "value", "rule"),
    [
        ("rx1", "relock_tim", 5, "no such parameter"),
        ("rx1", "relock_time", 10_001, "above the device's maximum"),
        ("rx1", "relock_time", "soon", "must be a number"),
        ("rx1", "output_admin_state", "on", "no such choice"),
        ("rx1", "lock", "locked", "is read-only"),
        ("rx1", "reboot", "now", "nobody could tell whether it is set"),
        ("mux1", "service.provider", "X", "is a table"),
        ("mux1", "service[1].max_bit_rate", 1_000_000, "carrier sat1 sets it"),
        ("enc1", "channel[3].admin_state", "disabled", "carrier sat1 sets it"),
        ("mod1", "tx_enable", "transmitting", "carrier sat1 sets it"),
    ],
)
def test_a_parameter_that_nobody_may_set_so_is_refused(name: str, parameter: str, value: Any, rule: str) -> None:
    fleet = fleet_data()
    device(fleet, name)["parameters"] = {parameter: value}
    ((key, (told, remedy)),) = refused(fleet).items()
    assert key.startswith(f"{PATH}.devices[")
    assert parameter in key
    assert rule in told
    assert remedy


def test_no_document_puts_a_carrier_on_the_air() -> None:
    fleet = fleet_data()
    spare = device(fleet, "mod1") | {
        "id": "mod2",
        "address": "172.20.20.33",
        "parameters": {"tx_enable": "transmitting"},
    }
    snmp(fleet)["devices"].append(spare)
    ((rule, remedy),) = refused(fleet).values()
    assert rule == "would put a carrier on the air"
    assert "two people" in remedy
    spare["parameters"] = {"tx_enable": "muted", "input_port": 6000}
    assert not refused(fleet)


def test_two_names_of_one_parameter_are_one_too_many() -> None:
    fleet = fleet_data()
    device(fleet, "mux1")["parameters"] = {"service[1].provider": "A", "service[01].provider": "B"}
    assert [rule for rule, _ in refused(fleet).values()] == ["means the same as service[1].provider"]


def test_a_group_is_switched_where_its_devices_are_looked_after() -> None:
    found = plan(second_encoder(fleet_data()))
    assert [group.id for group in sections(found)["headend"].groups] == ["encoders"]
    assert {op.name for op in found.operations if op.object == "encoders"} == {
        "device-group-show",
        "device-group-switch",
        "device-group-lock",
    }


SWITCH = {"device": "mux1", "parameter": "service[1].input_address", "main": "10.1.1.31", "backup": "10.1.1.41"}


def position(*switch: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "first", "main": "enc1", "switch": [*switch]} | more


@pytest.mark.parametrize(
    ("changes", "key", "rule"),
    [
        ({"backups": ["enc3"]}, "backups[0]", "no such device"),
        ({"backups": ["enc1"]}, "backups[0]", "has a place already"),
        ({"backups": ["rx1"]}, "backups[0]", "pop1 looks after it, and headend after enc1"),
        ({"triggers": ["receiver-unlocked"]}, "triggers[0]", "no unit of the group raises such an alarm"),
        ({"mute_on_error": True}, "positions[0].id", "nothing says how"),
        ({"positions": [position(SWITCH | {"device": "mux2"})]}, "positions[0].switch[0].device", "no such device"),
        (
            {"positions": [position(SWITCH | {"parameter": "service[1].input_port"})]},
            "positions[0].switch[0].parameter",
            "carrier sat1 sets it",
        ),
        (
            {"positions": [position(SWITCH | {"parameter": "service[1].provider", "main": 5})]},
            "positions[0].switch[0].main",
            "must be text",
        ),
        (
            {"positions": [position(SWITCH | {"backup": {"enc9": "10.1.1.9"}})]},
            "positions[0].switch[0].backup",
            "no such backup|there is no value for enc2",
        ),
        ({"positions": [position(SWITCH, SWITCH)]}, "positions[0].switch[1].parameter", "is switched already"),
        (
            {"positions": [position(SWITCH | {"effect": {"watch": "service.input_stat", "expect": "locked"}})]},
            "positions[0].switch[0].effect.watch",
            "no such parameter",
        ),
        (
            {"positions": [position(SWITCH | {"effect": {"watch": "service.input_state", "expect": "fine"}})]},
            "positions[0].switch[0].effect.watch",
            "none of its values",
        ),
        (
            {
                "positions": [
                    position(
                        SWITCH
                        | {
                            "effect": {
                                "watch": "service.input_state",
                                "expect": "locked",
                                "when": {"alarm.state": "raised"},
                            }
                        }
                    )
                ]
            },
            'positions[0].switch[0].effect.when["alarm.state"]',
            "is not",
        ),
    ],
)
def test_a_group_that_is_wrong_is_refused_at_its_key(changes: dict[str, Any], key: str, rule: str) -> None:
    found = plan(second_encoder(fleet_data(), **changes)).problems
    assert any(
        problem.key == f"{PATH}.groups[0].{key}" and any(word in problem.rule for word in rule.split("|"))
        for problem in found
    ), found


def test_a_parameter_of_the_document_is_no_groups() -> None:
    fleet = second_encoder(fleet_data())
    device(fleet, "mux1")["parameters"] = {"service[1].input_address": "10.1.1.31"}
    ((rule, _),) = refused(fleet).values()
    assert rule == "`parameters` of mux1 sets it too"


def backed_up(fleet: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The sample's carrier with a second encoder."""
    snmp(fleet)["devices"].append(device(fleet, "enc1") | {"id": "enc2", "address": "172.20.20.31"})
    carrier(fleet)["encoder_backup"] = {"device": "enc2", "switch_delay": "3s", **more}
    return fleet


def test_a_carriers_encoders_are_a_group_that_switches_what_the_carrier_owns() -> None:
    found = plan(backed_up(fleet_data()))
    assert not found.problems
    section = sections(found)["headend"]
    (group,) = section.groups
    assert (group.id, group.switch_delay_ms, group.backups) == ("sat1-encoder", 3000, ("enc2",))
    (place,) = group.positions
    assert (place.id, place.main) == ("sat1", "enc1")
    assert [(one.parameter, one.main, one.backup) for one in place.switch] == [
        ("service[1].input_port", 20001, 21001),
        ("service[2].input_port", 20002, 21002),
    ]
    assert SnmpDevicesSection.model_validate(json.loads(json.dumps(section.to_json()))) == section
    model = load_models()["nf-lab-mux"]
    owner = owner_of(section, model, "mux1", "service[1].input_port")
    assert owner is not None
    assert (owner.name, owner.remedy) == (
        "redundancy group sat1-encoder",
        "nf device switch sat1-encoder POSITION UNIT",
    )
    assert {claim.device for claim in section.claims} == {"enc1", "enc2", "mux1", "mod1"}


def test_where_nothing_is_delivered_there_is_nothing_to_switch() -> None:
    lineup = lineup_data()
    for channel in lineup["spec"]["channels"]:
        channel["delivery"] = [path for path in channel["delivery"] if path["type"] == "ssm"]
    assert sections(plan(backed_up(fleet_data()), lineup))["headend"].groups == ()


def test_both_encoders_are_set_alike_but_for_the_port_that_the_multiplex_hears_them_at() -> None:
    compilation = compiled(lineup_data(), backed_up(fleet_data()))
    section = compilation.configs["headend"].sections["satellite-uplink"]
    assert isinstance(section, UplinkSection)
    (one,) = section.carriers
    assert one.standby is not None
    assert (one.standby.id, one.carrier.encoder_backup) == ("enc2", None)  # a delay is nothing of the chain's
    for rung in one.ladder:
        made = settings(one, rung)
        ports = {name: value for name, value in made.standby.items() if name.endswith(".output_port")}
        assert ports == {"channel[1].output_port": 21001, "channel[2].output_port": 21002}
        assert {**made.standby, **ports} == {**made.encoder, **ports}
        assert settings(one.model_copy(update={"standby": None}), rung).standby == {}


@pytest.mark.parametrize(
    ("more", "key", "rule"),
    [
        ({"device": "enc3"}, "encoder_backup.device", "no such device"),
        ({"device": "enc1"}, "encoder_backup.device", "has work already"),
        ({"device": "rx1"}, "encoder_backup.device", "pop1 looks after it"),
        ({"triggers": ["receiver-unlocked"]}, "encoder_backup.device", "no unit of the group raises such an alarm"),
    ],
)
def test_a_second_encoder_that_is_wrong_is_refused_at_its_key(more: dict[str, Any], key: str, rule: str) -> None:
    fleet = backed_up(fleet_data(), **more)
    problems = [*plan(fleet).problems, *plan(fleet, planner=SatellitePlanner()).problems]
    where = f"spec.equipment.satellite.carriers[0].{key}"
    assert any(problem.key == where and rule in problem.rule for problem in problems), problems


def test_a_unit_of_a_carrier_is_no_unit_of_another_group() -> None:
    fleet = second_encoder(fleet_data())
    carrier(fleet)["encoder_backup"] = {"device": "enc2"}
    rules = [problem.rule for problem in plan(fleet).problems]
    assert f"enc1 has a place already: {PATH}.groups[0].positions[0].main" in rules
    fleet = backed_up(fleet_data())
    carrier(fleet)["id"] = "a-carrier-with-a-name-of-forty-letters"
    lineup = lineup_data()
    for channel in lineup["spec"]["channels"]:
        for path in channel["delivery"]:
            if path["type"] == "dvb-s2x":
                path["carrier"] = carrier(fleet)["id"]
    assert ["at most 31 characters" in problem.rule for problem in refusals(lineup, fleet)] == [True]


@given(order=st.permutations(range(5)))
def test_the_order_of_devices_in_the_document_means_nothing(order: list[int]) -> None:
    fleet = fleet_data()
    listed = snmp(fleet)["devices"]
    expected = plan(fleet)
    snmp(fleet)["devices"] = [listed[number] for number in order]
    assert plan(fleet) == expected
