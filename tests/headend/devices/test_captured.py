"""Every captured walk of a real device, served by snmpsim, through its model."""

from __future__ import annotations

import pytest

from headend.devices.alarms import AlarmWatch
from headend.devices.hms import HmsWatch, read_alarms
from headend.devices.identify import identify
from headend.devices.modelfile import load_models
from headend.snmp.values import Quality
from nf.errors import NotFoundError
from nf.telemetry.alarms import Severity
from tests.headend.devices.conftest import Opener
from tests.support.snmp import Simulator

WALKS = {
    "uhp": "uhp-vsat",
    "ird": "pbi-dch-ird",
    "ciscosat": "cisco-d9854",
    "terra-receivers_sdi480": "terra-sdi480",
    "luminato_4x4": "teleste-luminato",
    "luminato_c12": "teleste-luminato",
    "arris-dsr4410md": "arris-dsr4410md",
}
NOT_THERE = {
    "uhp": {"profile"},
    "ird": set(),
    "ciscosat": {"input", "frequency", "symbol_rate", "modulation", "roll_off"},
    "terra-receivers_sdi480": {
        "tuner[1].packet_error_ratio", "alarm_power", "alarm_temperature", "alarm_input_overflow",
    },
    "luminato_4x4": {"name", "redundancy"},
    "luminato_c12": {"redundancy"},
    "arris-dsr4410md": {
        "input", "frequency", "modulation", "symbol_rate", "code_rate", "service_id", "lnb_power", "lost_locks",
        "reed_solomon_errors", "video_lock",
    },
}  # fmt: skip
"""Parameters of the model that the walk does not hold; everything else has to be read, and make sense."""


@pytest.mark.parametrize("walk", WALKS)
async def test_everything_in_the_walk_is_read(captured: Simulator, opened: Opener, walk: str) -> None:
    device = opened(captured, walk, load_models()[WALKS[walk]])
    found = await device.read()
    bad = {name for name, value in found.items() if not value.good}
    assert bad == NOT_THERE[walk]
    assert {found[name].quality for name in bad} <= {Quality.MISSING}
    rowless = {table for table in device.model.spec.tables if not any(name.startswith(f"{table}[") for name in found)}
    assert rowless == ({"hms_alarm", "hms_property"} if walk == "luminato_4x4" else set())


@pytest.mark.parametrize("walk", WALKS)
async def test_the_driver_is_found(captured: Simulator, opened: Opener, walk: str) -> None:
    device = opened(captured, walk, load_models()[WALKS[walk]])
    found = await identify(device.session)
    assert found.model.name == WALKS[walk]


async def test_a_device_without_a_model_says_what_it_calls_itself(captured: Simulator, opened: Opener) -> None:
    device = opened(captured, "televes-fs", load_models()["terra-sdi480"])
    with pytest.raises(NotFoundError, match="sysObjectID") as caught:
        await identify(device.session)
    assert "nf device learn" in caught.value.remedy


async def values(captured: Simulator, opened: Opener, walk: str) -> dict[str, object]:
    device = opened(captured, walk, load_models()[WALKS[walk]])
    return {name: value.value for name, value in (await device.read()).items()}


async def test_uhp(captured: Simulator, opened: Opener) -> None:
    found = await values(captured, opened, "uhp")
    assert found["tx_level"] == -25.9
    assert found["tx_level_maximum"] == -25.0
    assert found["level_adjust"] == -2.1  # 4294967275 on the wire
    assert found["remote_tts"] == -2145
    assert found["demodulator1_snr"] == 13.5
    assert found["station_state"] == "operation"
    assert found["input_level"] == -11.2
    assert found["temperature"] == 65
    assert found["software_version"] == "306002d"
    assert found["tx_control"] == "on"


async def test_pbi(captured: Simulator, opened: Opener) -> None:
    found = await values(captured, opened, "ird")
    assert found["lock"] == "locked"
    assert found["total_bit_rate"] == 59_881_760
    assert found["c_n"] == 16.3
    assert found["eb_n0"] == 11.5
    assert found["serial_number"] == 8450052
    assert str(found["unit_name"]).endswith(str(found["serial_number"]))
    assert found["mac_address"] == "00:0e:26:ff:ba:38"
    assert found["management_address"] == "10.0.2.143"
    assert found["output_group"] == "225.1.1.1"
    assert found["symbol_rate"] == 28_000_000
    assert found["video_status"] == "Video:Ok"


async def test_cisco(captured: Simulator, opened: Opener) -> None:
    found = await values(captured, opened, "ciscosat")
    assert found["lock"] == "locked"
    assert (found["c_n"], found["margin"], found["level"]) == (10, 1.6, -40)
    assert found["input_bit_rate"] == 65_326_240
    assert found["network_name"] == "AMC 11 Transponder 13"
    assert found["fan[3].name"] == "FAN3"
    assert found["fan[3].speed"] == 5100


async def test_terra(captured: Simulator, opened: Opener) -> None:
    device = opened(captured, "terra-receivers_sdi480", load_models()["terra-sdi480"])
    found = await device.read()
    assert found["tuner[1].lock"].value == "unlocked"
    assert found["tuner[1].packet_error_ratio"].value is None  # "-"
    assert found["tuner[2].packet_error_ratio"].value == 1.0e-9
    assert found["tuner[2].packet_error_ratio"].bound == "<"
    assert found["tuner[2].level"].value == 82.4
    assert found["tuner[8].snr"].value == 12.7
    assert found["input_bit_rate"].value == 287_000_000
    total = sum(int(str(found[f"tuner[{n}].bit_rate"].value)) for n in range(1, 9))
    assert total == found["input_bit_rate"].value


async def test_luminato(captured: Simulator, opened: Opener) -> None:
    found = await values(captured, opened, "luminato_4x4")
    assert found["interface[12010001].name"] == "Module 1, QAM output interface 1.1"
    assert found["interface[12010001].direction"] == "output"
    assert found["interface[12010001].bit_rate"] == 34_145_785
    assert found["module[1].temperature"] == 39.0


async def test_rows_whose_index_is_an_oid(captured: Simulator, opened: Opener) -> None:
    found = await values(captured, opened, "luminato_c12")
    row = "hms_alarm[1.3.6.1.4.1.3715.17.2.4.1.1.1.2.13.4097]"
    assert found[f"{row}.state"] == "minor"
    assert found[f"{row}.object"] == "1.3.6.1.4.1.3715.17.2.4.1.1.1.2.13.4097"
    assert found["hms_property[1.3.6.1.4.1.3715.17.2.2.1.1.6,2].enable"] == "major"


async def test_luminato_alarms_say_what_they_mean(captured: Simulator, opened: Opener) -> None:
    device = opened(captured, "luminato_c12", load_models()["teleste-luminato"])
    alarms = await read_alarms(device.session)
    assert len(alarms) == 4
    assert all(alarm.severity is Severity.MINOR for alarm in alarms)
    assert [alarm.text for alarm in alarms] == [
        "Module 1: Redundancy failed",
        "Module 2: Redundancy failed",
        "Module 2: signal missing (input 13)",
        "Module 2: signal missing (input 15)",
    ]
    watch = HmsWatch("head1")
    assert len(watch.update(alarms, 1.0)) == 4
    assert watch.update(alarms, 2.0) == []
    assert [event.severity for event in watch.update(alarms[1:], 3.0)] == [Severity.CLEARED]


async def test_arris(captured: Simulator, opened: Opener) -> None:
    found = await values(captured, opened, "arris-dsr4410md")
    assert found["lock"] == "locked"
    assert found["level"] == -47.5
    assert (found["eb_n0"], found["snr"]) == (15.0, 18.2)
    assert found["received_frequency"] == 1_290_000_000


@pytest.mark.parametrize("walk", WALKS)
async def test_alarms_are_what_the_walk_says(captured: Simulator, opened: Opener, walk: str) -> None:
    device = opened(captured, walk, load_models()[WALKS[walk]])
    watch = AlarmWatch(device.model, walk)
    raised = watch.update(await device.read(), 1.0)
    assert {(event.cause, event.object.partition("/")[2]) for event in raised} == {
        "terra-receivers_sdi480": {("tuner-unlocked", "tuner[1].lock")},
    }.get(walk, set())


async def test_telemetry_groups_have_the_rows_that_there_are(captured: Simulator, opened: Opener) -> None:
    device = opened(captured, "ciscosat", load_models()["cisco-d9854"])
    groups = await device.telemetry()
    names = {instance.name for group in groups for instance in group.instances.values()}
    assert {"fan[1].speed", "fan[7].name", "margin"} <= names


async def test_over_v3_as_over_v2c(captured: Simulator, opened: Opener) -> None:
    model = load_models()["pbi-dch-ird"]
    plain, secured = opened(captured, "ird", model), opened(captured, "ird", model, "v3")
    one, other = await plain.read(), await secured.read()
    assert {name: value.value for name, value in one.items()} == {name: value.value for name, value in other.items()}
