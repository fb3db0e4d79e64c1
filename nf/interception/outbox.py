"""What waits for one caller: bounded, events before content, and every loss counted and told. Sans-IO."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from nf.contracts.interception import Content, Delivery, Event, Loss, LossPlace

EVENTS: Final = 20_000
OCTETS: Final = 64 << 20
_OVERHEAD: Final = 256  # of a copy, beside its packet


class Outbox:
    """Events are few and never give way to content; what does not fit is counted for its order."""

    def __init__(self, events: int = EVENTS, octets: int = OCTETS) -> None:
        self._most_events, self._most_octets = events, octets
        self._events: deque[Event] = deque()
        self._copies: deque[Content] = deque()
        self._octets = 0
        self._losses: dict[tuple[str, LossPlace], Loss] = {}

    def put(self, delivery: Delivery, now: float) -> None:
        """`now`: seconds since the epoch."""
        if isinstance(delivery, Loss):
            self._lose(delivery)
        elif isinstance(delivery, Event):
            if len(self._events) >= self._most_events:
                self._lose(Loss(delivery.reference, LossPlace.QUEUE, now, events=1))
            else:
                self._events.append(delivery)
        elif self._octets + len(delivery.octets) + _OVERHEAD > self._most_octets:
            self._lose(Loss(delivery.reference, LossPlace.QUEUE, now, copies=1))
        else:
            self._octets += len(delivery.octets) + _OVERHEAD
            self._copies.append(delivery)

    def take(self) -> Delivery | None:
        """The next to be sent."""
        if self._losses:
            return self._losses.pop(next(iter(self._losses)))
        if self._events:
            return self._events.popleft()
        if self._copies:
            copy = self._copies.popleft()
            self._octets -= len(copy.octets) + _OVERHEAD
            return copy
        return None

    def forget(self, reference: str) -> None:
        """An order is over: what still waits for it goes."""
        self._events = deque(one for one in self._events if one.reference != reference)
        self._copies = deque(one for one in self._copies if one.reference != reference)
        self._octets = sum(len(one.octets) + _OVERHEAD for one in self._copies)
        for key in [key for key in self._losses if key[0] == reference]:
            del self._losses[key]

    def _lose(self, loss: Loss) -> None:
        key = (loss.reference, loss.place)
        before = self._losses.get(key)
        if before is None:
            self._losses[key] = loss
            return
        events, copies = _sum(before.events, loss.events), _sum(before.copies, loss.copies)
        self._losses[key] = replace(loss, events=events, copies=copies)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
