"""What the NOC does at a time that was set for it: one waiting task, awake when the earliest time has come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from nf.clock import Clock
from nf.errors import NfError

_log = logging.getLogger(__name__)

_RETRY_S: Final = 5.0
_LONGEST_S: Final = 60.0
"""A wall clock that is set is noticed after that."""


class Due:
    def __init__(
        self, name: str, clock: Clock, earliest: Callable[[], float], act: Callable[[], Awaitable[None]]
    ) -> None:
        """`earliest`: the next due time in seconds since the epoch, infinite when there is none. `act`: what is due."""
        self._name = name
        self._clock = clock
        self._earliest = earliest
        self._act = act
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look_again(self) -> None:
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            wait_s = self._earliest() - self._clock.now()
            if wait_s <= 0:
                try:
                    await self._act()
                    continue
                except NfError as error:
                    _log.warning("%s: %s; it is tried again", self._name, error)
                    wait_s = _RETRY_S
            await self._wait(min(wait_s, _LONGEST_S))

    async def _wait(self, seconds: float) -> None:
        changed = asyncio.ensure_future(self._changed.wait())
        slept = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({changed, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            slept.cancel()
