"""Rain over the uplink of the lab's simulators: power first, a MODCOD change last, and everything comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from headend.satellite.uplink.driver import SatelliteUplink
from headend.satellite.uplink.relock import LONGEST_S
from nf.contracts.driver import Context, Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.headend.satellite.uplink.test_driver_live import commit, transmit
from tests.support import satellite

pytestmark = [pytest.mark.daemon]


class Watch:
    """What the driver tells, kept."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.alarms: list[AlarmEvent] = []
        self.changed = asyncio.Event()

    def take(self, event: Event) -> None:
        if isinstance(event, AlarmEvent):
            self.alarms.append(event)
        elif event.kind == "satellite.carrier":
            self.samples.append(event)
        self.changed.set()

    @property
    def modcods(self) -> list[str]:
        """Each once, in the order of their first appearance in a row."""
        found: list[str] = []
        for sample in self.samples:
            if not found or found[-1] != sample.labels["modcod"]:
                found.append(sample.labels["modcod"])
        return found

    async def until(self, seen: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not seen():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def on_the_air(
    uplink: SatelliteUplink, within: Callable[[float], Context], **given: object
) -> AsyncIterator[Watch]:
    await commit(uplink, satellite.section(**given), within(40))  # type: ignore[arg-type]
    await transmit(uplink, within(10), "alice", "ask")
    await transmit(uplink, within(10), "bob", "approve")
    watch = Watch()

    async def run() -> None:
        async for event in uplink.events():
            watch.take(event)

    task = asyncio.create_task(run())
    try:
        (carrier,) = uplink.carriers()
        await satellite.eventually(lambda: _locked(uplink))
        del carrier
        yield watch
    finally:
        task.cancel()


async def _locked(uplink: SatelliteUplink) -> bool:
    control = uplink.controls.get("sat1")
    receivers = control.seen.receivers if control is not None else {}
    return bool(receivers) and all(read["lock"].value == "locked" for read in receivers.values())


async def rain(
    uplink: SatelliteUplink, sky: satellite.Simulated, watch: Watch, db: float, slope_db_s: float
) -> tuple[float, float]:
    """An uplink fade that comes and goes; (highest level, packets that the modem dropped)."""
    (carrier,) = uplink.carriers()
    chain = await uplink.chain(carrier)
    relocks = {site: read["relock_count"].value for site, read in uplink.controls["sat1"].seen.receivers.items()}
    dropped = (await chain.modem.read(["dropped_packets"]))["dropped_packets"].value
    began = time.monotonic()
    satellite.fade(sky, "mod1", db, slope_db_s)
    await watch.until(lambda: len(watch.modcods) > 1, 40 + db / slope_db_s)
    await asyncio.sleep(max(0.0, db / slope_db_s - (time.monotonic() - began)) + 3)
    satellite.fade(sky, "mod1", 0.0, slope_db_s)
    top = carrier.ladder[0].modcod
    await watch.until(lambda: watch.modcods[-1] == top, 60 + db / slope_db_s)
    await watch.until(lambda: watch.samples[-1].values["tx_level_dbm"] <= -9.5, 30)
    after = {site: read["relock_count"].value for site, read in uplink.controls["sat1"].seen.receivers.items()}
    for site, before in relocks.items():
        assert isinstance(before, int)
        assert after[site] == before + len(watch.modcods) - 1, "a receiver lost lock that was not announced"
    now = (await chain.modem.read(["dropped_packets"]))["dropped_packets"].value
    assert isinstance(now, int | float)
    assert isinstance(dropped, int | float)
    return max(sample.values["tx_level_dbm"] for sample in watch.samples), now - dropped


async def test_rain_over_the_uplink(
    uplink: SatelliteUplink, sky: satellite.Simulated, within: Callable[[float], Context]
) -> None:
    async with on_the_air(uplink, within, margins={"hold": "3s", "dwell": "3s"}) as watch:
        highest, dropped = await rain(uplink, sky, watch, 12, 1.0)
        control = uplink.controls["sat1"]
        await watch.until(lambda: control.relock_s.keys() == {"pop1", "pop2"}, 20)
    assert all(0 < seconds < LONGEST_S for seconds in control.relock_s.values())
    assert highest == pytest.approx(-4, abs=0.2)  # the cap, and no more
    assert dropped == 0
    assert watch.modcods[0] == watch.modcods[-1] == "8PSK 3/4"
    raised = {alarm.cause for alarm in watch.alarms if alarm.severity is not Severity.CLEARED}
    assert {"uplink-fade", "reduced"} <= raised
    assert "carrier-overfilled" not in raised


async def test_rain_at_one_site_leaves_the_carrier_alone(
    uplink: SatelliteUplink, sky: satellite.Simulated, within: Callable[[float], Context]
) -> None:
    async with on_the_air(uplink, within) as watch:
        satellite.fade(sky, "rx1", 8, 2.0)
        await watch.until(lambda: any(alarm.cause == "site-fade" for alarm in watch.alarms), 30)
        assert watch.modcods == ["8PSK 3/4"]
        assert {sample.values["tx_level_dbm"] for sample in watch.samples} == {-10.0}
        satellite.fade(sky, "rx1", 0, 0)
