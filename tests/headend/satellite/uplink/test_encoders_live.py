"""1+1 of a carrier's encoders on the lab's simulators: the second one encodes too, and a redundancy group chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headend.devices.documents import SnmpDevicesSection
from headend.devices.driver import SnmpDevices
from headend.satellite.documents import EncoderBackup, UplinkCarrier, encoder_group
from headend.satellite.uplink.control import NOT_STANDING_BY
from headend.satellite.uplink.driver import SatelliteUplink
from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.headend.devices.driver.sections import Seen, operate, running
from tests.headend.devices.driver.sections import commit as commit_devices
from tests.headend.satellite.uplink.conftest import NoUnits
from tests.headend.satellite.uplink.test_driver_live import commit
from tests.support import satellite

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]
Within = Callable[[float], Context]
GROUP = "sat1-encoder"


@pytest.fixture(scope="module")
def sky(
    tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]
) -> Iterator[satellite.Simulated]:
    require_programs("ffmpeg", "ffprobe")
    with satellite.simulated(tmp_path_factory.mktemp("sky"), second_encoder=True) as devices:
        yield devices


@pytest.fixture
async def devices(tmp_path: Path) -> AsyncIterator[SnmpDevices]:
    context = DriverContext("headend", tmp_path / "run", tmp_path / "state-devices", NoUnits(), RealClock())  # type: ignore[arg-type]
    driver = SnmpDevices(context, satellite.credentials)
    yield driver
    await driver.close()


def groups(carrier: UplinkCarrier, **delays: object) -> SnmpDevicesSection:
    backup = EncoderBackup.model_validate(
        {"device": "enc2", "switch_delay": "100ms", "switch_back_delay": "1s", "flap": {"switches": 9}} | delays
    )
    group = encoder_group(carrier.carrier, backup, len(carrier.services))
    return SnmpDevicesSection(devices=tuple(map(satellite.device, ("enc1", "enc2", "mux1"))), groups=(group,))


@asynccontextmanager
async def watched(uplink: SatelliteUplink) -> AsyncIterator[Seen]:
    seen = Seen()

    async def run() -> None:
        async for event in uplink.events():
            seen.take(event)

    task = asyncio.create_task(run())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ports(uplink: SatelliteUplink) -> list[object]:
    (carrier,) = uplink.carriers()
    names = [f"service[{service.row}].input_port" for service in carrier.services]
    found = await (await uplink.chain(carrier)).mux.read(names)
    return [found[name].value for name in names]


async def rates(uplink: SatelliteUplink, encoder: str) -> list[object]:
    (carrier,) = uplink.carriers()
    chain = await uplink.chain(carrier)
    device = chain.encoder if encoder == "enc1" else chain.standby
    assert device is not None
    names = [f"channel[{service.row}].bit_rate" for service in carrier.services]
    found = await device.read(names)
    return [found[name].value for name in names]


async def both_well(devices: SnmpDevices, within: Within) -> bool:
    """The group knows who carries, and that nothing is wrong with either."""
    if GROUP not in devices.redundancy.groups:
        return False
    found = await operate(devices, "device-group-show", within(5), group=GROUP)
    return bool(found["known"]) and all(unit["alarms"] == [] for unit in found["units"])


@pytest.mark.soak
async def test_the_second_encoder_takes_over_follows_the_ladder_and_gives_back(
    uplink: SatelliteUplink, devices: SnmpDevices, sky: satellite.Simulated, within: Within
) -> None:
    section = satellite.section(second_encoder=True)
    await commit(uplink, section, within(60))
    (carrier,) = uplink.carriers()
    chain = await uplink.chain(carrier)
    assert await ports(uplink) == [20001, 20002]
    assert await rates(uplink, "enc2") == await rates(uplink, "enc1")
    standing = await chain.standing()
    assert (standing.encoder, standing.idle, standing.deviations) == ("enc1", "", ())

    await commit_devices(devices, groups(carrier), within(30))
    async with running(devices) as told, watched(uplink) as seen:
        await satellite.eventually(lambda: both_well(devices, within))
        with satellite.fault(sky, "enc1", "silent"):
            alarm = await told.until(lambda event: _is(event, "redundancy-on-backup", raised=True), 60)
            assert isinstance(alarm, AlarmEvent)
            assert (alarm.object, alarm.text) == (
                f"{GROUP}/sat1",
                "enc2 carries it instead of enc1: enc1 has failed",
            )
            assert await ports(uplink) == [21001, 21002]
            standing = await chain.standing()
            assert (standing.encoder, standing.silent, standing.deviations) == ("enc2", (), ())
            assert "does not answer" in standing.idle
            await seen.until(lambda event: _is(event, NOT_STANDING_BY, raised=True))
            seen.forget()
            # Rain would not wait: the ladder is gone down with the encoder that is heard.
            await chain.go(carrier.ladder[1])
            assert await ports(uplink) == [21001, 21002]
            assert not await uplink.verify(section, within(20))
            await chain.go(carrier.ladder[0])
            before = await rates(uplink, "enc2")
        told.forget()
        # A device that was silent is asked again at growing intervals.
        await told.until(lambda event: _is(event, "redundancy-on-backup", raised=False), 120)
        assert await ports(uplink) == [20001, 20002]
        await seen.until(lambda event: _is(event, NOT_STANDING_BY, raised=False))
        assert await rates(uplink, "enc1") == before
    assert not await uplink.verify(section, within(20))


async def test_what_the_second_encoder_lost_is_set_again_and_no_commit_waits_for_it(
    uplink: SatelliteUplink, sky: satellite.Simulated, within: Within
) -> None:
    with satellite.fault(sky, "enc2", "silent"):
        await commit(uplink, satellite.section(second_encoder=True, rates={1: "900k"}), within(60))
    (carrier,) = uplink.carriers()
    chain = await uplink.chain(carrier)
    assert chain.standby is not None

    async def stands_by() -> bool:
        standing = await chain.standing()
        return not standing.idle and (await rates(uplink, "enc2"))[0] == 900_000

    async with watched(uplink):
        await satellite.eventually(stands_by)
        await chain.standby.set({"channel[1].bit_rate": 500_000})
        await satellite.eventually(stands_by)  # it may be so already


def _is(event: object, cause: str, *, raised: bool) -> bool:
    return isinstance(event, AlarmEvent) and event.cause == cause and (event.severity is not Severity.CLEARED) == raised
