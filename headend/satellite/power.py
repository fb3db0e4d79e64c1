"""Uplink power of one carrier: the control of `ulpc.py`, and a little more under risk."""

from __future__ import annotations

from headend.satellite import ulpc
from headend.satellite.fade import BeaconState, FadeEstimate

_BOOST_DB_PER_S = 0.25
_BOOST_DECAY_DB_PER_S = 0.05
_BOOST_SHARE = 0.3
_TOLERANCE_DB = 0.25


class PowerControl:
    """The level, and how much is left of it.

    The beacon's fade is scaled to the uplink's by rule of thumb. While the carrier is at risk, power may slowly answer
    up to 30 % more than it says, and the share that `fraction` leaves unanswered: that costs no receiver anything.
    """

    def __init__(self, settings: ulpc.UlpcSettings, *, onset_db: float, now_s: float) -> None:
        self._settings = settings
        self._onset_db = onset_db
        self._state = ulpc.start(settings, now_s)
        self._boost_db = 0.0
        self._boosted_s = now_s

    @property
    def level_dbm(self) -> float:
        """As last asked for."""
        return self._state.level_dbm

    @property
    def mode(self) -> ulpc.Mode:
        return self._state.mode

    @property
    def at_cap(self) -> bool:
        """Up to the deadband and the modem's step, no more is allowed. False where there is no headroom to speak of."""
        reach = self._settings.ceiling_dbm - max(_TOLERANCE_DB, self._settings.deadband_db)
        return self._state.level_dbm >= reach

    def reset(self, now_s: float) -> None:
        """Back to clear sky's level at once: for a carrier that is not on the air."""
        self._state = ulpc.start(self._settings, now_s)
        self._boost_db, self._boosted_s = 0.0, now_s

    def update(self, now_s: float, fade: FadeEstimate, *, at_risk: bool) -> float | None:
        """The new level in dBm, None when it stays."""
        elapsed_s, self._boosted_s = max(0.0, now_s - self._boosted_s), now_s
        good = fade.beacon is BeaconState.GOOD
        if good and at_risk:
            most = self._boost_limit_db(fade.uplink_db)
            self._boost_db = min(most, self._boost_db + _BOOST_DB_PER_S * elapsed_s)
        else:
            self._boost_db = max(0.0, self._boost_db - _BOOST_DECAY_DB_PER_S * elapsed_s)
        before = self._state.level_dbm
        fade_db = fade.uplink_db if good else None
        self._state = ulpc.advance(self._settings, self._state, fade_db, now_s, boost_db=self._boost_db)
        return self._state.level_dbm if self._state.level_dbm != before else None

    def left_db(self, uplink_db: float) -> float:
        """dB that may still be added to answer an uplink fade of `uplink_db`."""
        if self._state.mode is not ulpc.Mode.TRACKING or self.at_cap:
            return 0.0
        answer = min(uplink_db * self._settings.fraction + self._boost_limit_db(uplink_db), self._settings.headroom_db)
        left = self._settings.clear_dbm + answer - self._state.level_dbm
        return left if left > max(_TOLERANCE_DB, self._settings.deadband_db) else 0.0

    def coming_db(self, uplink_db: float, within_s: float) -> float:
        """The part of `left_db` that the slew lets come within so many seconds."""
        return min(self.left_db(uplink_db), self._settings.slew_db_per_s * within_s)

    def unfounded_db(self) -> float:
        """dB above clear sky that no beacon confirms any more, and that will go."""
        if self._state.mode is ulpc.Mode.TRACKING:
            return 0.0
        return max(0.0, self._state.level_dbm - self._settings.clear_dbm)

    def _boost_limit_db(self, uplink_db: float) -> float:
        if uplink_db < self._onset_db:
            return 0.0
        return (1 - self._settings.fraction + _BOOST_SHARE) * uplink_db
