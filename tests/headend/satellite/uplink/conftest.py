from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from headend.satellite.uplink.driver import SatelliteUplink
from nf.clock import RealClock
from nf.contracts.driver import Context, DriverContext
from tests.support import satellite


@pytest.fixture(scope="package")
def sky(
    tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]
) -> Iterator[satellite.Simulated]:
    """The lab's simulated devices: encoder, multiplexer, modulator, two receivers."""
    require_programs("ffmpeg", "ffprobe")
    with satellite.simulated(tmp_path_factory.mktemp("sky")) as devices:
        yield devices


class NoUnits:
    """An uplink has no units."""


@pytest.fixture
async def uplink(sky: satellite.Simulated, tmp_path: Path) -> AsyncIterator[SatelliteUplink]:
    context = DriverContext("headend", tmp_path / "run", tmp_path / "state", NoUnits(), RealClock())  # type: ignore[arg-type]
    driver = SatelliteUplink(context, satellite.credentials)
    yield driver
    for carrier in driver.carriers():
        await (await driver.chain(carrier)).close_down()
    await driver.close()


@pytest.fixture
def within() -> Callable[[float], Context]:
    clock = RealClock()
    return lambda seconds: Context(clock, clock.monotonic() + seconds)
