"""Where earth stations stand and what they are made of, as written in the fleet: what a link budget is computed from.

All of it is optional: a carrier works without, and has no budget then.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from headend.satellite.quantities import Frequency
from headend.satellite.rain import RainTable
from nf.documents.model import DocumentModel, Name, RuleError
from nf.errors import InputError

LIGHT_M_PER_S = 299_792_458.0

Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
"""Degrees, north and east positive."""

Polarization: TypeAlias = Literal["horizontal", "vertical", "circular"]


class TransmitStation(DocumentModel):
    """The carrier's earth station. `eirp`: dBW of the carrier at the modem's clear level.

    `g_over_t`: dB/K of the satellite towards the station; `losses`: dB of pointing and gases.
    """

    latitude_deg: Latitude = Field(alias="latitude")
    longitude_deg: Longitude = Field(alias="longitude")
    eirp_dbw: float = Field(alias="eirp", ge=0, le=100)
    g_over_t_db_per_k: float = Field(alias="g_over_t", ge=-30, le=30)
    losses_db: float = Field(alias="losses", default=0.5, ge=0, le=20)


class ReceiveStation(DocumentModel):
    """A receive site's antenna. `eirp`: dBW of the carrier towards it in clear sky, output back-off taken off.

    Either `g_over_t` in dB/K, or `dish` in m with its `efficiency`; `noise_temperature`: K of the system in clear sky;
    `losses`: dB of pointing and gases.
    """

    latitude_deg: Latitude = Field(alias="latitude")
    longitude_deg: Longitude = Field(alias="longitude")
    eirp_dbw: float = Field(alias="eirp", ge=-20, le=80)
    g_over_t_db_per_k: float | None = Field(alias="g_over_t", default=None, ge=-30, le=60)
    dish_m: float | None = Field(alias="dish", default=None, gt=0, le=40)
    efficiency: float = Field(default=0.65, gt=0, le=1)
    noise_temperature_k: float = Field(alias="noise_temperature", default=150.0, ge=10, le=2000)
    losses_db: float = Field(alias="losses", default=0.5, ge=0, le=20)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.g_over_t_db_per_k is None) == (self.dish_m is None):
            raise RuleError("an antenna has either g_over_t or dish", "write one of them")
        return self

    def figure_of_merit_db_per_k(self, frequency_hz: float) -> float:
        """G/T in clear sky."""
        if self.g_over_t_db_per_k is not None:
            return self.g_over_t_db_per_k
        gain = self.efficiency * (math.pi * (self.dish_m or 0.0) * frequency_hz / LIGHT_M_PER_S) ** 2
        return 10 * math.log10(gain) - 10 * math.log10(self.noise_temperature_k)


class Polarizations(DocumentModel):
    """Of the transponder; circular counts as the mean of the two linear ones."""

    uplink: Polarization = "circular"
    downlink: Polarization = "circular"


class RainRecord(DocumentModel):
    """A rain table of a site (ITU-R P.618), made by `nf link rain` and kept in the fleet.

    rows  [per cent of an average year, dB of rain exceeded in it], the rarest first
    """

    site: Name
    latitude_deg: Latitude = Field(alias="latitude")
    longitude_deg: Longitude = Field(alias="longitude")
    frequency_hz: Frequency = Field(alias="frequency")
    elevation_deg: float = Field(alias="elevation", gt=0, le=90)
    tilt_deg: float = Field(alias="tilt", ge=0, le=90)
    rows: Annotated[tuple[tuple[float, float], ...], Field(min_length=2, max_length=64)]

    @model_validator(mode="after")
    def _is_a_table(self) -> Self:
        try:
            self.table()
        except InputError as error:
            raise RuleError(error.message, "make it anew: nf link rain --fleet FILE") from None
        return self

    def table(self) -> RainTable:
        """Raises InputError."""
        return RainTable(self.site, self.frequency_hz, self.elevation_deg, self.tilt_deg, self.rows)
