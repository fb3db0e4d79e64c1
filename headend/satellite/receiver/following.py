"""Follows receivers and their feeds: reads the one, asks the other, and tells it how the reception is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

from headend.datapath import tell
from headend.devices.opening import OpenDevices
from headend.satellite.documents import ReceivedCarrier
from headend.satellite.feed.client import FeedStatus, ask
from headend.satellite.receiver.reception import SILENT, ReceiverReading, reading_of, wanted_of
from headend.satellite.receiver.telemetry import CarrierWatch
from headend.satellite.receiver.units import Places
from nf.clock import Clock
from nf.contracts.driver import Event
from nf.errors import NfError

_READ_S: Final = 0.3
"""So long a turn waits for receivers; what one says later is taken in the next turn."""


class Following:
    """`turn` is called every second, with the carriers as they are then."""

    def __init__(self, devices: OpenDevices, places: Places, clock: Clock) -> None:
        self._devices = devices
        self._places = places
        self._clock = clock
        self._followers: dict[str, _Follower] = {}

    async def turn(self, carriers: Mapping[str, ReceivedCarrier]) -> list[Event]:
        events: list[Event] = []
        for name in [known for known, one in self._followers.items() if carriers.get(known) != one.watch.carrier]:
            events += self._followers.pop(name).end(self._clock.now())
        for name, carrier in carriers.items():
            if name not in self._followers:
                self._followers[name] = _Follower(carrier, self._devices, self._clock)
        readings = [follower.begin() for follower in self._followers.values()]
        if readings:
            await asyncio.wait(readings, timeout=_READ_S)
        for name, follower in self._followers.items():
            directory = self._places.directory(name)
            events += follower.follow(await ask(directory))
            good = follower.watch.reception.good
            if good is not None:
                tell(directory, reception="good" if good else "bad")
        return events

    async def close(self) -> None:
        for follower in self._followers.values():
            follower.cancel()
        await self._devices.close()


class _Follower:
    """Reads one receiver beside the loop, so that one which does not answer holds up nothing."""

    def __init__(self, carrier: ReceivedCarrier, devices: OpenDevices, clock: Clock) -> None:
        self.watch = CarrierWatch(carrier)
        self._devices = devices
        self._clock = clock
        self._reading: asyncio.Task[ReceiverReading] | None = None

    def begin(self) -> asyncio.Task[ReceiverReading]:
        """Ask the receiver, unless it still owes an answer."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _read(self) -> ReceiverReading:
        carrier = self.watch.carrier
        try:
            device = await self._devices.get(carrier.device)
            return reading_of(await device.read(wanted_of(device.model)), carrier.margins)
        except NfError:
            return SILENT  # no credentials, no model: as little is known of it as of one that is off

    def follow(self, status: FeedStatus | None) -> Iterator[Event]:
        reading = None
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading.result(), None
        yield from self.watch.take(reading, status, self._clock.now())

    def end(self, now: float) -> Iterator[Event]:
        self.cancel()
        yield from self.watch.end(now)

    def cancel(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
