"""Feeds that are not one stream: the first that is sound, in their order. Sans-IO, explicit time.

A table: (state, input) -> next state; what is absent is an error. The cut is made at a datagram, as soon as the feed in
use is silent and the other one comes; the way back waits until the first has been sound for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

SILENCE_S, SILENCE_INTERVALS = 0.03, 5
"""A feed is silent after the larger of 30 ms and so many of its packet intervals (RFC 7431 names no figure; flow-based
MoFRR of ASR 9000 and this house take 30 ms)."""
SOUND_S = 5.0
"""So long the first feed comes without a silence before it is taken again."""
_SMOOTH = 1 / 16


class State(Enum):
    FIRST = "first"
    SECOND = "second"


class Input(Enum):
    LOST = "lost"  # the first is silent and the second comes
    SOUND = "sound"  # the first has come without a silence for long enough
    STARVED = "starved"  # the second is silent and the first comes


TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (State.FIRST, Input.LOST): State.SECOND,
    (State.SECOND, Input.SOUND): State.FIRST,
    (State.SECOND, Input.STARVED): State.FIRST,
}


class TransitionError(RuntimeError):
    """An input came in a state that cannot take it: a fault of the process itself."""


def step(state: State, given: Input) -> State:
    """Raises TransitionError."""
    try:
        return TRANSITIONS[state, given]
    except KeyError:
        raise TransitionError(f"{given.value} in state {state.value}") from None


class Beat:
    """When the packets of one feed come. `since`: it has come without a silence since then."""

    __slots__ = ("_interval_s", "last_at", "packets", "silences", "since")

    def __init__(self) -> None:
        self.packets = 0
        self.silences = 0
        self.last_at: float | None = None
        self.since: float | None = None
        self._interval_s = 0.0

    @property
    def limit_s(self) -> float:
        return max(SILENCE_S, SILENCE_INTERVALS * self._interval_s)

    def take(self, at: float) -> None:
        self.packets += 1
        last, self.last_at = self.last_at, at
        if last is None:
            self.since = at
            return
        gap = at - last
        if gap > self.limit_s and self._interval_s > 0.0:
            self.silences += 1
            self.since = at
        elif self._interval_s > 0.0:
            self._interval_s += (gap - self._interval_s) * _SMOOTH
        else:
            self._interval_s = gap  # of its first two packets; a pause between them is not known to be one

    def silent(self, now: float) -> bool:
        return self.last_at is None or now - self.last_at > self.limit_s

    def sound(self, now: float) -> bool:
        return not self.silent(now) and self.since is not None and now - self.since >= SOUND_S


class Switch:
    """One or two feeds; `take` says whether a packet of a feed is to go out."""

    def __init__(self, feeds: int) -> None:
        self.beats = tuple(Beat() for _ in range(feeds))
        self.state = State.FIRST
        self.switches = 0

    @property
    def active(self) -> int:
        return 0 if self.state is State.FIRST else 1

    def take(self, feed: int, at: float) -> bool:
        """Packets of both feeds in the order of their arrival: what came before this one was taken before it."""
        self.beats[feed].take(at)
        if len(self.beats) > 1:
            self._judge(at)
        return feed == self.active

    def _judge(self, at: float) -> None:
        first, second = self.beats
        if self.state is State.FIRST:
            given = Input.LOST if first.silent(at) and not second.silent(at) else None
        elif first.sound(at):
            given = Input.SOUND
        else:
            given = Input.STARVED if second.silent(at) and not first.silent(at) else None
        if given is not None:
            self.state = step(self.state, given)
            self.switches += 1
