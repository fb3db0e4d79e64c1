"""Alarms of the adaptation: which conditions hold now, and what that changes against before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from headend.satellite.actions import Alarm, AlarmKind
from headend.satellite.fade import BeaconState, FadeEstimate

Conditions = dict[tuple[AlarmKind, str], str]
_CLEAR_SHARE = 0.5


class AlarmBoard:
    """Raises what is new, clears what is gone. A fade clears at half of what raises it."""

    def __init__(self, *, onset_db: float, tolerance_db: float) -> None:
        self._onset_db = onset_db
        self._tolerance_db = tolerance_db
        self._active: Conditions = {}

    def update(self, now: Mapping[tuple[AlarmKind, str], str]) -> tuple[Alarm, ...]:
        raised = [
            Alarm(kind, where, text, True) for (kind, where), text in now.items() if (kind, where) not in self._active
        ]
        cleared = [
            Alarm(kind, where, text, False) for (kind, where), text in self._active.items() if (kind, where) not in now
        ]
        self._active = dict(now)
        return (*raised, *cleared)

    def fades(self, found: FadeEstimate, *, has_beacon: bool) -> Conditions:
        """Conditions that the estimate tells of."""
        now: Conditions = {}
        if has_beacon and found.beacon is BeaconState.LOST:
            now[AlarmKind.BEACON_LOST, ""] = (
                "the beacon cannot be read: uplink power stays, then goes back to clear sky"
            )
        if found.beacon is BeaconState.SUSPECT:
            now[AlarmKind.BEACON_SUSPECT, ""] = "the beacon shows a fade that no receiver confirms: it is not followed"
        if self._holds(AlarmKind.UPLINK_FADE, found.uplink_db, self._onset_db):
            now[AlarmKind.UPLINK_FADE, ""] = f"uplink fade of {found.uplink_db:.1f} dB"
        if self._holds(AlarmKind.COMMON_FADE, found.unexplained_db, self._tolerance_db):
            text = f"all receivers fade by {found.unexplained_db:.1f} dB that the beacon does not show"
            now[AlarmKind.COMMON_FADE, ""] = text
        return now

    def _holds(self, kind: AlarmKind, fade_db: float, raise_db: float) -> bool:
        share = _CLEAR_SHARE if (kind, "") in self._active else 1.0
        return fade_db >= raise_db * share


def lock_conditions(es_n0_db: Iterable[float | None]) -> Conditions:
    """Whether anybody receives the carrier, as far as the receivers can be read."""
    values = list(es_n0_db)
    if not values:
        return {(AlarmKind.NO_TELEMETRY, ""): "no receiver can be read"}
    if all(value is None for value in values):
        return {(AlarmKind.CARRIER_LOST, ""): "every receiver that can be read is out of lock"}
    return {}


def site_conditions(away: Iterable[str], found: FadeEstimate) -> Conditions:
    """Sites on their next path."""
    return {(AlarmKind.SITE_FADE, site): _site_text(site, found.site_db.get(site)) for site in sorted(away)}


def _site_text(site: str, fade_db: float | None) -> str:
    if fade_db is None or math.isinf(fade_db):
        return f"{site} is out of lock by itself: it takes its next path"
    return f"{site} fades by itself, {fade_db:.1f} dB: it takes its next path"
