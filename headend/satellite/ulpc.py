"""Uplink power control: answer a fade of the uplink with power, up to a cap, and nothing else with it.

The level follows the fade that the beacon shows, at most as fast as the slew allows. Without a beacon it stays as it is
for a while and then goes back to clear sky. It is never above the ceiling: the amplifier's, the plan's, or the one that
the satellite operator's limit on EIRP density gives, whichever is lowest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

STEP_DB = 0.1
_LONGEST_GAP_S = 5.0


@dataclass(frozen=True, slots=True)
class UlpcSettings:
    """Transmit levels at the modem's output, in dBm.

    cap_dbm          never more: amplifier and plan
    psd_cap_dbm      the level at which the EIRP density reaches its limit (`psd_cap_dbm`); None: the cap holds it
    fraction         share of the fade that is answered, 0..1
    slew_db_per_s    up and down
    decay_db_per_s   back to clear sky when the beacon stays away
    beacon_hold_s    how long the level stays when the beacon is lost
    deadband_db      smaller changes are not made
    """

    clear_dbm: float
    cap_dbm: float
    psd_cap_dbm: float | None = None
    fraction: float = 1.0
    slew_db_per_s: float = 0.5
    decay_db_per_s: float = 0.1
    beacon_hold_s: float = 60.0
    deadband_db: float = 0.2

    @property
    def ceiling_dbm(self) -> float:
        """The lowest of all caps; never below clear sky's level unless a cap is."""
        return self.cap_dbm if self.psd_cap_dbm is None else min(self.cap_dbm, self.psd_cap_dbm)

    @property
    def headroom_db(self) -> float:
        """dB from clear sky to the ceiling."""
        return max(0.0, self.ceiling_dbm - self.clear_dbm)


class Mode(Enum):
    TRACKING = "tracking"
    FROZEN = "frozen"
    DECAYING = "decaying"


class BeaconInput(Enum):
    """`OVERDUE`: still no beacon, and the hold time is over."""

    SEEN = "seen"
    MISSING = "missing"
    OVERDUE = "overdue"


class Effect(Enum):
    FOLLOW = "follow the fade"
    HOLD = "hold the level"
    DECAY = "go back to clear sky"


TABLE: dict[tuple[Mode, BeaconInput], tuple[Effect, Mode]] = {
    (Mode.TRACKING, BeaconInput.SEEN): (Effect.FOLLOW, Mode.TRACKING),
    (Mode.TRACKING, BeaconInput.MISSING): (Effect.HOLD, Mode.FROZEN),
    (Mode.FROZEN, BeaconInput.SEEN): (Effect.FOLLOW, Mode.TRACKING),
    (Mode.FROZEN, BeaconInput.MISSING): (Effect.HOLD, Mode.FROZEN),
    (Mode.FROZEN, BeaconInput.OVERDUE): (Effect.DECAY, Mode.DECAYING),
    (Mode.DECAYING, BeaconInput.SEEN): (Effect.FOLLOW, Mode.TRACKING),
    (Mode.DECAYING, BeaconInput.OVERDUE): (Effect.DECAY, Mode.DECAYING),
}


@dataclass(frozen=True, slots=True)
class Ulpc:
    """State of the control. `lost_at_s`: when the beacon went away; None while it is there."""

    mode: Mode
    level_dbm: float
    at_s: float
    lost_at_s: float | None = None


def start(settings: UlpcSettings, now_s: float) -> Ulpc:
    """At clear sky's level."""
    return Ulpc(Mode.TRACKING, _quantized(min(settings.clear_dbm, settings.ceiling_dbm)), now_s)


def advance(settings: UlpcSettings, state: Ulpc, fade_db: float | None, now_s: float, *, boost_db: float = 0.0) -> Ulpc:
    """The next state and level.

    `fade_db`: of the uplink by the beacon, None when the beacon is lost or not to be believed. `boost_db`: power on top
    of the answered share, for a fade that the beacon shows but underrates.
    """
    lost_at_s = None if fade_db is not None else state.lost_at_s if state.lost_at_s is not None else now_s
    if lost_at_s is None:
        beacon = BeaconInput.SEEN
    elif state.mode is not Mode.TRACKING and now_s - lost_at_s >= settings.beacon_hold_s:
        beacon = BeaconInput.OVERDUE
    else:
        beacon = BeaconInput.MISSING
    effect, mode = TABLE[state.mode, beacon]
    elapsed_s = min(max(0.0, now_s - state.at_s), _LONGEST_GAP_S)
    if effect is Effect.HOLD:
        target, fastest = state.level_dbm, 0.0
    elif effect is Effect.DECAY:
        target, fastest = settings.clear_dbm, settings.decay_db_per_s * elapsed_s
    else:
        wanted = (fade_db or 0.0) * settings.fraction + boost_db
        target, fastest = settings.clear_dbm + min(wanted, settings.headroom_db), settings.slew_db_per_s * elapsed_s
    level = _towards(state.level_dbm, min(target, settings.ceiling_dbm), fastest, settings.deadband_db)
    moved = level != state.level_dbm or effect is Effect.HOLD or abs(target - level) <= settings.deadband_db
    # Time that was too short for one step of the level counts for the next.
    return replace(state, mode=mode, level_dbm=level, at_s=now_s if moved else state.at_s, lost_at_s=lost_at_s)


def psd_cap_dbm(limit_dbw_per_hz: float, *, symbol_rate_baud: float, gain_db: float) -> float:
    """Modem level at which the carrier's EIRP density is `limit_dbw_per_hz`.

    `gain_db`: from the modem's output to the EIRP: cables, converter, amplifier, antenna.
    """
    return limit_dbw_per_hz + 10 * math.log10(symbol_rate_baud) + 30 - gain_db


def _towards(level: float, target: float, fastest: float, deadband: float) -> float:
    """`target`, or as near as `fastest` allows, in whole steps of the modem and never faster for the rounding."""
    if abs(target - level) <= deadband:
        return level
    if target > level:
        return _quantized(min(target, level + fastest))
    return -_quantized(-max(target, level - fastest))


def _quantized(level_dbm: float) -> float:
    """Down to the modem's step, so that no rounding goes above a cap."""
    return round(math.floor(level_dbm / STEP_DB + 1e-6) * STEP_DB, 1)
