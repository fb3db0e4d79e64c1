"""The life of one unit as a table: (state, input) -> (effect, next state). What is absent is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from nf.contracts.units import UnitSpec, UnitState


class UnitInput(Enum):
    START = "start"
    STOP = "stop"
    ADOPT = "adopt"  # a process of a former supervisor still runs
    DEPENDENCIES_READY = "dependencies-ready"
    BECAME_READY = "became-ready"
    READY_TIMEOUT = "ready-timeout"
    STABLE = "stable"  # has been ready for `stable_s`
    RETRY = "retry"  # the back-off is over
    DIED = "died"  # ended, and the specification wants it restarted
    FAILED = "failed"  # ended badly, and is not to be restarted
    COMPLETED = "completed"  # ended with exit 0, and is not to be restarted


class UnitEffect(Enum):
    NOTHING = "nothing"
    AWAIT_DEPENDENCIES = "await-dependencies"
    SPAWN = "spawn"
    PROBE = "probe"  # watch for readiness
    WATCH_STABILITY = "watch-stability"
    RESET_BACKOFF = "reset-backoff"
    SCHEDULE_RETRY = "schedule-retry"
    TERMINATE = "terminate"


class TransitionError(RuntimeError):
    """An input came in a state that cannot take it: a fault of the supervisor itself."""


@dataclass(frozen=True, slots=True)
class Transition:
    effect: UnitEffect
    state: UnitState


_S, _I, _E = UnitState, UnitInput, UnitEffect

TRANSITIONS: Mapping[tuple[UnitState, UnitInput], Transition] = {
    (_S.STOPPED, _I.START): Transition(_E.AWAIT_DEPENDENCIES, _S.WAITING),
    (_S.STOPPED, _I.STOP): Transition(_E.NOTHING, _S.STOPPED),
    (_S.STOPPED, _I.ADOPT): Transition(_E.PROBE, _S.STARTING),
    (_S.WAITING, _I.START): Transition(_E.NOTHING, _S.WAITING),
    (_S.WAITING, _I.DEPENDENCIES_READY): Transition(_E.SPAWN, _S.STARTING),
    (_S.WAITING, _I.STOP): Transition(_E.NOTHING, _S.STOPPED),
    (_S.STARTING, _I.START): Transition(_E.NOTHING, _S.STARTING),
    (_S.STARTING, _I.BECAME_READY): Transition(_E.WATCH_STABILITY, _S.READY),
    (_S.STARTING, _I.READY_TIMEOUT): Transition(_E.TERMINATE, _S.STARTING),
    (_S.STARTING, _I.DIED): Transition(_E.SCHEDULE_RETRY, _S.BACKOFF),
    (_S.STARTING, _I.FAILED): Transition(_E.NOTHING, _S.FAILED),
    (_S.STARTING, _I.COMPLETED): Transition(_E.NOTHING, _S.STOPPED),
    (_S.STARTING, _I.STOP): Transition(_E.TERMINATE, _S.STOPPING),
    (_S.READY, _I.START): Transition(_E.NOTHING, _S.READY),
    (_S.READY, _I.STABLE): Transition(_E.RESET_BACKOFF, _S.READY),
    (_S.READY, _I.DIED): Transition(_E.SCHEDULE_RETRY, _S.BACKOFF),
    (_S.READY, _I.FAILED): Transition(_E.NOTHING, _S.FAILED),
    (_S.READY, _I.COMPLETED): Transition(_E.NOTHING, _S.STOPPED),
    (_S.READY, _I.STOP): Transition(_E.TERMINATE, _S.STOPPING),
    (_S.BACKOFF, _I.RETRY): Transition(_E.AWAIT_DEPENDENCIES, _S.WAITING),
    (_S.BACKOFF, _I.START): Transition(_E.AWAIT_DEPENDENCIES, _S.WAITING),
    (_S.BACKOFF, _I.STOP): Transition(_E.NOTHING, _S.STOPPED),
    (_S.FAILED, _I.START): Transition(_E.AWAIT_DEPENDENCIES, _S.WAITING),
    (_S.FAILED, _I.STOP): Transition(_E.NOTHING, _S.STOPPED),
    (_S.STOPPING, _I.START): Transition(_E.NOTHING, _S.STOPPING),  # remembered: starts again when it is gone
    (_S.STOPPING, _I.STOP): Transition(_E.NOTHING, _S.STOPPING),
    (_S.STOPPING, _I.DIED): Transition(_E.NOTHING, _S.STOPPED),
    (_S.STOPPING, _I.FAILED): Transition(_E.NOTHING, _S.STOPPED),
    (_S.STOPPING, _I.COMPLETED): Transition(_E.NOTHING, _S.STOPPED),
}


def transition(state: UnitState, given: UnitInput) -> Transition:
    """The row for (state, input). Raises TransitionError when there is none."""
    try:
        return TRANSITIONS[(state, given)]
    except KeyError:
        raise TransitionError(f"no transition from {state.value} on {given.value}") from None


class Backoff:
    """The delay before a restart: doubles from `backoff_first_s` to `backoff_last_s`, back to the first on reset."""

    def __init__(self) -> None:
        self._failures = 0

    def next_s(self, spec: UnitSpec) -> float:
        """Seconds to wait after one more death."""
        delay = min(spec.backoff_first_s * 2.0 ** min(self._failures, 60), spec.backoff_last_s)
        self._failures += 1
        return float(delay)

    def reset(self) -> None:
        self._failures = 0
