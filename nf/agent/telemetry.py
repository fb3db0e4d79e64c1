"""Samples and alarms on their way to the NOC: bounded, coalesced by subject, in batches of 100 items or 50 ms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from nf.control.convert import alarm_event_to_proto, sample_to_proto
from nf.control.queue import CoalescingQueue
from nf.control.v1 import fleet_pb2 as pb
from nf.telemetry.alarms import Alarm, AlarmEvent, AlarmTable
from nf.telemetry.samples import Sample

BATCH_ITEMS: Final = 100
BATCH_S: Final = 0.05
_QUEUE_ITEMS: Final = 5_000


class TelemetryHub:
    """Everything that the appliance measures comes by here. `alarms` are those that stand."""

    def __init__(self) -> None:
        self.alarms = AlarmTable()
        self._queue: CoalescingQueue[pb.TelemetryItem] = CoalescingQueue(_QUEUE_ITEMS)

    def sample(self, sample: Sample) -> None:
        """The newest of a subject is sent; one that nobody took yet is replaced."""
        key = ("sample", sample.kind, tuple(sorted(sample.labels.items())))
        self._queue.put(pb.TelemetryItem(sample=sample_to_proto(sample)), key)

    def alarm(self, event: AlarmEvent) -> None:
        """Raise, change or clear; what changes nothing is not sent."""
        if self.alarms.take(event) is not None:
            item = pb.TelemetryItem(alarm=alarm_event_to_proto(event))
            self._queue.put(item, ("alarm", event.cause, event.object))

    async def batches(self) -> AsyncIterator[pb.TelemetryBatch]:
        """For one stream: first every alarm that stands, again whenever something was dropped."""
        yield self._all_alarms(0)
        while True:
            taken = await self._queue.take(BATCH_ITEMS)
            if len(taken.items) < BATCH_ITEMS:
                await asyncio.sleep(BATCH_S)
            items = list(taken.items)
            if len(self._queue) and len(items) < BATCH_ITEMS:
                more = await self._queue.take(BATCH_ITEMS - len(items))
                items += more.items
            if taken.dropped:
                yield self._all_alarms(taken.dropped)
            yield pb.TelemetryBatch(items=items)

    def _all_alarms(self, dropped: int) -> pb.TelemetryBatch:
        items = [pb.TelemetryItem(alarm=alarm_event_to_proto(_event(alarm))) for alarm in self.alarms]
        return pb.TelemetryBatch(items=items, alarms_complete=True, dropped=dropped)


def _event(alarm: Alarm) -> AlarmEvent:
    return AlarmEvent(alarm.cause, alarm.object, alarm.severity, alarm.first_at, alarm.text, alarm.remedy)
