"""Devices of a fleet: what is refused, and what every appliance gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.devices.documents import SnmpDevicesSection
from headend.devices.names import ALL, LIST, OPERATIONS
from headend.devices.planner import DevicesPlanner
from headend.satellite.claims import BY_ROLE
from headend.satellite.uplink.settings import settings
from nf.contracts.planner import Contribution
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from tests.headend.satellite.documents import REGISTRY, compiled, fleet_data, lineup_data

PATH = "spec.equipment.snmp"


def snmp(fleet: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = fleet["spec"]["equipment"]["snmp"]
    return found


def device(fleet: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in snmp(fleet)["devices"] if one["id"] == name)
    return found


def plan(fleet: dict[str, Any], lineup: dict[str, Any] | None = None) -> Contribution:
    loaded = load_fleet(json.dumps(fleet), file="fleet.json", extensions=REGISTRY).document
    given_lineup = load_lineup(json.dumps(lineup or lineup_data()), file="lineup.json", extensions=REGISTRY).document
    assert isinstance(loaded, Fleet)
    assert isinstance(given_lineup, LineUp)
    return DevicesPlanner().plan(given_lineup, loaded)


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


@given(order=st.permutations(range(5)))
def test_the_order_of_devices_in_the_document_means_nothing(order: list[int]) -> None:
    fleet = fleet_data()
    listed = snmp(fleet)["devices"]
    expected = plan(fleet)
    snmp(fleet)["devices"] = [listed[number] for number in order]
    assert plan(fleet) == expected
