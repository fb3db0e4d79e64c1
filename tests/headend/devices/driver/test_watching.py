"""Which polls a device gets while its rows are looked for: in memory, by a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from headend.devices.device import Device
from headend.devices.documents import SnmpDevicesSection
from headend.devices.driver import SnmpDevices
from headend.devices.instances import resolve
from headend.devices.modelfile import load_models
from headend.devices.watching import ROWS_EVERY_S
from headend.snmp.errors import AgentSilentError
from headend.snmp.fast import SYS_UP_TIME
from headend.snmp.values import Reading, Varbind
from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext
from nf.errors import UnavailableError
from tests.headend.devices.driver.conftest import NoUnits
from tests.headend.devices.driver.sections import running
from tests.headend.devices.fakes import TARGET, Agent
from tests.support import satellite

MODEL = load_models()["nf-lab-encoder"]
ENABLED, LOST, LOCKED = 2, 1, 2


@dataclass
class Encoder(Agent):
    """With two channels. `dies_at_walk`: it answers nothing any more when it is walked next."""

    dies_at_walk: bool = False

    async def walk(self, root: str) -> Sequence[Varbind]:
        self.silent = self.silent or self.dies_at_walk
        return await super().walk(root)

    def lock(self, row: int, state: int) -> None:
        self.objects[_oid(f"channel[{row}].input_lock")] = state


class PollingSession:
    """What a poller keeps, on an agent in memory."""

    target = TARGET

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.error: AgentSilentError | None = None

    async def get(self, oids: Sequence[str]) -> Mapping[str, Reading]:
        self.error = AgentSilentError("no answer", where="fake") if self._agent.silent else None
        return await self._agent.get(oids)

    def release(self) -> None:
        pass


def _oid(name: str) -> str:
    return resolve(MODEL, name).oid


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def encoder(clock: VirtualClock) -> Encoder:
    agent = Encoder(clock)  # type: ignore[arg-type]
    agent.objects[SYS_UP_TIME] = 4711
    agent.objects |= {probe.oid: probe.equals for probe in MODEL.spec.identify}  # type: ignore[misc]
    agent.objects |= {_oid(name): b"1" for name in ("model", "serial_number", "software_version")}
    for row in (1, 2):
        values = {"admin_state": ENABLED, "input_bit_rate": 1, "actual_bit_rate": 1, "bit_rate": 1, "name": b"one"}
        agent.objects |= {_oid(f"channel[{row}].{column}"): value for column, value in values.items()}
        agent.lock(row, LOCKED)
    return agent


@pytest.fixture
def driver(clock: VirtualClock, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SnmpDevices:
    context = DriverContext("headend", tmp_path / "run", tmp_path / "state", NoUnits(), clock)  # type: ignore[arg-type]
    made = SnmpDevices(context, satellite.credentials)
    device = Device(MODEL, TARGET, encoder, encoder, clock, name="enc1")

    async def opened(_entry: object) -> Device:
        return device

    monkeypatch.setattr(made, "device", opened)
    monkeypatch.setattr("headend.snmp.poller.Session", lambda *_args, **_more: PollingSession(encoder))
    made.memory.section = SnmpDevicesSection(devices=(satellite.device("enc1"),))
    return made


async def test_a_device_that_falls_silent_while_its_rows_are_looked_for_is_soon_an_alarm(
    driver: SnmpDevices, encoder: Encoder, clock: VirtualClock
) -> None:
    encoder.dies_at_walk = True
    async with running(driver):
        await clock.advance(5.0)
        assert encoder.silent
        assert driver.causes("enc1") == {"device-silent"}
        encoder.silent = encoder.dies_at_walk = False
        encoder.lock(1, LOST)
        await clock.advance(65.0)  # the back-off, at most
        assert driver.causes("enc1") == {"encoder-input-lost"}


async def test_a_device_that_falls_silent_while_its_rows_are_looked_for_again_keeps_rows_and_alarms(
    driver: SnmpDevices, encoder: Encoder, clock: VirtualClock
) -> None:
    encoder.lock(2, LOST)
    async with running(driver):
        await clock.advance(5.0)
        assert driver.causes("enc1") == {"encoder-input-lost"}
        encoder.dies_at_walk = True
        await clock.advance(ROWS_EVERY_S + 5.0)
        assert driver.causes("enc1") == {"encoder-input-lost", "device-silent"}
        assert "channel[2].input_lock" in driver.watching.devices["enc1"].values


async def test_rows_are_looked_for_as_soon_as_a_silent_device_answers(
    driver: SnmpDevices, encoder: Encoder, clock: VirtualClock
) -> None:
    async with running(driver):
        await clock.advance(5.0)
        encoder.silent = True
        await clock.advance(5.0)
        assert driver.causes("enc1") == {"device-silent"}
        del encoder.objects[_oid("channel[2].admin_state")]
        encoder.silent = False
        driver.watching.hint(TARGET.address)
        await clock.advance(2.0)
        assert "channel[2].input_lock" not in driver.watching.devices["enc1"].values
        assert "channel[1].input_lock" in driver.watching.devices["enc1"].values


async def test_rows_that_could_not_be_read_are_not_gone(encoder: Encoder, clock: VirtualClock) -> None:
    device = Device(MODEL, TARGET, encoder, encoder, clock, name="enc1")
    assert any("channel[2].input_lock" in str(group.instances) for group in await device.telemetry())
    encoder.silent = True
    with pytest.raises(UnavailableError, match="rows of channel are not known"):
        await device.telemetry()
