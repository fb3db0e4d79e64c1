"""Calls that end in time, on the engine's clock, whatever the called one does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from nf.clock import Clock
from nf.errors import CancelledError, DeadlineError, DriverError

T = TypeVar("T")

GRACE_S = 1.0
"""How long a cancelled call may take to clean up before it is left behind."""

_left_behind: set[asyncio.Future[Any]] = set()


class Interrupt:
    """A signal that stops the phase in progress: an abort, an undo, the deadline."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reason = ""
        self._future: asyncio.Future[None] | None = None

    def set(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.event.set()
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def future(self) -> asyncio.Future[None]:
        """Done when set. One for all calls of a phase: cheaper than a task for each."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
            if self.event.is_set():
                self._future.set_result(None)
        return self._future


async def bounded(
    clock: Clock, seconds: float, call: Callable[[], Awaitable[T]], *, what: str, interrupt: Interrupt | None = None
) -> T:
    """The result of `call()`. Raises DeadlineError after `seconds`, CancelledError of the error tree when interrupted,
    and whatever `call` raises. A call that ignores its cancellation for GRACE_S is left behind."""
    task: asyncio.Future[T] = asyncio.ensure_future(_awaited(call))
    timer = asyncio.ensure_future(clock.sleep(seconds))
    waits: set[asyncio.Future[Any]] = {task, timer}
    if interrupt is not None:
        waits.add(interrupt.future())
    finished = expired = False
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finished, expired = task.done(), timer.done()
    finally:
        timer.cancel()
        if not finished:
            await _stop(clock, task)
    if finished and not task.cancelled():
        return task.result()
    if finished:
        raise DriverError(f"{what} cancelled itself")
    if interrupt is not None and interrupt.event.is_set():
        raise CancelledError(f"{what} was stopped: {interrupt.reason}")
    assert expired  # noqa: S101 - one of the three ended the wait
    raise DeadlineError(f"{what} took longer than {seconds:g} s", remedy="see whether the function answers at all")


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


async def _stop(clock: Clock, task: asyncio.Future[T]) -> None:
    task.cancel()
    grace = asyncio.ensure_future(clock.sleep(GRACE_S))
    both: set[asyncio.Future[Any]] = {task, grace}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        grace.cancel()
        _left_behind.add(task)
        task.add_done_callback(_forget)


def _forget(task: asyncio.Future[T]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()
