"""Redundancy groups 1+1 and N+M: who carries, when it changes, and when it must not. Pure: time comes in as numbers.

Each position (a service, a carrier) has a main unit; the group's backups stand for all positions. One table says what a
position does; `Group` derives its inputs from the health of the units, the mode, the delays, the flap limit and locks.
Carrying out a switch is somebody else's (`headend.devices.switching`): they report how it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from nf.errors import IntegrityError


class Mode(Enum):
    MANUAL = "manual"  # only people switch
    ONCE = "once"  # to a backup when the main fails, and there it stays
    FLOATING = "floating"  # away from whatever carries when it fails; a clear moves nothing
    REVERTING = "reverting"  # as floating, and back to the main when it is clean


class State(Enum):
    ON_MAIN = "on-main"
    MAIN_FAILING = "main-failing"  # the switch delay runs
    MAIN_STRANDED = "main-stranded"  # the main has failed, and nothing may or can take over
    LEAVING_MAIN = "leaving-main"  # a switch is being made
    ON_BACKUP = "on-backup"
    BACKUP_FAILING = "backup-failing"
    BACKUP_STRANDED = "backup-stranded"
    CHANGING_BACKUP = "changing-backup"  # from one backup to another
    RETURN_WAIT = "return-wait"  # the main is clean; the switch-back delay runs
    RETURNING = "returning"


class Input(Enum):
    ACTIVE_FAILED = "active-failed"
    ACTIVE_CLEAN = "active-clean"
    TO_BACKUP = "to-backup"  # granted: delay over, mode, lock and flap limit allow it, a unit is there
    TO_MAIN = "to-main"
    DENIED = "denied"
    RETURN_WISHED = "return-wished"
    RETURN_OFF = "return-off"
    DONE = "done"
    FAILED = "failed"


class Effect(Enum):
    NOTHING = "nothing"
    START_SWITCH_DELAY = "start-switch-delay"
    START_RETURN_DELAY = "start-return-delay"
    SWITCH = "switch"
    ARRIVED = "arrived"
    STRAND = "strand"
    RECOVERED = "recovered"
    SWITCH_FAILED = "switch-failed"


TABLE: Final[Mapping[tuple[State, Input], tuple[Effect, State]]] = MappingProxyType(
    {
        (State.ON_MAIN, Input.ACTIVE_FAILED): (Effect.START_SWITCH_DELAY, State.MAIN_FAILING),
        (State.ON_MAIN, Input.TO_BACKUP): (Effect.SWITCH, State.LEAVING_MAIN),
        (State.MAIN_FAILING, Input.ACTIVE_CLEAN): (Effect.NOTHING, State.ON_MAIN),
        (State.MAIN_FAILING, Input.TO_BACKUP): (Effect.SWITCH, State.LEAVING_MAIN),
        (State.MAIN_FAILING, Input.DENIED): (Effect.STRAND, State.MAIN_STRANDED),
        (State.MAIN_STRANDED, Input.ACTIVE_CLEAN): (Effect.RECOVERED, State.ON_MAIN),
        (State.MAIN_STRANDED, Input.TO_BACKUP): (Effect.SWITCH, State.LEAVING_MAIN),
        (State.LEAVING_MAIN, Input.DONE): (Effect.ARRIVED, State.ON_BACKUP),
        (State.LEAVING_MAIN, Input.FAILED): (Effect.SWITCH_FAILED, State.MAIN_STRANDED),
        (State.ON_BACKUP, Input.ACTIVE_FAILED): (Effect.START_SWITCH_DELAY, State.BACKUP_FAILING),
        (State.ON_BACKUP, Input.RETURN_WISHED): (Effect.START_RETURN_DELAY, State.RETURN_WAIT),
        (State.ON_BACKUP, Input.TO_MAIN): (Effect.SWITCH, State.RETURNING),
        (State.ON_BACKUP, Input.TO_BACKUP): (Effect.SWITCH, State.CHANGING_BACKUP),
        (State.BACKUP_FAILING, Input.ACTIVE_CLEAN): (Effect.NOTHING, State.ON_BACKUP),
        (State.BACKUP_FAILING, Input.TO_MAIN): (Effect.SWITCH, State.RETURNING),
        (State.BACKUP_FAILING, Input.TO_BACKUP): (Effect.SWITCH, State.CHANGING_BACKUP),
        (State.BACKUP_FAILING, Input.DENIED): (Effect.STRAND, State.BACKUP_STRANDED),
        (State.BACKUP_STRANDED, Input.ACTIVE_CLEAN): (Effect.RECOVERED, State.ON_BACKUP),
        (State.BACKUP_STRANDED, Input.TO_MAIN): (Effect.SWITCH, State.RETURNING),
        (State.BACKUP_STRANDED, Input.TO_BACKUP): (Effect.SWITCH, State.CHANGING_BACKUP),
        (State.CHANGING_BACKUP, Input.DONE): (Effect.ARRIVED, State.ON_BACKUP),
        (State.CHANGING_BACKUP, Input.FAILED): (Effect.SWITCH_FAILED, State.BACKUP_STRANDED),
        (State.RETURN_WAIT, Input.RETURN_OFF): (Effect.NOTHING, State.ON_BACKUP),
        (State.RETURN_WAIT, Input.ACTIVE_FAILED): (Effect.START_SWITCH_DELAY, State.BACKUP_FAILING),
        (State.RETURN_WAIT, Input.TO_MAIN): (Effect.SWITCH, State.RETURNING),
        (State.RETURN_WAIT, Input.TO_BACKUP): (Effect.SWITCH, State.CHANGING_BACKUP),
        (State.RETURNING, Input.DONE): (Effect.ARRIVED, State.ON_MAIN),
        (State.RETURNING, Input.FAILED): (Effect.SWITCH_FAILED, State.BACKUP_STRANDED),
    }
)
"""(state, input) -> (effect, next). What is not here cannot happen."""

UNDER_WAY: Final = frozenset({State.LEAVING_MAIN, State.CHANGING_BACKUP, State.RETURNING})
STRANDED: Final = frozenset({State.MAIN_STRANDED, State.BACKUP_STRANDED})


def transition(state: State, given: Input) -> tuple[Effect, State]:
    """Raises IntegrityError for what the table does not have."""
    try:
        return TABLE[state, given]
    except KeyError:
        raise IntegrityError(f"a position that is {state.value} cannot take {given.value}") from None


@dataclass(frozen=True, slots=True)
class FlapLimit:
    """At most `switches` automatic switches of one position in any `window_s`."""

    switches: int = 1
    window_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a group behaves.

    triggers              probable causes of alarms that count as a failure of the unit
    switch_delay_s        so long a failure has to last; `switch_back_delay_s`: so long the main has to be clean
    backup_must_be_clean  else a backup with an alarm is better than none
    mute_on_error         a position that nothing can take over is muted rather than sent with errors
    distrust_s            so long a unit is not tried again after a switch to it has failed
    """

    mode: Mode
    triggers: frozenset[str]
    switch_delay_s: float = 0.0
    switch_back_delay_s: float = 30.0
    backup_must_be_clean: bool = True
    mute_on_error: bool = False
    flap: FlapLimit = FlapLimit()
    distrust_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Switch:
    """To be carried out; `Group.finished` is then told how it ended."""

    position: str
    source: str
    target: str
    automatic: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Mute:
    """`muted`: the position's output is to be muted, or heard again."""

    position: str
    muted: bool


@dataclass(frozen=True, slots=True)
class Stranded:
    """The active unit has failed and stays: an alarm of the position. `reason` is empty when it is over."""

    position: str
    unit: str
    reason: str


@dataclass(frozen=True, slots=True)
class SwitchFailed:
    position: str
    target: str


Action = Switch | Mute | Stranded | SwitchFailed
