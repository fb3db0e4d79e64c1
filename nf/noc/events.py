"""The events of one commit, for whoever watches it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from nf.control.errors import to_info
from nf.control.queue import CoalescingQueue, QueueClosed
from nf.control.v1 import noc_pb2
from nf.errors import NfError
from nf.noc.rollout import Progress

_EVENTS: Final = 8192


class Events:
    """What a running commit tells those who watch; it goes on when nobody does."""

    def __init__(self, transaction: str, revision: int) -> None:
        self._transaction = transaction
        self.revision = revision
        self.drained: tuple[noc_pb2.DrainedFirst, ...] = ()
        """What was drained before it, for the last event."""
        self._queue: CoalescingQueue[noc_pb2.CommitEvent] = CoalescingQueue(_EVENTS)

    def progress(self, progress: Progress) -> None:
        """Of the steps of one appliance in one stage only the newest waits for a watcher who is slow."""
        key = ("step", progress.phase, progress.stage, progress.appliance) if progress.text else None
        self._put(
            noc_pb2.CommitEvent(
                phase=progress.phase,
                appliance=progress.appliance,
                stage=progress.stage,
                stages=progress.stages,
                done=progress.done,
                total=progress.total,
                text=progress.text,
            ),
            key,
        )

    def end(
        self,
        outcome: noc_pb2.Outcome.ValueType,
        *,
        text: str = "",
        error: NfError | None = None,
        held_until: float = 0.0,
    ) -> None:
        event = noc_pb2.CommitEvent(outcome=outcome, text=text, held_until=held_until, drained=self.drained)
        if error is not None:
            event.error.CopyFrom(to_info(error))
        self._put(event)
        self.close()

    def _put(self, event: noc_pb2.CommitEvent, key: tuple[str, str, int, str] | None = None) -> None:
        event.transaction, event.revision = self._transaction, self.revision
        self._queue.put(event, key)

    def close(self) -> None:
        """No more events. Without an outcome among them, the history tells what was decided."""
        self._queue.close()

    async def __aiter__(self) -> AsyncIterator[noc_pb2.CommitEvent]:
        try:
            while True:
                for event in (await self._queue.take(64)).items:
                    yield event
        except QueueClosed:
            return
