"""A redundancy group at work: two receivers of the lab, and a multiplexer that takes its input from one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headend.devices.driver import SnmpDevices
from lab.devices.control import DeviceFault
from nf.contracts.driver import Context
from nf.errors import DriverError, RefusedError
from tests.headend.devices.driver.conftest import Lab, Make
from tests.headend.devices.driver.sections import Seen, commit, device, operate, running, section

pytestmark = pytest.mark.daemon
Within = Callable[[float], Context]
PORT = "SvcInputPort"


def receivers(**more: Any) -> dict[str, Any]:
    taken = {"device": "mux1", "parameter": "service[1].input_port", "main": 6001, "backup": 6002}
    named = {"device": "mux1", "parameter": "service[1].provider", "main": "first", "backup": {"rx2": "second"}}
    return {
        "id": "receivers",
        "mode": "reverting",
        "positions": [{"id": "feed", "main": "rx1", "switch": [taken, named]}],
        "backups": ["rx2"],
        "triggers": ["device-silent"],
        "switch_delay": "100ms",
        "switch_back_delay": "200ms",
        "flap": {"switches": 5, "window": "60s"},
    } | more


@pytest.fixture
async def driver(lab: Lab, make: Make) -> SnmpDevices:
    lab.running["mux1"].put(PORT, "u", 6001, row=1)
    lab.running["mux1"].put("SvcProvider", "s", "first", row=1)
    return make()


async def start(driver: SnmpDevices, lab: Lab, context: Context, **more: Any) -> None:
    listed = [device(name, lab.port(name)) for name in ("mux1", "rx1", "rx2")]
    await commit(driver, section(*listed, groups=[receivers(**more)]), context)


async def ready(driver: SnmpDevices, context: Context) -> Any:
    """The group as it is shown, once all of its units are known."""
    while True:
        if "receivers" in driver.redundancy.groups:
            found = await operate(driver, "device-group-show", context, group="receivers")
            if found["known"] and all(unit["alarms"] is not None for unit in found["units"]):
                return found
        await asyncio.sleep(0.05)


async def test_a_unit_that_fails_is_replaced_and_comes_back(lab: Lab, driver: SnmpDevices, within: Within) -> None:
    await start(driver, lab, within(20))
    mux = lab.running["mux1"]
    async with running(driver) as seen:
        assert (await ready(driver, within(5)))["positions"][0]["active"] == "rx1"
        lab.running["rx1"].disturb(DeviceFault.SILENT)
        try:
            told = await seen.alarm("redundancy-on-backup", "receivers/feed")
            assert told.text == "rx2 carries it instead of rx1: rx1 has failed"
            assert (mux.number(PORT, 1), mux.subject.value("SvcProvider", 1).strip('"')) == (6002, "second")
        finally:
            lab.running["rx1"].mend(DeviceFault.SILENT)
        seen.forget()
        await seen.alarm("redundancy-on-backup", "receivers/feed", raised=False)
        assert mux.number(PORT, 1) == 6001
    assert "redundancy: receivers/feed to rx2" in [entry.who for entry in driver.history("mux1").entries()]


async def test_a_restart_finds_the_backup_carrying_and_people_switch_and_lock(
    lab: Lab, driver: SnmpDevices, make: Make, within: Within
) -> None:
    await start(driver, lab, within(20), mode="manual")
    given = {"group": "receivers", "position": "feed"}
    async with running(driver) as seen:
        await ready(driver, within(5))
        with pytest.raises(RefusedError, match="group receivers sets it"):
            await operate(driver, "device-set", within(5), device="mux1", changes={"service[1].input_port": "6005"})
        found = await operate(driver, "device-group-switch", within(20), unit="rx2", **given)
        assert (found["positions"][0]["active"], found["positions"][0]["state"]) == ("rx2", "on-backup")
        await seen.alarm("redundancy-on-backup", "receivers/feed")
        locked = await operate(driver, "device-group-lock", within(5), group="receivers", locked=True)
        assert locked["locked"]["reason"] == "a test"
    again = make()
    async with running(again) as seen:
        found = await ready(again, within(5))
        assert found["positions"][0]["active"] == "rx2"
        assert found["locked"]["by"] == "spiffe://nf.test/operator/alice"
        await operate(again, "device-group-lock", within(5), group="receivers", locked=False)
        await operate(again, "device-group-switch", within(20), unit="rx1", **given)
        assert lab.running["mux1"].number(PORT, 1) == 6001
        with pytest.raises(RefusedError, match="carries it already"):
            await operate(again, "device-group-switch", within(20), unit="rx1", **given)


async def test_a_switch_that_is_ignored_is_no_switch(lab: Lab, driver: SnmpDevices, within: Within) -> None:
    await start(driver, lab, within(20), mode="manual")
    async with running(driver) as seen:
        await ready(driver, within(5))
        lab.running["mux1"].disturb(DeviceFault.IGNORED_SET)
        try:
            with pytest.raises(DriverError, match="the switch failed"):
                await operate(driver, "device-group-switch", within(20), group="receivers", position="feed", unit="rx2")
        finally:
            lab.running["mux1"].mend(DeviceFault.IGNORED_SET)
        await seen.alarm("redundancy-switch-failed", "receivers/feed")
        found = await operate(driver, "device-group-show", within(5), group="receivers")
        assert found["positions"][0]["active"] == "rx1"


async def test_devices_that_hold_neither_way_are_left_alone_and_told(
    lab: Lab, driver: SnmpDevices, within: Within
) -> None:
    lab.running["mux1"].put(PORT, "u", 6009, row=1)
    await start(driver, lab, within(20))
    async with running(driver) as seen:
        assert isinstance(seen, Seen)
        told = await seen.alarm("redundancy-undefined", "receivers/feed")
        assert told.remedy == "nf device switch receivers feed rx1"
        assert lab.running["mux1"].number(PORT, 1) == 6009
