"""The state machine of one update on one appliance: a table; what is absent is refused.

The appliance runs from slot `home` when an update is ordered; the update goes into the other one, the `target`. Every
row is safe to be journalled before its effects and to have them repeated: power may go at any point.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from nf.errors import RefusedError


class State(Enum):
    NONE = "none"  # there was no update yet
    TRANSFER = "transfer"  # the bundle is coming
    FETCHED = "fetched"  # all of it is there, its digest is right
    INSTALLING = "installing"  # RAUC writes the target
    INSTALLED = "installed"  # written, and not to be started yet
    ACTIVATING = "activating"  # the boot loader is being told
    ACTIVATED = "activated"  # the next start is the target's
    TRIAL = "trial"  # the target runs, and has to show that it does well
    GIVING_UP = "giving-up"  # it does not; going back
    HEALTHY = "healthy"  # marked good
    FELL_BACK = "fell-back"  # home runs again
    FAILED = "failed"  # before anything was activated
    CANCELLED = "cancelled"


class Input(Enum):
    ORDER = "order"
    RESUME = "resume"  # the agent started; maybe nothing else did
    WHOLE = "whole"
    INSTALL = "install"
    COMPLETED = "completed"  # RAUC said Completed(0)
    REFUSED = "refused"  # it cannot be fetched, RAUC refused it, or it cannot be activated
    ACTIVATE = "activate"
    MARKED = "marked"  # the boot loader knows
    CANCEL = "cancel"
    BOOTED_HOME = "booted-home"  # a new start, from the slot that it ran in before
    BOOTED_TARGET = "booted-target"  # a new start, from the other one, which this update has written
    BOOTED_OTHER = "booted-other"  # likewise, and it holds what it held before
    HELD = "held"  # health held for its time, and the target is marked good
    PATIENCE_OVER = "patience-over"


class Effect(Enum):
    FETCH = "fetch"
    DROP = "drop"  # the bundle's file
    WRITE = "write"  # by RAUC
    MARK_ACTIVE = "mark-active"
    REBOOT = "reboot"
    JUDGE = "judge"  # watch its health
    OTHER_FIRST = "other-first"  # the other slot is started next, if it is good; this one stays as it is
    MARK_OTHER_BAD = "mark-other-bad"  # if this one is good; it is marked good first
    MARK_SELF_GOOD = "mark-self-good"


_S, _I, _E = State, Input, Effect

ENDED = frozenset({_S.NONE, _S.HEALTHY, _S.FELL_BACK, _S.FAILED, _S.CANCELLED})
"""Nothing is open: another update may be ordered."""
BEFORE_ACTIVATION = frozenset({_S.TRANSFER, _S.FETCHED, _S.INSTALLING, _S.INSTALLED})
ON_TRIAL = frozenset({_S.TRIAL, _S.GIVING_UP})

Row = tuple[tuple[Effect, ...], State]

TABLE: Mapping[tuple[State, Input], Row] = {
    **{(state, _I.ORDER): ((_E.FETCH,), _S.TRANSFER) for state in ENDED},
    **{(state, _I.RESUME): ((), state) for state in (*ENDED, _S.FETCHED, _S.INSTALLED, _S.TRIAL)},
    (_S.TRANSFER, _I.RESUME): ((_E.FETCH,), _S.TRANSFER),
    (_S.TRANSFER, _I.WHOLE): ((), _S.FETCHED),
    (_S.TRANSFER, _I.REFUSED): ((_E.DROP,), _S.FAILED),
    (_S.TRANSFER, _I.CANCEL): ((_E.DROP,), _S.CANCELLED),
    (_S.FETCHED, _I.INSTALL): ((_E.WRITE,), _S.INSTALLING),
    (_S.FETCHED, _I.CANCEL): ((_E.DROP,), _S.CANCELLED),
    (_S.INSTALLING, _I.RESUME): ((_E.WRITE,), _S.INSTALLING),
    (_S.INSTALLING, _I.COMPLETED): ((_E.DROP,), _S.INSTALLED),
    (_S.INSTALLING, _I.REFUSED): ((_E.DROP,), _S.FAILED),
    (_S.INSTALLED, _I.ACTIVATE): ((_E.MARK_ACTIVE,), _S.ACTIVATING),
    (_S.INSTALLED, _I.CANCEL): ((_E.DROP,), _S.CANCELLED),
    (_S.ACTIVATING, _I.RESUME): ((_E.MARK_ACTIVE,), _S.ACTIVATING),
    (_S.ACTIVATING, _I.MARKED): ((_E.REBOOT,), _S.ACTIVATED),
    (_S.ACTIVATING, _I.REFUSED): ((), _S.FAILED),
    (_S.ACTIVATED, _I.RESUME): ((_E.REBOOT,), _S.ACTIVATED),
    (_S.TRIAL, _I.HELD): ((), _S.HEALTHY),
    (_S.TRIAL, _I.PATIENCE_OVER): ((_E.OTHER_FIRST, _E.REBOOT), _S.GIVING_UP),
    (_S.GIVING_UP, _I.RESUME): ((_E.OTHER_FIRST, _E.REBOOT), _S.GIVING_UP),
    # ---- a start ----
    **{
        (state, _I.BOOTED_HOME): ((_E.MARK_SELF_GOOD,), state)
        for state in (_S.NONE, *sorted(BEFORE_ACTIVATION, key=lambda one: one.value), _S.FAILED, _S.CANCELLED)
    },
    # The other slot is marked bad at every start after a fall-back: power may have gone before it was the first time.
    **{
        (state, _I.BOOTED_HOME): ((_E.MARK_SELF_GOOD, _E.MARK_OTHER_BAD, _E.DROP), _S.FELL_BACK)
        for state in (_S.ACTIVATING, _S.ACTIVATED, _S.TRIAL, _S.GIVING_UP, _S.HEALTHY, _S.FELL_BACK)
    },
    # What was never marked good is judged, however the boot loader came to take it.
    **{
        (state, _I.BOOTED_TARGET): ((_E.JUDGE,), _S.TRIAL)
        for state in State
        if state not in {_S.NONE, _S.TRANSFER, _S.FETCHED, _S.INSTALLING, _S.HEALTHY}
    },
    (_S.HEALTHY, _I.BOOTED_TARGET): ((_E.MARK_SELF_GOOD,), _S.HEALTHY),
    **{(state, _I.BOOTED_OTHER): ((_E.MARK_SELF_GOOD, _E.DROP), _S.FAILED) for state in (_S.TRANSFER, _S.FETCHED)},
    (_S.INSTALLING, _I.BOOTED_OTHER): ((_E.JUDGE,), _S.TRIAL),  # RAUC was done, and nobody wrote that down
    **{(state, _I.BOOTED_OTHER): ((_E.MARK_SELF_GOOD,), state) for state in (_S.FAILED, _S.CANCELLED)},
}

REPEATED: Mapping[State, tuple[Effect, ...]] = {
    **{
        state: (_E.MARK_SELF_GOOD,)
        for state in State
        if state not in {_S.ACTIVATING, _S.ACTIVATED, _S.TRIAL, _S.GIVING_UP, _S.FELL_BACK}
    },
    _S.FELL_BACK: (_E.MARK_SELF_GOOD, _E.MARK_OTHER_BAD),
}
"""What is done again when the health service itself starts again, in a start that it has noted already."""


def follow(state: State, given: Input, update: str = "") -> Row:
    """Effects, in their order, and the state that follows. Raises RefusedError when the table has no such row."""
    try:
        return TABLE[state, given]
    except KeyError:
        raise RefusedError(
            f"the update is {state.value}: {given.value} is not possible then",
            where=f"update {update}" if update else "update",
            remedy=_remedy(state, given),
        ) from None


def _remedy(state: State, given: Input) -> str:
    if given is Input.ORDER:
        return "wait until it has ended, or cancel it"
    if given is Input.CANCEL and state is State.INSTALLING:
        return "a slot is being written; cancel it when that is done"
    if given is Input.CANCEL and state not in ENDED:
        return "it is activated: it stays, or falls back by itself"
    return "an update goes transfer, install, activate; see `nf upgrade status`"
