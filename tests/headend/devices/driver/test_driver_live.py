"""The driver against the lab's simulators, which are none of our code's kin; judged by net-snmp where it matters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headend.devices.errors import DeviceError
from lab.devices.control import DeviceFault
from nf.contracts.driver import Context
from nf.errors import RefusedError
from tests.headend.devices.driver.conftest import Lab, Make
from tests.headend.devices.driver.sections import commit, device, section
from tests.support.ports import free_port

pytestmark = pytest.mark.daemon
Within = Callable[[float], Context]
NAME, NETWORK = "MuxNetworkName", "MuxOriginalNetworkId"


def held(lab: Lab) -> str:
    """The multiplexer's network name, as net-snmp's snmpget reads it."""
    return lab.running["mux1"].subject.value(NAME).strip('"')


async def test_parameters_are_set_proved_and_taken_back(lab: Lab, make: Make, within: Within) -> None:
    driver, before = make(), held(lab)
    plain = section(device("mux1", lab.port("mux1")))
    await commit(driver, plain, within(20))
    wanted = section(device("mux1", lab.port("mux1"), parameters={"network_name": "Evening", "original_network_id": 9}))
    (step,) = driver.plan(await driver.observe(), wanted)
    assert step.disruption == "mux1 is set: network_name, original_network_id; what it carries may be interrupted"
    undo = await driver.prepare(step)
    await driver.apply(step, within(20))
    await driver.apply(step, within(20))
    assert not await driver.verify(wanted, within(5))
    assert held(lab) == "Evening"
    await driver.undo(undo, within(20))
    await driver.undo(undo, within(20))
    assert held(lab) == before
    assert driver.plan(await driver.observe(), plain) == ()
    assert [(entry.who, entry.result) for entry in driver.history("mux1").entries()] == [
        ("the fleet document", "done"),
        ("undo of a commit", "done"),
    ]


async def test_what_somebody_changes_by_hand_is_seen_and_put_back(lab: Lab, make: Make, within: Within) -> None:
    driver = make()
    wanted = section(device("mux1", lab.port("mux1"), parameters={"original_network_id": 71}))
    await commit(driver, wanted, within(20))
    again = make()  # a restart: nothing is believed, all is read
    assert again.plan(await again.observe(), wanted) == ()
    lab.running["mux1"].put(NETWORK, "u", 72)
    state = await again.observe()
    assert state.value is not None
    assert state.value["altered"] == {"mux1": ["mux1: original_network_id is 72, not 71"]}
    (step,) = await commit(again, wanted, within(20))
    assert "original_network_id" in step.disruption
    assert await commit(again, None, within(20))
    assert (await again.observe()).value is None


async def test_a_silent_device_refuses_no_enrolment_and_no_other_change(lab: Lab, make: Make, within: Within) -> None:
    driver = make()
    absent = device("rx2", free_port(), parameters={"relock_time": 400})
    there = device("mux1", lab.port("mux1"))
    assert len(await commit(driver, section(absent, there), within(20))) == 3
    await commit(driver, section(absent, there | {"parameters": {"original_network_id": 5}}), within(20))
    other = section(absent | {"parameters": {"relock_time": 300}}, there)
    steps = driver.plan(await driver.observe(), other)
    with pytest.raises(RefusedError) as caught:
        await driver.check(steps, other)
    assert [problem.rule for problem in caught.value.problems] == ["the device rx2 does not answer"]
    await driver.check(driver.plan(await driver.observe(), section(there)), section(there))  # it may always leave


async def test_what_is_not_of_its_model_is_never_set(lab: Lab, make: Make, within: Within) -> None:
    driver = make()
    wrong = section(device("mod1", lab.port("mux1"), parameters={"input_port": 6000}))
    await commit(driver, wrong, within(20))  # an enrolment: nothing was written, and the polls tell
    assert not driver.history("mod1").entries()
    other = section(device("mod1", lab.port("mux1"), parameters={"input_port": 6001}))
    with pytest.raises(RefusedError, match="cannot be set") as caught:
        await driver.check(driver.plan(await driver.observe(), other), other)
    assert "is no nf-lab-modem" in caught.value.problems[0].rule


async def test_a_device_that_ignores_a_set_is_found_out(lab: Lab, make: Make, within: Within) -> None:
    driver = make()
    await commit(driver, section(device("mux1", lab.port("mux1"))), within(20))
    before = held(lab)
    wanted = section(device("mux1", lab.port("mux1"), parameters={"network_name": "Ignored"}))
    (step,) = driver.plan(await driver.observe(), wanted)
    undo = await driver.prepare(step)
    lab.running["mux1"].disturb(DeviceFault.IGNORED_SET)
    try:
        with pytest.raises(DeviceError, match="network_name was set to Ignored and reads"):
            await driver.apply(step, within(20))
    finally:
        lab.running["mux1"].mend(DeviceFault.IGNORED_SET)
    assert driver.causes("mux1") is None  # nobody polls here
    assert driver.set_failed == {"mux1"}
    await driver.undo(undo, within(20))
    assert held(lab) == before
    assert "reads" in driver.history("mux1").entries()[0].result


async def test_secrets_that_are_not_there_refuse_nothing(lab: Lab, make: Make, within: Within) -> None:
    driver = make()
    entry = device("mux1", lab.port("mux1"), credentials="secret:lost", parameters={"original_network_id": 4})
    await commit(driver, section(entry), within(30))
    assert not driver.history("mux1").entries()
