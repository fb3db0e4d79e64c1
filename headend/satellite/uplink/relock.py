"""How long receivers are out of lock at a change of the MODCOD: looked at ten times a second while it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from headend.devices.device import Device
from nf.clock import Clock

LONGEST_S: Final = 15.0
"""A receiver that is not back by then has lost the carrier, which is no relock."""
_LOOK_S: Final = 0.1


class RelockWatch:
    """Of one change. `begin` before it, `end` when it was not made after all; `seconds` by site, as they come back."""

    def __init__(self, receivers: Mapping[str, Device], modcod: str, clock: Clock) -> None:
        self._receivers = receivers
        self._modcod = modcod
        self._clock = clock
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.seconds: dict[str, float] = {}

    def begin(self) -> None:
        self._tasks = tuple(
            asyncio.create_task(self._watch(site, receiver), name=f"relock of {site}")
            for site, receiver in self._receivers.items()
        )

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _watch(self, site: str, receiver: Device) -> None:
        """From the last look at which it had the old MODCOD to the first one with the new: never too short, and too
        long by two looks at most. One that is out of lock from the beginning loses nothing by the change."""
        until = self._clock.monotonic() + LONGEST_S
        last: float | None = None
        while (before := self._clock.monotonic()) < until:
            found = await receiver.read(["lock", "modcod"])
            locked = found["lock"].good and found["lock"].value == "locked"
            if locked and found["modcod"].value == self._modcod:
                if last is not None:
                    self.seconds[site] = round(self._clock.monotonic() - last, 2)
                return
            if locked:
                last = before
            await self._clock.sleep(_LOOK_S)
