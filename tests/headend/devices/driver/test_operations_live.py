"""What people do with devices, against the lab's simulators."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headend.devices.driver import SnmpDevices
from lab.devices.control import DeviceFault
from nf.contracts.driver import Context
from nf.errors import DriverError, InputError, NotFoundError, RefusedError
from tests.headend.devices.driver.conftest import Lab, Make
from tests.headend.devices.driver.sections import commit, device, operate, section

pytestmark = pytest.mark.daemon
Within = Callable[[float], Context]
CLAIM = {
    "device": "mux1",
    "parameters": ["service.input_port"],
    "owner": "carrier sat1",
    "remedy": "change the carrier",
}


@pytest.fixture
async def driver(lab: Lab, make: Make, within: Within) -> SnmpDevices:
    made = make()
    mux = device("mux1", lab.port("mux1"), parameters={"original_network_id": 40})
    await commit(made, section(mux, claims=[CLAIM]), within(20))
    return made


async def test_values_are_shown_with_who_sets_them(driver: SnmpDevices, within: Within) -> None:
    names = ["network_name", "original_network_id", "service[1].input_port", "actual_bit_rate"]
    found = await operate(driver, "device-show", within(10), device="mux1", parameters=names)
    assert {one["name"]: (one["owner"], one["settable"]) for one in found["values"]} == {
        "network_name": ("", True),
        "original_network_id": ("the fleet document", False),
        "service[1].input_port": ("carrier sat1", False),
        "actual_bit_rate": ("", False),
    }
    assert all(one["quality"] == "good" and one["age_s"] < 5 for one in found["values"])
    whole = await operate(driver, "device-show", within(10), device="mux1")
    assert "service[2].name" in {one["name"] for one in whole["values"]}
    assert "no real device" in whole["proven_on"]
    with pytest.raises(InputError, match="no such parameter"):
        await operate(driver, "device-show", within(10), device="mux1", parameters=["network_nam"])
    with pytest.raises(NotFoundError) as caught:
        await operate(driver, "device-show", within(10), device="mux2")
    assert caught.value.remedy == "did you mean mux1?"


async def test_a_set_by_hand_is_proved_and_written_down(lab: Lab, driver: SnmpDevices, within: Within) -> None:
    changes = {"network_name": "By hand", "service[1].pid_base": "512"}
    outcome = await operate(driver, "device-set", within(20), device="mux1", changes=changes, reason="the audit")
    assert {one["name"]: one["after"] for one in outcome["changed"]} == {
        "network_name": "By hand",
        "service[1].pid_base": 512,
    }
    assert lab.running["mux1"].subject.value("MuxNetworkName").strip('"') == "By hand"
    lab.running["mux1"].disturb(DeviceFault.IGNORED_SET)
    try:
        with pytest.raises(DriverError, match="was set to No and reads By hand"):
            await operate(driver, "device-set", within(20), device="mux1", changes={"network_name": "No"})
    finally:
        lab.running["mux1"].mend(DeviceFault.IGNORED_SET)
    told = (await operate(driver, "device-history", within(5), device="mux1", limit=2))["entries"]
    assert [(one["who"], one["reason"]) for one in told] == [
        ("spiffe://nf.test/operator/alice", "the audit"),
        ("spiffe://nf.test/operator/alice", "a test"),
    ]
    assert told[0]["result"] == "done"
    assert "By hand" in told[1]["result"]


@pytest.mark.parametrize(
    ("changes", "why", "remedy"),
    [
        ({"original_network_id": "1"}, "the fleet document sets it", "change `parameters` of mux1"),
        ({"service[2].input_port": "7000"}, "carrier sat1 sets it", "change the carrier"),
    ],
)
async def test_what_somebody_else_sets_is_refused_with_what_to_do(
    driver: SnmpDevices, within: Within, changes: dict[str, str], why: str, remedy: str
) -> None:
    with pytest.raises(RefusedError, match=why) as caught:
        await operate(driver, "device-set", within(20), device="mux1", changes=changes | {"network_name": "x"})
    assert [remedy in problem.remedy for problem in caught.value.problems] == [True]
    assert not [one for one in driver.history("mux1").entries() if one.who != "the fleet document"]


async def test_a_change_by_hand_has_its_person_and_its_reason(driver: SnmpDevices, within: Within) -> None:
    given = {"device": "mux1", "changes": {"network_name": "x"}}
    with pytest.raises(InputError, match="nobody is named"):
        await operate(driver, "device-set", within(5), author="", **given)
    with pytest.raises(InputError, match="has a reason"):
        await operate(driver, "device-set", within(5), reason=" ", **given)
    with pytest.raises(InputError, match="must be a number"):
        await operate(driver, "device-set", within(5), device="mux1", changes={"service[1].pid_base": "many"})


async def test_a_service_template_is_filled_in(lab: Lab, make: Make, within: Within) -> None:
    driver = make()
    await commit(driver, section(device("mux1", lab.port("mux1"))), within(20))
    given = {"row": "2", "service_id": "702", "name": "Filled in", "input_port": "7102", "pid_base": "640"}
    given |= {"max_bit_rate": "900000", "admin_state": "disabled"}
    with pytest.raises(InputError, match="cannot be filled"):
        await operate(driver, "device-set", within(5), device="mux1", template="service", changes={"row": "2"})
    with pytest.raises(NotFoundError, match="no such template"):
        await operate(driver, "device-set", within(5), device="mux1", template="servic", changes=given)
    found = await operate(driver, "device-set", within(20), device="mux1", template="service", changes=given)
    assert "service[2].name" in {one["name"] for one in found["changed"]}
    assert lab.running["mux1"].number("SvcServiceId", 2) == 702


async def test_nobody_puts_a_carrier_on_the_air_by_hand(lab: Lab, make: Make, within: Within) -> None:
    driver = make()
    await commit(driver, section(device("mod1", lab.port("mux1"))), within(20))
    with pytest.raises(RefusedError, match="would put a carrier on the air"):
        await operate(driver, "device-set", within(5), device="mod1", changes={"tx_enable": "transmitting"})


async def test_a_configuration_is_kept_compared_and_put_back(lab: Lab, driver: SnmpDevices, within: Within) -> None:
    async def keep(act: str, **more: str) -> dict[str, object]:
        found: dict[str, object] = await operate(driver, "device-snapshot", within(20), device="mux1", act=act, **more)
        return found

    first, second = (await keep("take"))["name"], (await keep("take"))["name"]
    assert isinstance(first, str)
    assert first < str(second)
    assert (await keep("diff", one=first, other=str(second)))["differences"] == []
    mux = lab.running["mux1"]
    before = mux.number("SvcInputPort", 1)
    mux.put("MuxNetworkName", "s", "Changed")
    mux.put("SvcInputPort", "u", 7001, row=1)
    found = (await keep("diff", one=first))["differences"]
    assert isinstance(found, list)
    assert {one["name"] for one in found} == {"network_name", "service[1].input_port"}
    with pytest.raises(RefusedError, match="carrier sat1 sets it"):
        await operate(driver, "device-restore", within(20), device="mux1", snapshot=first)
    restored = await operate(driver, "device-restore", within(20), device="mux1", snapshot=first, skip_owned=True)
    assert [one["name"] for one in restored["changed"]] == ["network_name"]
    assert restored["skipped"] == ["service[1].input_port"]
    assert mux.number("SvcInputPort", 1) == 7001
    mux.put("SvcInputPort", "u", before, row=1)
    assert (await keep("diff", one=first))["differences"] == []
    listed = (await keep("list"))["snapshots"]
    assert isinstance(listed, list)
    assert [one["name"] for one in listed] == [first, second]
    with pytest.raises(NotFoundError, match="no such snapshot"):
        await keep("diff", one="20200101T000000Z")
    with pytest.raises(InputError, match="no name of a snapshot"):
        await keep("diff", one="../../etc/passwd")
