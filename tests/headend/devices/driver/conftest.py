"""The driver of devices, and the lab's simulators of a multiplexer and two receivers for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from headend.devices.driver import SnmpDevices
from headend.snmp.poller import Poller
from headend.snmp.target import Target
from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext
from tests.headend.devices.driver.sections import AUTH_KEY, PRIVACY_KEY, credentials
from tests.lab.devices.conftest import PROGRAMS, Running, devices
from tests.lab.devices.samples import mux, receiver
from tests.support.ports import free_port


@dataclass(frozen=True)
class Lab:
    """`mux1`, `rx1` (which sends its notifications to `traps`), `rx2`."""

    running: dict[str, Running]
    traps: int

    def port(self, name: str) -> int:
        return self.running[name].subject.port


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]) -> Iterator[Lab]:
    require_programs(*PROGRAMS, "snmptrap")
    traps = free_port()
    users = [{"name": "nf", "auth_key": AUTH_KEY, "privacy_key": PRIVACY_KEY, "write": True}]
    told = {"users": users, "traps": [{"address": "127.0.0.1", "port": traps, "community": "private"}]}
    with devices(tmp_path_factory.mktemp("devices")) as start:
        yield Lab(
            {
                "mux1": start("mux", mux()),
                "rx1": start("receiver", receiver() | {"snmp": told}),
                "rx2": start("receiver", receiver()),
            },
            traps,
        )


class NoUnits:
    """Devices have no units."""


Make = Callable[..., SnmpDevices]


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """`make()`: the driver, with one state directory for each name however often it starts. Loopback is quick."""
    monkeypatch.setattr("headend.devices.opening.Target", partial(Target, timeout_s=0.4))
    monkeypatch.setattr("headend.devices.watching.Poller", partial(Poller, jitter=lambda limit: min(limit, 0.2)))
    made: list[SnmpDevices] = []

    def new(appliance: str = "headend") -> SnmpDevices:
        context = DriverContext(appliance, tmp_path / "run", tmp_path / appliance, NoUnits(), RealClock())  # type: ignore[arg-type]
        made.append(SnmpDevices(context, credentials))
        return made[-1]

    yield new
    for driver in made:
        await driver.close()


@pytest.fixture
def within() -> Callable[[float], Context]:
    clock = RealClock()
    return lambda seconds: Context(clock, clock.monotonic() + seconds)
