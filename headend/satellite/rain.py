"""Rain attenuation of a path by the share of an average year, as a plain table (ITU-R P.618 clause 2.2.1.1).

Tables are made when a site is configured, by `tabulate`, and kept as data. Nothing that controls a link computes P.618:
the first call takes seconds, for maps of rain all over the world.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any

from nf.errors import InputError, UnavailableError

PERCENTS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Shares of an average year in per cent; P.618 holds from 0.001 to 5."""


@dataclass(frozen=True, slots=True)
class RainTable:
    """Rain attenuation on one path.

    elevation_deg  of the satellite; tilt_deg: of the polarization, 0 horizontal, 90 vertical, 45 circular
    rows           (per cent of the year, dB exceeded in it), per cent ascending and dB falling
    """

    site: str
    frequency_hz: float
    elevation_deg: float
    tilt_deg: float
    rows: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        steps = list(pairwise(self.rows))
        rising = all(low[0] < high[0] and low[1] >= high[1] for low, high in steps)
        if not steps or not rising or self.rows[0][0] <= 0 or self.rows[-1][1] < 0:
            raise InputError(
                "a rain table has rising per cents above 0 and falling dB", where=self.site, remedy="make it anew"
            )

    def attenuation_db(self, percent: float) -> float:
        """dB exceeded during `percent` of the year. Raises InputError outside the table."""
        low, high = self.rows[0][0], self.rows[-1][0]
        if not low <= percent <= high:
            raise InputError(f"{percent} % of the year", where=self.site, remedy=f"the table holds {low} to {high} %")
        at = max(1, bisect_left(self.rows, (percent,)))
        (p0, a0), (p1, a1) = self.rows[at - 1], self.rows[at]
        share = math.log(percent / p0) / math.log(p1 / p0)
        return a0 + (a1 - a0) * share

    def exceeded_percent(self, attenuation_db: float) -> float:
        """Per cent of the year in which more rain than this attenuates. At the table's ends its first or last per cent.

        So what is rarer than the table's rarest is counted as that: an outage is never understated.
        """
        if attenuation_db >= self.rows[0][1]:
            return self.rows[0][0]
        for (p0, a0), (p1, a1) in pairwise(self.rows):
            if a1 <= attenuation_db <= a0:
                share = (a0 - attenuation_db) / (a0 - a1) if a0 > a1 else 0.0
                return float(p0 * (p1 / p0) ** share)
        return self.rows[-1][0]

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "site": self.site,
            "frequency_hz": self.frequency_hz,
            "elevation_deg": self.elevation_deg,
            "tilt_deg": self.tilt_deg,
            "rows": [list(row) for row in self.rows],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> RainTable:
        """What `to_data` gave. Raises InputError."""
        try:
            rows = tuple((float(percent), float(db)) for percent, db in data["rows"])
            return cls(
                site=str(data["site"]),
                frequency_hz=float(data["frequency_hz"]),
                elevation_deg=float(data["elevation_deg"]),
                tilt_deg=float(data["tilt_deg"]),
                rows=rows,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a rain table: {error}", remedy="make it anew") from error


def tabulate(
    site: str,
    *,
    latitude_deg: float,
    longitude_deg: float,
    frequency_hz: float,
    elevation_deg: float,
    tilt_deg: float = 45.0,
) -> RainTable:
    """Compute a table by P.618 with the maps of P.837 and P.839. Takes seconds: for configuration only.

    Raises UnavailableError when the package `itur` is not installed.
    """
    try:
        p618: Any = import_module("itur.models.itu618")
    except ImportError as error:
        raise UnavailableError(
            "rain tables need the package itur",
            remedy="pip install 'streamverse-nf[satellite]', there where the tables are made",
        ) from error
    rows = []
    for percent in PERCENTS:
        found = p618.rain_attenuation(
            latitude_deg, longitude_deg, frequency_hz / 1e9, elevation_deg, p=percent, tau=tilt_deg
        )
        rows.append((percent, round(float(found.value), 3)))
    return RainTable(site, frequency_hz, elevation_deg, tilt_deg, tuple(rows))
