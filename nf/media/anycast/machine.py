"""When the VIPs are announced: a table over what the probes say. Sans I/O; time is a parameter, in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    NEW = "new"  # just started, nothing is announced and nothing is known
    SHUT = "shut"
    HELD = "held"  # shut; the cache is well, and has to stay so for a while
    ARMED = "armed"  # the VIPs are this host's, and not announced: they have to be proved
    OPEN = "open"
    DOUBTED = "doubted"  # open; the last probe failed


class Input(Enum):
    WELL = "well"
    FAILED = "failed"
    HELD_LONG = "held-long"  # the cache has been well for the hold time


S, I = State, Input  # noqa: E741 - columns of the table
TABLE: Mapping[tuple[State, Input], State] = {
    (S.NEW, I.WELL): S.ARMED,
    (S.NEW, I.FAILED): S.SHUT,
    (S.SHUT, I.WELL): S.HELD,
    (S.SHUT, I.FAILED): S.SHUT,
    (S.HELD, I.WELL): S.HELD,
    (S.HELD, I.FAILED): S.SHUT,
    (S.HELD, I.HELD_LONG): S.ARMED,
    (S.ARMED, I.WELL): S.OPEN,
    (S.ARMED, I.FAILED): S.SHUT,
    (S.OPEN, I.WELL): S.OPEN,
    (S.OPEN, I.FAILED): S.DOUBTED,
    (S.DOUBTED, I.WELL): S.OPEN,
    (S.DOUBTED, I.FAILED): S.SHUT,
}


@dataclass(frozen=True, slots=True)
class Effect:
    """What the kernel is to hold. `own`: the VIPs are addresses of this host. `announced`: routes say so."""

    own: bool
    announced: bool


_EFFECTS: Mapping[State, Effect] = {
    S.NEW: Effect(own=False, announced=False),
    S.SHUT: Effect(own=False, announced=False),
    S.HELD: Effect(own=False, announced=False),
    S.ARMED: Effect(own=True, announced=False),
    S.OPEN: Effect(own=True, announced=True),
    S.DOUBTED: Effect(own=True, announced=True),
}


class VipMachine:
    """`announced`: whether an earlier life left the VIPs announced; that is kept until probes say otherwise."""

    def __init__(self, hold_s: float, now: float, *, announced: bool) -> None:
        self._hold_s = hold_s
        self.state = S.OPEN if announced else S.NEW
        self.why = "not asked yet"
        self.since = now
        self._well_since = now

    @property
    def effect(self) -> Effect:
        return _EFFECTS[self.state]

    def probed(self, failure: str, now: float) -> None:
        """`failure`: in words; empty when the cache is well."""
        self._take(I.FAILED if failure else I.WELL, failure, now)
        if self.state is S.HELD and now - self._well_since >= self._hold_s:
            self._take(I.HELD_LONG, "", now)

    def _take(self, given: Input, failure: str, now: float) -> None:
        before, state = self.state, TABLE[self.state, given]
        if state is S.HELD and before is not S.HELD:
            self._well_since = now
        if _EFFECTS[state].announced is not self.effect.announced:
            self.since = now
        self.state = state
        if state in {S.SHUT, S.DOUBTED}:
            self.why = failure
        elif state in {S.OPEN, S.ARMED}:
            self.why = "the cache is well"
        elif state is S.HELD:
            self.why = "the cache is well again, for not long enough"
