"""Which shields are asked for content: a table over what their probes say. Sans I/O; time is a parameter, in seconds.

A shield that failed twice in a row is out. When it answers again it is held for a while, and is on probation after
that: one more failure puts it out at once, and holds it twice as long. The last shield is never put out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum


class State(Enum):
    UNKNOWN = "unknown"  # not probed yet
    UP = "up"
    SUSPECT = "suspect"  # its last probe failed
    DOWN = "down"
    HELD = "held"  # down; it answers, and has to go on doing so
    HALF_OPEN = "half-open"  # up again, on probation


class Input(Enum):
    WELL = "well"
    FAILED = "failed"
    HELD_LONG = "held-long"  # it has answered for the hold time


S, I = State, Input  # noqa: E741 - columns of the table
TABLE: Mapping[tuple[State, Input], State] = {
    (S.UNKNOWN, I.WELL): S.UP,
    (S.UNKNOWN, I.FAILED): S.SUSPECT,
    (S.UP, I.WELL): S.UP,
    (S.UP, I.FAILED): S.SUSPECT,
    (S.SUSPECT, I.WELL): S.UP,
    (S.SUSPECT, I.FAILED): S.DOWN,
    (S.DOWN, I.WELL): S.HELD,
    (S.DOWN, I.FAILED): S.DOWN,
    (S.HELD, I.WELL): S.HELD,
    (S.HELD, I.FAILED): S.DOWN,
    (S.HELD, I.HELD_LONG): S.HALF_OPEN,
    (S.HALF_OPEN, I.WELL): S.HALF_OPEN,
    (S.HALF_OPEN, I.FAILED): S.DOWN,
    (S.HALF_OPEN, I.HELD_LONG): S.UP,
}
_BAD = frozenset({State.DOWN, State.HELD})
MAX_HOLDS = 8
"""The hold time doubles up to as many times the configured one."""


class ShieldMachine:
    """One shield. `down`: an earlier life put it out."""

    def __init__(self, hold_s: float, now: float, *, down: bool = False) -> None:
        self._hold_s = hold_s
        self._holds = 1
        self._well_since = now
        self.state = State.DOWN if down else State.UNKNOWN
        self.why = "put out before" if down else "not probed yet"
        self.since = now
        """When `bad` last changed."""

    @property
    def bad(self) -> bool:
        return self.state in _BAD

    @property
    def hold_s(self) -> float:
        """Of the next return."""
        return self._hold_s * self._holds

    def probed(self, failure: str, now: float) -> None:
        """`failure`: in words; empty when it answered well and in time."""
        self._take(Input.FAILED if failure else Input.WELL, now)
        if failure:
            self.why = failure
        if self.state in {State.HELD, State.HALF_OPEN} and now - self._well_since >= self.hold_s:
            self._take(Input.HELD_LONG, now)
        if self.state is State.UP:
            self._holds, self.why = 1, "it answers"

    def _take(self, given: Input, now: float) -> None:
        before, state = self.state, TABLE[self.state, given]
        if state is not before and state in {State.HELD, State.HALF_OPEN}:
            self._well_since = now
        if before is State.HALF_OPEN and state is State.DOWN:
            self._holds = min(MAX_HOLDS, self._holds * 2)
        if (state in _BAD) is not (before in _BAD):
            self.since = now
        self.state = state


class Shields:
    """All shields of an edge."""

    def __init__(self, names: Iterable[str], hold_s: float, now: float, *, down: Iterable[str] = ()) -> None:
        was = frozenset(down)
        self.machines = {name: ShieldMachine(hold_s, now, down=name in was) for name in names}

    @property
    def out(self) -> frozenset[str]:
        """Those that are not to be asked for content: the bad ones, but never all of them.

        When all are bad, one stays: one that answers again, or else the one that failed last.
        """
        bad = {name: machine for name, machine in self.machines.items() if machine.bad}
        if len(bad) < len(self.machines):
            return frozenset(bad)
        spared = max(bad, key=lambda name: (bad[name].state is State.HELD, bad[name].since), default="")
        return frozenset(bad.keys() - {spared})
