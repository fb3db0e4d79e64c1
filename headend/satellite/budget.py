"""Link budget of a carrier through a transparent transponder: clear sky, rain, and how much rain it stands.

Noise of rain on the downlink: ITU-R P.618 clause 3. Free-space loss: P.525.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from headend.satellite.geometry import EARTH_RADIUS_KM, GEO_RADIUS_KM
from headend.satellite.ground import LIGHT_M_PER_S
from headend.satellite.rain import RainTable

BOLTZMANN_DBW_PER_HZ_K = -228.6
RAIN_TEMPERATURE_K = 275.0
_MOST_RAIN_DB = 60.0


@dataclass(frozen=True, slots=True)
class UplinkPath:
    """eirp_dbw: of the earth station in clear sky; g_over_t_db_per_k: of the satellite; losses_db: pointing, gases."""

    eirp_dbw: float
    frequency_hz: float
    elevation_deg: float
    g_over_t_db_per_k: float
    losses_db: float = 0.0


@dataclass(frozen=True, slots=True)
class DownlinkPath:
    """eirp_dbw: of the carrier in clear sky, output back-off taken off.

    `g_over_t_db_per_k` and `noise_temperature_k`: of the receiver in clear sky; losses_db: pointing, gases.
    """

    eirp_dbw: float
    frequency_hz: float
    elevation_deg: float
    g_over_t_db_per_k: float
    noise_temperature_k: float = 150.0
    losses_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """A carrier from uplink to one receiver.

    interference_db  C/I of everything else, such as neighbours, other polarization and intermodulation; each in dB
    """

    symbol_rate_baud: float
    uplink: UplinkPath
    downlink: DownlinkPath
    interference_db: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Weather:
    """dB of rain on both paths, and dB of power that uplink power control adds."""

    uplink_rain_db: float = 0.0
    downlink_rain_db: float = 0.0
    power_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Es/N0 in dB of the uplink alone, the downlink alone, and all together."""

    uplink_es_n0_db: float
    downlink_es_n0_db: float
    es_n0_db: float


def slant_range_km(elevation_deg: float) -> float:
    """Distance to a geostationary satellite that stands at this elevation."""
    sine = math.sin(math.radians(elevation_deg))
    cosine_sq = 1 - sine**2
    return math.sqrt(GEO_RADIUS_KM**2 - EARTH_RADIUS_KM**2 * cosine_sq) - EARTH_RADIUS_KM * sine


def free_space_loss_db(distance_km: float, frequency_hz: float) -> float:
    """P.525 clause 2.3."""
    return 20 * math.log10(4 * math.pi * distance_km * 1000 * frequency_hz / LIGHT_M_PER_S)


def rain_noise_loss_db(attenuation_db: float, noise_temperature_k: float) -> float:
    """dB by which the warm rain in front of an antenna lowers its G/T (P.618 clause 3), attenuation not counted."""
    rain_k = RAIN_TEMPERATURE_K * (1 - 10 ** (-attenuation_db / 10))
    return 10 * math.log10(1 + rain_k / noise_temperature_k)


def combined_db(*ratios_db: float) -> float:
    """Signal to all noises together, from signal to each."""
    return -10 * math.log10(sum(10 ** (-ratio / 10) for ratio in ratios_db))


CLEAR_SKY = Weather()


def budget(link: Link, weather: Weather = CLEAR_SKY) -> Budget:
    """Es/N0 in this weather. The transponder is linear: what the uplink loses is missing in the downlink too."""
    bandwidth_db = 10 * math.log10(link.symbol_rate_baud)
    drive_db = weather.power_db - weather.uplink_rain_db
    up, down = link.uplink, link.downlink
    up_db = (
        up.eirp_dbw
        + drive_db
        - free_space_loss_db(slant_range_km(up.elevation_deg), up.frequency_hz)
        - up.losses_db
        + up.g_over_t_db_per_k
        - BOLTZMANN_DBW_PER_HZ_K
        - bandwidth_db
    )
    down_db = (
        down.eirp_dbw
        + drive_db
        - free_space_loss_db(slant_range_km(down.elevation_deg), down.frequency_hz)
        - down.losses_db
        - weather.downlink_rain_db
        + down.g_over_t_db_per_k
        - rain_noise_loss_db(weather.downlink_rain_db, down.noise_temperature_k)
        - BOLTZMANN_DBW_PER_HZ_K
        - bandwidth_db
    )
    others = [ratio + min(0.0, drive_db) for ratio in link.interference_db]
    return Budget(up_db, down_db, combined_db(up_db, down_db, *others))


def uplink_rain_margin_db(link: Link, required_es_n0_db: float, *, headroom_db: float = 0.0) -> float:
    """dB of rain on the uplink that the carrier stands, with uplink power control of so much headroom."""

    def es_n0_db(rain_db: float) -> float:
        return budget(link, Weather(uplink_rain_db=rain_db, power_db=min(rain_db, headroom_db))).es_n0_db

    return _deepest(es_n0_db, required_es_n0_db)


def downlink_rain_margin_db(link: Link, required_es_n0_db: float) -> float:
    """dB of rain at the receiver that the carrier stands."""
    return _deepest(lambda rain_db: budget(link, Weather(downlink_rain_db=rain_db)).es_n0_db, required_es_n0_db)


def availability_percent(
    link: Link, required_es_n0_db: float, *, uplink: RainTable, downlink: RainTable, headroom_db: float = 0.0
) -> float:
    """Share of an average year in which the receiver has the carrier.

    Rain at the two ends is taken as never at the same time, which is the unfavourable case: the outages add up.
    """
    clear = budget(link).es_n0_db
    if clear < required_es_n0_db:
        return 0.0
    up = uplink.exceeded_percent(uplink_rain_margin_db(link, required_es_n0_db, headroom_db=headroom_db))
    down = downlink.exceeded_percent(downlink_rain_margin_db(link, required_es_n0_db))
    return max(0.0, 100.0 - up - down)


def _deepest(es_n0_db: Callable[[float], float], required_db: float) -> float:
    """The most rain at which `es_n0_db` still reaches `required_db`, to 0.001 dB; 0 when clear sky is not enough."""
    if es_n0_db(0.0) < required_db:
        return 0.0
    low, high = 0.0, _MOST_RAIN_DB
    while high - low > 0.001:
        middle = (low + high) / 2
        low, high = (middle, high) if es_n0_db(middle) >= required_db else (low, middle)
    return low
