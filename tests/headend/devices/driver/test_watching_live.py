"""Polls, notifications and alarms of the driver against the lab's simulators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from headend.devices.driver import SnmpDevices
from lab.devices.control import DeviceFault, Order
from nf.contracts.driver import Context, Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Quality, Sample
from tests.headend.devices.driver.conftest import Lab, Make
from tests.headend.devices.driver.sections import Seen, commit, device, operate, running, section
from tests.lab.devices.conftest import await_true
from tests.support.ports import free_port

pytestmark = pytest.mark.daemon
ENGINE_BOOTS = ".1.3.6.1.6.3.10.2.1.2.0"
Within = Callable[[float], Context]


def sample(event: Event, name: str, row: str = "") -> Sample | None:
    found = isinstance(event, Sample) and event.kind == "device" and event.labels == {"device": name, "row": row}
    return event if isinstance(event, Sample) and found else None


async def test_values_come_with_unit_age_and_quality_and_silence_is_an_alarm(
    lab: Lab, make: Make, within: Within
) -> None:
    driver = make()
    await commit(driver, section(device("mux1", lab.port("mux1")), device("rx1", free_port())), within(20))
    async with running(driver) as seen:
        row = await seen.until(lambda event: sample(event, "mux1", "service[1]") is not None)
        assert isinstance(row, Sample)
        assert {"input_bit_rate_bps", "continuity_errors_errors", "age_ms"} <= row.values.keys()
        assert "admin_state enabled" in row.text
        whole = await seen.until(lambda event: sample(event, "mux1") is not None)
        assert isinstance(whole, Sample)
        assert whole.values["up"] == 1
        absent = await seen.alarm("device-silent", "rx1")
        assert absent.severity is Severity.MAJOR
        lab.running["mux1"].disturb(DeviceFault.SILENT)
        await seen.alarm("device-silent", "mux1")
        last = await seen.until(lambda event: (s := sample(event, "mux1")) is not None and s.quality is Quality.STALE)
        assert isinstance(last, Sample)
        assert last.values["up"] == 0
        listed = await operate(driver, "device-list", within(5))
        assert {one["device"]: one["state"] for one in listed["devices"]} == {"mux1": "silent", "rx1": "silent"}
        lab.running["mux1"].mend(DeviceFault.SILENT)
        await seen.alarm("device-silent", "mux1", raised=False)
        await commit(driver, section(device("mux1", lab.port("mux1"))), within(20))
        await seen.alarm("device-silent", "rx1", raised=False)  # nobody looks after it any more


async def test_an_alarm_outlives_the_end_of_a_listener_and_is_cleared_by_a_poll(
    lab: Lab, make: Make, within: Within
) -> None:
    driver = make()
    await commit(driver, section(device("rx1", lab.port("rx1"))), within(20))
    async with running(driver) as seen:
        raised = await seen.alarm("receiver-unlocked", "rx1/lock")
        assert raised.severity is Severity.CRITICAL
    async with running(driver) as seen:
        await seen.until(lambda event: sample(event, "rx1") is not None)
        assert not [event for event in seen.events if isinstance(event, AlarmEvent) and event.object == "rx1/lock"]
        await commit(driver, None, within(20))
        await seen.alarm("receiver-unlocked", "rx1/lock", raised=False)


async def test_another_model_behind_an_address_and_lost_credentials_are_alarms(
    lab: Lab, make: Make, within: Within
) -> None:
    driver = make()
    lost = device("rx1", lab.port("rx1"), credentials="secret:lost")
    await commit(driver, section(device("mod1", lab.port("mux1")), lost), within(20))
    async with running(driver) as seen:
        wrong = await seen.alarm("device-model-wrong", "mod1")
        assert "is no nf-lab-modem" in wrong.text
        assert "nf device probe" in wrong.remedy
        unusable = await seen.alarm("device-unusable", "rx1")
        assert "secret:lost" in unusable.text


async def polls(driver: SnmpDevices, name: str, more: int) -> None:
    """Until so many more polls of a device have ended."""
    poller = driver.watching._poller
    assert poller is not None
    wanted = poller.health(name).polls + more
    while poller.health(name).polls < wanted:  # noqa: ASYNC110 - polls are counted, not told
        await asyncio.sleep(0.02)


async def test_a_notification_is_a_hint_and_what_cannot_be_delivered_is_counted(
    lab: Lab, make: Make, within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headend.devices.notifications._REPORT_S", 0.1)
    driver = make()
    place = {"address": "127.0.0.1", "port": lab.traps}
    await commit(driver, section(device("rx1", lab.port("rx1")), notifications=place), within(20))
    async with running(driver) as seen:
        await seen.until(lambda event: sample(event, "rx1") is not None)
        hints: list[str] = []
        monkeypatch.setattr(driver.watching.notifications, "_hint", hints.append)
        await trap(lab.traps, "private")
        await trap(lab.traps, "nobody-knows-it")
        dropped = await seen.alarm("notifications-dropped", "headend/notifications/bad-community")
        assert "127.0.0.1" in dropped.text
        counted = await seen.until(
            lambda event: isinstance(event, Sample) and event.values.get("dropped_bad_community") == 1
        )
        assert isinstance(counted, Sample)
        assert counted.kind == "device.notifications"
        assert hints == ["127.0.0.1"]
        monkeypatch.undo()
        await asyncio.wait_for(hinted_poll(driver), 5)


async def hinted_poll(driver: SnmpDevices) -> None:
    counting = asyncio.create_task(polls(driver, "rx1", 2))
    await asyncio.sleep(0)
    driver.watching.hint("127.0.0.1")
    await counting


async def trap(port: int, community: str) -> None:
    argv = ["snmptrap", "-v2c", "-c", community, f"127.0.0.1:{port}", "", "1.3.6.1.6.3.1.1.5.3"]
    process = await asyncio.create_subprocess_exec(*argv)
    assert await process.wait() == 0


async def test_where_nobody_may_listen_devices_are_polled_all_the_same(lab: Lab, make: Make, within: Within) -> None:
    driver = make()
    place = {"address": "192.0.2.1", "port": 162}
    await commit(driver, section(device("rx1", lab.port("rx1")), notifications=place), within(20))
    async with running(driver) as seen:
        told = await seen.alarm("notifications-unheard", "headend/notifications/162")
        assert told.severity is Severity.WARNING
        await seen.until(lambda event: sample(event, "rx1") is not None)


async def test_an_engine_whose_boots_go_down_is_a_security_alarm_until_a_person_accepts_it(
    lab: Lab, make: Make, within: Within
) -> None:
    lab.running["rx1"].order(Order.REBOOT)  # so that its boots are two
    assert await asyncio.to_thread(await_true, lambda: rebooted(lab))
    driver = make()
    want = section(device("rx1", lab.port("rx1"), credentials="secret:v3"))
    await commit(driver, want, within(20))
    async with running(driver) as seen:
        await seen.until(lambda event: sample(event, "rx1") is not None)
        await known_engine(driver)
        lab.running["rx1"].order(Order.BOOTS_LOST)
        alarm = await seen.alarm("snmp-engine-boots-down", "rx1")
        assert alarm.severity is Severity.CRITICAL
        assert "nf device accept rx1" in alarm.remedy
    again = make()
    async with running(again) as seen:  # a restart does not make it the right one
        await seen.alarm("snmp-engine-boots-down", "rx1")
        assert (await operate(again, "device-accept", within(5), device="rx1"))["engine_id"]
        await seen.alarm("snmp-engine-boots-down", "rx1", raised=False)
    final = make()
    async with running(final) as seen:
        await seen.until(lambda event: sample(event, "rx1") is not None)
        await known_engine(final)
        assert not boots_alarms(seen)


async def known_engine(driver: SnmpDevices) -> None:
    """Until the engine was read under its digest since this driver started."""
    while "rx1" not in driver.memory.engines:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)


def rebooted(lab: Lab) -> bool:
    """It says that it has started more than once."""
    return [int(answer.text) >= 2 for answer in lab.running["rx1"].subject.get(ENGINE_BOOTS)] == [True]


def boots_alarms(seen: Seen) -> list[Event]:
    return [
        e for e in seen.events if isinstance(e, AlarmEvent) and e.severity is Severity.CRITICAL and "engine" in e.cause
    ]
