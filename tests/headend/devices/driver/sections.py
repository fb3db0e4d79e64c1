"""Sections and what is done with them, for tests of the driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from headend.devices.documents import SnmpDevicesSection
from headend.devices.driver import SnmpDevices
from nf.contracts.driver import Checkpoint, Context, Event, Step
from nf.contracts.json import JsonObject
from nf.errors import NotFoundError
from nf.telemetry.alarms import AlarmEvent, Severity

AUTH_KEY, PRIVACY_KEY = "authentication-key", "privacy-key-of-it"
CREDENTIALS = {
    "secret:lab": "community private",
    "secret:v3": f"v3 nf SHA-256 {AUTH_KEY} AES-128 {PRIVACY_KEY}",
}


def credentials(reference: str) -> str:
    """As the agent's files give them."""
    if reference not in CREDENTIALS:
        raise NotFoundError("is not there", where=reference)
    return CREDENTIALS[reference]


MODELS = {"mux1": "nf-lab-mux", "rx1": "nf-lab-receiver", "rx2": "nf-lab-receiver", "mod1": "nf-lab-modem"}
NOBODY = Checkpoint({}, lambda _data: None)


def device(name: str, port: int, **more: Any) -> dict[str, Any]:
    whole = {"id": name, "appliance": "headend", "model": MODELS[name], "address": "127.0.0.1", "port": port}
    return whole | {"credentials": "secret:lab"} | more


def section(*devices: dict[str, Any], **more: Any) -> SnmpDevicesSection:
    listed = sorted(devices, key=lambda one: str(one["id"]))
    return SnmpDevicesSection.model_validate({"devices": listed} | more)


async def commit(driver: SnmpDevices, want: SnmpDevicesSection | None, context: Context) -> list[Step]:
    """As the engine does it."""
    steps = driver.plan(await driver.observe(), want)
    await driver.check(steps, want)
    for step in steps:
        await driver.prepare(step)
        await driver.apply(step, context)
    assert not await driver.verify(want, context)
    assert driver.plan(await driver.observe(), want) == ()
    return list(steps)


async def operate(driver: SnmpDevices, name: str, context: Context, **arguments: Any) -> Any:
    given: JsonObject = {"author": "spiffe://nf.test/operator/alice", "reason": "a test", **arguments}
    return await driver.operations[name].run(given, NOBODY, context)


class Seen:
    """What a driver tells while a test runs."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._came = asyncio.Event()

    def take(self, event: Event) -> None:
        self.events.append(event)
        self._came.set()

    async def until(self, wanted: Callable[[Event], bool], seconds: float = 20.0) -> Event:
        """The first such event, also of those that came already."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if wanted(event):
                        return event
                self._came.clear()
                await self._came.wait()

    async def alarm(self, cause: str, about: str, *, raised: bool = True) -> AlarmEvent:
        found = await self.until(
            lambda event: (
                isinstance(event, AlarmEvent)
                and (event.cause, event.object) == (cause, about)
                and (event.severity is not Severity.CLEARED) is raised
            )
        )
        assert isinstance(found, AlarmEvent)
        return found

    def forget(self) -> None:
        self.events.clear()


@asynccontextmanager
async def running(driver: SnmpDevices) -> AsyncIterator[Seen]:
    """The driver's events, iterated as an agent does."""
    seen = Seen()

    async def follow() -> None:
        async for event in driver.events():
            seen.take(event)

    task = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
