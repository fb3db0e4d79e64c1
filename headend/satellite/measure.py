"""What the observations say about the link: the fades, their slope, and the Es/N0 that the carrier has to live with."""

from __future__ import annotations

from collections import deque

from headend.satellite.actions import Observation
from headend.satellite.fade import BeaconState, FadeEstimate, FadeKind, LinkReference, estimate, slope_db_per_s

_NOTHING = FadeEstimate(BeaconState.LOST, FadeKind.UNKNOWN, 0.0, None, 0.0, {})


class LinkMeasure:
    """Keeps the last seconds.

    estimate  the fades by the last observation
    es_n0_db  of the receiver with the least margin, without the fade of its own site and with the power of this moment;
              None when neither receivers nor beacon tell
    """

    def __init__(self, reference: LinkReference, *, clear_dbm: float, loop_delay_s: float, window_s: float) -> None:
        self._reference = reference
        self._clear_dbm = clear_dbm
        self._loop_delay_s = loop_delay_s
        self._window_s = window_s
        self._beacon: deque[tuple[float, float]] = deque()
        self._common: deque[tuple[float, float]] = deque()
        self._levels: deque[tuple[float, float]] = deque()
        self.estimate = _NOTHING
        self.es_n0_db: float | None = None

    def forget(self) -> None:
        """The carrier went off the air: nothing that was measured counts any more."""
        for kept in (self._beacon, self._common, self._levels):
            kept.clear()
        self.estimate, self.es_n0_db = _NOTHING, None

    def update(self, seen: Observation, level_dbm: float) -> FadeEstimate:
        """Take in an observation, made while the modem sent at `level_dbm`."""
        now_s = seen.at_s
        self._levels.append((now_s, level_dbm))
        # Receivers tell of the level that was on the air when their reading began.
        while len(self._levels) > 1 and self._levels[1][0] <= now_s - self._loop_delay_s:
            self._levels.popleft()
        found = estimate(
            self._reference,
            beacon_db=seen.beacon_db,
            es_n0_db=seen.es_n0_db,
            tx_offset_db=self._levels[0][1] - self._clear_dbm,
            recent_uplink_db=self._recent_uplink_db(now_s),
        )
        good = found.beacon is BeaconState.GOOD
        fade_db = found.uplink_db if found.common_db is None and good else found.common_db
        clear_db = self._reference.worst_es_n0_db + level_dbm - self._clear_dbm
        self.estimate = found
        self.es_n0_db = None if fade_db is None else clear_db - fade_db
        self._keep(self._beacon, now_s, found.uplink_db if good else None)
        self._keep(self._common, now_s, found.common_db)
        return found

    def slope_db_per_s(self) -> float:
        """dB per second by which the fade that all receivers share deepens; negative while it recedes.

        The beacon is the better witness: it has no delay, and power control does not move it.
        """
        if self.estimate.beacon is BeaconState.GOOD and self.estimate.unexplained_db < self._reference.onset_db:
            return self.uplink_slope_db_per_s()
        return slope_db_per_s(tuple(self._common))

    def uplink_slope_db_per_s(self) -> float:
        """dB per second by which the uplink's fade deepens, by the beacon."""
        return slope_db_per_s(tuple(self._beacon))

    def _recent_uplink_db(self, now_s: float) -> float:
        """The deepest fade that the beacon showed since the receivers measured what they report now."""
        since_s = now_s - self._loop_delay_s
        return max((fade_db for at_s, fade_db in self._beacon if at_s >= since_s), default=0.0)

    def _keep(self, kept: deque[tuple[float, float]], now_s: float, value: float | None) -> None:
        if value is not None:
            kept.append((now_s, value))
        while kept and kept[0][0] < now_s - self._window_s:
            kept.popleft()
