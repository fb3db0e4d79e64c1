"""Whose fade is it? Rain at the uplink is seen by the beacon and by all receivers; rain at a receive site by that site.

The beacon comes down the path that the carrier goes up, at a lower frequency, so its fade is scaled. Receivers report
Es/N0, which also holds what uplink power control has added; that is taken out first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

DEFAULT_UPLINK_TO_BEACON = 1.48


class BeaconState(Enum):
    """`SUSPECT`: shows a fade that no receiver confirms, such as a fault of its own receiver."""

    GOOD = "good"
    LOST = "lost"
    SUSPECT = "suspect"


class FadeKind(Enum):
    """`COMMON`: all receivers fade and the beacon does not explain it. `UNKNOWN`: nobody can tell."""

    CLEAR = "clear"
    UPLINK = "uplink"
    SITE = "site"
    UPLINK_AND_SITE = "uplink and site"
    COMMON = "common"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LinkReference:
    """The link in clear sky, at the clear-sky transmit level.

    es_n0_db          receiver -> Es/N0. Two receivers, or one and a beacon, are the least that can tell an uplink fade
    beacon_db         level of the beacon (dB or dBm); None: the uplink site has no beacon receiver
    uplink_to_beacon  uplink fade in dB for each dB of the beacon's; 1.48 is 14.25 against 11.7 GHz
    onset_db          less is no fade
    tolerance_db      how far receivers and beacon may differ before the beacon is doubted or the fade is another one
    """

    es_n0_db: Mapping[str, float]
    beacon_db: float | None
    uplink_to_beacon: float = DEFAULT_UPLINK_TO_BEACON
    onset_db: float = 1.0
    tolerance_db: float = 2.0

    @property
    def worst_es_n0_db(self) -> float:
        """Of the receiver with the least margin."""
        return min(self.es_n0_db.values())


@dataclass(frozen=True, slots=True)
class FadeEstimate:
    """dB against clear sky, transmit power taken out.

    uplink_db       as the beacon shows it; 0 unless the beacon is good
    common_db       what every receiver lost; None when nobody can tell
    unexplained_db  the part of `common_db` that the beacon does not show, nor showed a moment ago
    site_db         receiver -> what it lost beyond `common_db`; infinite when it is out of lock and others are not
    """

    beacon: BeaconState
    kind: FadeKind
    uplink_db: float
    common_db: float | None
    unexplained_db: float
    site_db: Mapping[str, float]


def uplink_to_beacon(beacon_hz: float, uplink_hz: float) -> float:
    """dB of uplink fade for each dB of beacon fade: the square of the frequencies' ratio."""
    return (uplink_hz / beacon_hz) ** 2


def scale_attenuation_db(attenuation_db: float, from_hz: float, to_hz: float) -> float:
    """Rain attenuation at another frequency on the same path (ITU-R P.618 clause 2.2.1.3.1), 7 to 55 GHz.

    Less steep than the square law where the attenuation is deep.
    """
    first, second = _phi(from_hz / 1e9), _phi(to_hz / 1e9)
    ratio = second / first
    exponent = 1.12e-3 * math.sqrt(ratio) * (first * attenuation_db) ** 0.55
    return float(attenuation_db * ratio ** (1 - exponent))


def estimate(
    reference: LinkReference,
    *,
    beacon_db: float | None,
    es_n0_db: Mapping[str, float | None],
    tx_offset_db: float,
    recent_uplink_db: float = 0.0,
) -> FadeEstimate:
    """Tell the fades apart.

    `es_n0_db`: receiver -> Es/N0, None when out of lock; a receiver that reports nothing is absent. `tx_offset_db`:
    transmit level above that of clear sky when those Es/N0 were measured. `recent_uplink_db`: the deepest uplink fade
    since then. A single receiver cannot tell its own fade from the uplink's: there the beacon alone decides.
    """
    witnesses = {name: value for name, value in es_n0_db.items() if name in reference.es_n0_db}
    drops = {
        name: reference.es_n0_db[name] + tx_offset_db - value for name, value in witnesses.items() if value is not None
    }
    least = max(0.0, min(drops.values())) if drops else None
    beacon, uplink_db = _beacon(reference, beacon_db, least)
    alone = uplink_db if beacon is BeaconState.GOOD and drops else None
    common = least if len(witnesses) > 1 else alone
    sites = {name: max(0.0, drop - common) for name, drop in drops.items()} if common is not None else {}
    if drops:
        sites |= {name: math.inf for name, value in witnesses.items() if value is None}
    unexplained = max(0.0, (common or 0.0) - max(uplink_db, recent_uplink_db))
    return FadeEstimate(
        beacon=beacon,
        kind=_kind(reference, beacon, uplink_db=uplink_db, common_db=common, unexplained_db=unexplained, sites=sites),
        uplink_db=uplink_db,
        common_db=common,
        unexplained_db=unexplained,
        site_db=MappingProxyType(sites),
    )


def slope_db_per_s(samples: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of (seconds, dB); positive when a fade deepens. 0 with less than three samples."""
    if len(samples) < 3:
        return 0.0
    mean_s = sum(at for at, _ in samples) / len(samples)
    mean_db = sum(value for _, value in samples) / len(samples)
    spread = sum((at - mean_s) ** 2 for at, _ in samples)
    if not spread:
        return 0.0
    return sum((at - mean_s) * (value - mean_db) for at, value in samples) / spread


def _phi(ghz: float) -> float:
    return ghz**2 / (1 + 1e-4 * ghz**2)


def _beacon(reference: LinkReference, beacon_db: float | None, least_db: float | None) -> tuple[BeaconState, float]:
    if reference.beacon_db is None or beacon_db is None:
        return BeaconState.LOST, 0.0
    fade = max(0.0, (reference.beacon_db - beacon_db) * reference.uplink_to_beacon)
    if least_db is not None and fade > least_db + reference.tolerance_db:
        return BeaconState.SUSPECT, 0.0
    return BeaconState.GOOD, fade


def _kind(
    reference: LinkReference,
    beacon: BeaconState,
    *,
    uplink_db: float,
    common_db: float | None,
    unexplained_db: float,
    sites: Mapping[str, float],
) -> FadeKind:
    site = any(value >= reference.onset_db for value in sites.values())
    if uplink_db >= reference.onset_db:
        return FadeKind.UPLINK_AND_SITE if site else FadeKind.UPLINK
    if common_db is None and not site and beacon is not BeaconState.GOOD:
        return FadeKind.UNKNOWN
    if unexplained_db >= reference.tolerance_db:
        return FadeKind.COMMON
    return FadeKind.SITE if site else FadeKind.CLEAR
