"""Probes of voice: a test call every minute (kind `voice`), and who answers those of others (`voice-answer`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from nf.clock import Clock
from nf.contracts.driver import Context
from nf.contracts.probe import PathSample
from nf.documents.appliance import ProbeTarget
from nf.errors import NfError, RefusedError
from sip.calling.documents import AnswerPlan, TestCallPlan
from sip.calling.outcome import Outcome
from sip.calling.placing import Answerer, Resolve, place

SAMPLE_INTERVAL_S: Final = 0.5
_AGAIN_S: Final = 5.0
"""After a call that failed."""
_RETRY_S: Final = 2.0
_STALE: Final = 2.5
"""Intervals after which an outcome says nothing any more."""
_PCMU_BPS: Final = 64_000.0


def _resolver(context: Context) -> Resolve:
    """Raises RefusedError."""
    if context.resolve_secret is None:
        raise RefusedError("there is nobody who resolves secrets", remedy="upgrade the agent")
    return context.resolve_secret


class VoiceProbe:
    """Probe kind `voice`. Up means: the last call was answered, heard both ways, and sounded well enough.

    `packets` and `continuity_errors` are packets that were sent and lost, since it started; `join_ms` is the time from
    the INVITE to its 200.
    """

    @property
    def kind(self) -> str:
        return "voice"

    async def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        """Two samples a second, of the last call. Raises pydantic's ValidationError when the target's arguments are
        not a `TestCallPlan`."""
        plan = TestCallPlan.model_validate(dict(target.arguments))
        calls = _Calls(plan, _resolver(context), context.clock)
        task = asyncio.create_task(calls.run())
        try:
            while not context.cancel.is_set():
                if task.done():
                    task.result()
                yield calls.sample(target)
                await context.clock.sleep(SAMPLE_INTERVAL_S)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class _Calls:
    def __init__(self, plan: TestCallPlan, resolve: Resolve, clock: Clock) -> None:
        self._plan, self._resolve, self._clock = plan, resolve, clock
        self._last: Outcome | None = None
        self._ended_at = clock.monotonic()
        self._sent = self._lost = 0

    async def run(self) -> None:
        while True:
            began = self._clock.monotonic()
            self._take(await place(self._plan, self._resolve, self._clock))
            wait_s = self._plan.interval_s if self._last is not None and self._last.up else _AGAIN_S
            await self._clock.sleep(began + wait_s - self._clock.monotonic())

    def _take(self, outcome: Outcome) -> None:
        self._last, self._ended_at = outcome, self._clock.monotonic()
        for way in (outcome.to_called, outcome.to_caller):
            if way is not None:
                self._sent += way.sent
                self._lost += max(0, way.sent - way.received)

    def sample(self, target: ProbeTarget) -> PathSample:
        age_s = self._clock.monotonic() - self._ended_at
        last = self._last
        stale = last is not None and age_s > _STALE * self._plan.interval_s
        if last is None:
            detail = "the first call is under way"
        else:
            detail = f"the last call ended {age_s:.0f} s ago" if stale else last.text
        up = last is not None and last.up and not stale
        return PathSample(
            target=target.id,
            channel=target.channel,
            path=target.path,
            at=self._clock.now(),
            up=up,
            bitrate_bps=_PCMU_BPS if up else 0.0,
            packets=self._sent,
            continuity_errors=self._lost,
            age_ms=None if last is None else age_s * 1000,
            join_ms=None if last is None else last.setup_ms,
            detail=detail,
        )


class AnswerProbe:
    """Probe kind `voice-answer`: keeps an account registered and answers it. Up means: it is registered."""

    @property
    def kind(self) -> str:
        return "voice-answer"

    async def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        """Two samples a second. Raises pydantic's ValidationError when the arguments are no `AnswerPlan`."""
        plan = AnswerPlan.model_validate(dict(target.arguments))
        answerer = Answerer(plan, _resolver(context), context.clock)
        task = asyncio.create_task(_again(answerer, context.clock))
        try:
            while not context.cancel.is_set():
                if task.done():
                    task.result()
                up = not answerer.fault
                count = answerer.answered
                yield PathSample(
                    target=target.id,
                    channel=target.channel,
                    path=target.path,
                    at=context.clock.now(),
                    up=up,
                    bitrate_bps=0.0,
                    packets=0,
                    continuity_errors=0,
                    age_ms=None,
                    join_ms=None,
                    detail=answerer.fault or f"registered; {count} test call{'s' * (count != 1)} answered",
                )
                await context.clock.sleep(SAMPLE_INTERVAL_S)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _again(answerer: Answerer, clock: Clock) -> None:
    while True:
        try:
            await answerer.run()
        except NfError as error:
            answerer.fault = str(error)
        await clock.sleep(_RETRY_S)
