"""Samples and alarms on their way out of a driver: bounded, since the newest sample of a subject replaces others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent
from nf.telemetry.samples import Sample

_Subject = tuple[str, tuple[tuple[str, str], ...]]


class Outbox:
    """Filled by whoever sees something, emptied by one `events`. Alarms keep their order and none is lost."""

    def __init__(self) -> None:
        self._alarms: deque[AlarmEvent] = deque()
        self._samples: dict[_Subject, Sample] = {}
        self._filled = asyncio.Event()

    def alarm(self, event: AlarmEvent) -> None:
        self._alarms.append(event)
        self._filled.set()

    def sample(self, sample: Sample) -> None:
        self._samples[sample.kind, tuple(sorted(sample.labels.items()))] = sample
        self._filled.set()

    async def events(self) -> AsyncIterator[Event]:
        """For ever."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._alarms:
                yield self._alarms.popleft()
            samples, self._samples = self._samples, {}
            for sample in samples.values():
                yield sample
