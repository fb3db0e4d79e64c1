"""Waiting for something to happen, or for time to pass, by the clock in use."""

from __future__ import annotations

import asyncio

from nf.clock import Clock


async def happens(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Whether `event` was set within `seconds`."""
    waiting = asyncio.ensure_future(event.wait())
    sleeping = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait([waiting, sleeping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        sleeping.cancel()
    return event.is_set()
