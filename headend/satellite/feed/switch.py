"""How a service comes from one input to the other: a table (state, input) -> next state. What is absent is an error.

Which input is wanted is for policy to say (`headend.satellite.feed.policy`). A cut is made where the new input can be
entered (a random access point of the picture): until then the old one is sent, if anything comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    SATELLITE = "satellite"
    LEAVING = "leaving"  # the satellite is sent, the fallback is wanted
    FALLBACK = "fallback"
    RETURNING = "returning"  # the fallback is sent, the satellite is wanted


class Input(Enum):
    WANT_FALLBACK = "want fallback"
    WANT_SATELLITE = "want satellite"
    ENTRY = "entry"  # the wanted input can be entered at this packet


TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (State.SATELLITE, Input.WANT_SATELLITE): State.SATELLITE,
    (State.SATELLITE, Input.WANT_FALLBACK): State.LEAVING,
    (State.LEAVING, Input.WANT_FALLBACK): State.LEAVING,
    (State.LEAVING, Input.WANT_SATELLITE): State.SATELLITE,
    (State.LEAVING, Input.ENTRY): State.FALLBACK,
    (State.FALLBACK, Input.WANT_FALLBACK): State.FALLBACK,
    (State.FALLBACK, Input.WANT_SATELLITE): State.RETURNING,
    (State.RETURNING, Input.WANT_SATELLITE): State.RETURNING,
    (State.RETURNING, Input.WANT_FALLBACK): State.FALLBACK,
    (State.RETURNING, Input.ENTRY): State.SATELLITE,
}


class TransitionError(RuntimeError):
    """An input came in a state that cannot take it: a fault of the feed itself."""


def step(state: State, given: Input) -> State:
    """Raises TransitionError."""
    try:
        return TRANSITIONS[(state, given)]
    except KeyError:
        raise TransitionError(f"{given.value} in state {state.value}") from None
