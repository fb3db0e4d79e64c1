"""Which input a service is taken from, as a table: (state, input) -> next state. What is absent is an error.

A cut is made where the new input can be entered (a random access point of the picture): until then the old one is
sent, if anything comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    SATELLITE = "satellite"
    LEAVING = "leaving"  # the satellite is sent, the fallback is wanted
    FALLBACK = "fallback"
    RETURNING = "returning"  # the fallback is sent, the satellite is wanted


class Input(Enum):
    LOST = "lost"  # the service is silent, or its reception is bad
    BACK = "back"  # it is neither, before the cut was made
    SOUND = "sound"  # reception is good and nothing was lost for long enough
    STARVED = "starved"  # the fallback is silent and something comes by satellite
    UNSOUND = "unsound"  # the reason to return is gone
    ENTRY = "entry"  # the wanted input can be entered at this packet


TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (State.SATELLITE, Input.LOST): State.LEAVING,
    (State.LEAVING, Input.BACK): State.SATELLITE,
    (State.LEAVING, Input.ENTRY): State.FALLBACK,
    (State.FALLBACK, Input.SOUND): State.RETURNING,
    (State.FALLBACK, Input.STARVED): State.RETURNING,
    (State.RETURNING, Input.UNSOUND): State.FALLBACK,
    (State.RETURNING, Input.ENTRY): State.SATELLITE,
}


class TransitionError(RuntimeError):
    """An input came in a state that cannot take it: a fault of the feed itself."""


@dataclass(frozen=True, slots=True)
class View:
    """What is known of both inputs at one instant. `sound`: of the satellite; `reception`: what the driver said."""

    reception: bool
    satellite: bool
    sound: bool
    fallback: bool


def judge(state: State, view: View) -> Input | None:
    """The input that follows from what is known; None: nothing changes. Pure."""
    usable = view.reception and view.satellite
    returnable = view.reception and view.sound
    starved = view.satellite and not view.fallback
    match state:
        case State.SATELLITE:
            return None if usable else Input.LOST
        case State.LEAVING:
            return Input.BACK if usable else None
        case State.FALLBACK:
            return Input.SOUND if returnable else Input.STARVED if starved else None
        case State.RETURNING:
            return None if returnable or starved else Input.UNSOUND


def step(state: State, given: Input) -> State:
    """Raises TransitionError."""
    try:
        return TRANSITIONS[(state, given)]
    except KeyError:
        raise TransitionError(f"{given.value} in state {state.value}") from None
