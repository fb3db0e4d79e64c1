"""How a geostationary satellite stands in the sky of a site: elevation, and the tilt of its polarization there."""

from __future__ import annotations

import math

from headend.satellite.ground import Polarization

GEO_RADIUS_KM = 42_164.2
EARTH_RADIUS_KM = 6_378.1


def elevation_deg(latitude_deg: float, longitude_deg: float, orbit_deg: float) -> float:
    """Above the horizon, without refraction; negative where the satellite is not to be seen. A round Earth."""
    cosine = math.cos(math.radians(latitude_deg)) * math.cos(math.radians(orbit_deg - longitude_deg))
    sine = math.sqrt(max(0.0, 1 - cosine**2))
    return math.degrees(math.atan2(cosine - EARTH_RADIUS_KM / GEO_RADIUS_KM, sine))


def tilt_deg(latitude_deg: float, longitude_deg: float, orbit_deg: float, polarization: Polarization) -> float:
    """Of the electric field against the site's horizon, 0 to 90, as rain attenuation needs it (ITU-R P.838 clause 1).

    A linear polarization is parallel or perpendicular to the equator in orbit; a site off the satellite's meridian sees
    it turned by the skew.
    """
    if polarization == "circular":
        return 45.0
    away = math.radians(orbit_deg - longitude_deg)
    skew = abs(math.degrees(math.atan2(math.sin(away), math.tan(math.radians(latitude_deg)))))
    skew = min(skew, 180 - skew)
    return skew if polarization == "horizontal" else 90 - skew
