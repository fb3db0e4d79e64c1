"""When the gate is open: a table over what the probe and the link say. Sans I/O; time is a parameter, in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    UNKNOWN = "unknown"  # just started: the kernel holds what an earlier life decided
    SUSPECTED = "suspected"  # just started, and the first probe failed
    OPEN = "open"
    DOUBTED = "doubted"  # open; the last probe failed
    SHUT = "shut"
    HELD = "held"  # shut; the cache is well, and has to stay so for a while


class Input(Enum):
    WELL = "well"
    FAILED = "failed"
    LINK_DOWN = "link-down"
    HELD_LONG = "held-long"  # the cache has been well for the hold time


S, I = State, Input  # noqa: E741 - columns of the table
TABLE: Mapping[tuple[State, Input], State] = {
    (S.UNKNOWN, I.WELL): S.OPEN,
    (S.UNKNOWN, I.FAILED): S.SUSPECTED,
    (S.UNKNOWN, I.LINK_DOWN): S.SHUT,
    (S.SUSPECTED, I.WELL): S.OPEN,
    (S.SUSPECTED, I.FAILED): S.SHUT,
    (S.SUSPECTED, I.LINK_DOWN): S.SHUT,
    (S.OPEN, I.WELL): S.OPEN,
    (S.OPEN, I.FAILED): S.DOUBTED,
    (S.OPEN, I.LINK_DOWN): S.SHUT,
    (S.DOUBTED, I.WELL): S.OPEN,
    (S.DOUBTED, I.FAILED): S.SHUT,
    (S.DOUBTED, I.LINK_DOWN): S.SHUT,
    (S.SHUT, I.WELL): S.HELD,
    (S.SHUT, I.FAILED): S.SHUT,
    (S.SHUT, I.LINK_DOWN): S.SHUT,
    (S.HELD, I.WELL): S.HELD,
    (S.HELD, I.FAILED): S.SHUT,
    (S.HELD, I.LINK_DOWN): S.SHUT,
    (S.HELD, I.HELD_LONG): S.OPEN,
}
_STEERS: Mapping[State, bool | None] = {
    S.UNKNOWN: None,
    S.SUSPECTED: None,
    S.OPEN: True,
    S.DOUBTED: True,
    S.SHUT: False,
    S.HELD: False,
}


class GateMachine:
    """`steers`: whether new flows are to go to the cache; None: as an earlier life left it."""

    def __init__(self, hold_s: float, now: float) -> None:
        self._hold_s = hold_s
        self.state = State.UNKNOWN
        self.why = "not probed yet"
        self.since = now
        self._well_since = now

    @property
    def steers(self) -> bool | None:
        return _STEERS[self.state]

    def probed(self, failure: str, now: float) -> None:
        """`failure`: in words; empty when the cache is well."""
        self._take(Input.FAILED if failure else Input.WELL, failure or "the cache is well", now)
        if self.state is State.HELD and now - self._well_since >= self._hold_s:
            self._take(Input.HELD_LONG, "the cache is well", now)

    def link_down(self, interface: str, now: float) -> None:
        self._take(Input.LINK_DOWN, f"the link {interface} is down", now)

    def _take(self, given: Input, why: str, now: float) -> None:
        before = self.steers
        state = TABLE[self.state, given]
        if state is State.HELD and self.state is not State.HELD:
            self._well_since = now
        self.state = state
        if self.steers is not before:
            self.since = now
        if self.steers is not True or given is not Input.FAILED:
            self.why = "the cache is well again, for not long enough" if state is State.HELD else why
