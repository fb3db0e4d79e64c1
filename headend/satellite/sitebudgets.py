"""The budgets of a carrier, site by site, from what the fleet document says; and the rain tables that they need.

Pure. P.618 itself is computed by `headend.satellite.rain`, at configuration time, into the fleet's `rain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headend.satellite import budget as link_budget
from headend.satellite.documents import Carrier, ReceiveSite, SatelliteEquipment, Transponder
from headend.satellite.geometry import elevation_deg, tilt_deg
from headend.satellite.ground import Polarization, RainRecord, ReceiveStation, TransmitStation
from headend.satellite.modcod import by_name
from headend.satellite.rain import RainTable
from headend.satellite.threshold import required_es_n0_db
from nf.documents.fleet import Fleet
from nf.errors import Problem

KEY = "spec.equipment.satellite"
MAKE_TABLES = "make them and commit the fleet: nf link rain --fleet FILE"
ES_N0_APART_DB = 2.0
"""What is said of a receiver in clear sky and what its budget gives are this far apart before anybody is told."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A path through the rain: what a table is made for. Degrees and Hz."""

    site: str
    latitude_deg: float
    longitude_deg: float
    frequency_hz: int
    elevation_deg: float
    tilt_deg: float

    def served_by(self, record: RainRecord) -> bool:
        """Whether the table is of this path, but for what changes rain attenuation by less than its own accuracy."""
        return (
            record.site == self.site
            and abs(record.latitude_deg - self.latitude_deg) <= 0.05
            and abs(record.longitude_deg - self.longitude_deg) <= 0.05
            and abs(record.frequency_hz - self.frequency_hz) <= 0.005 * self.frequency_hz
            and abs(record.elevation_deg - self.elevation_deg) <= 0.2
            and abs(record.tilt_deg - self.tilt_deg) <= 2.0
        )


@dataclass(frozen=True, slots=True)
class ModcodBudget:
    """dB of Es/N0 needed and above it in clear sky, dB of rain that either end stands, per cent of an average year.

    `uplink_rain_db` with all the power that the modem has left; `availability_percent` None without rain tables.
    """

    modcod: str
    required_es_n0_db: float
    margin_db: float
    uplink_rain_db: float
    downlink_rain_db: float
    availability_percent: float | None


@dataclass(frozen=True, slots=True)
class SiteBudget:
    """dB, dB/K, degrees. `said_es_n0_db`: `clear_es_n0` of the document. `missing`: ends without a rain table."""

    site: str
    elevation_deg: float
    g_over_t_db_per_k: float
    uplink_es_n0_db: float
    downlink_es_n0_db: float
    es_n0_db: float
    said_es_n0_db: float
    missing: tuple[str, ...]
    modcods: tuple[ModcodBudget, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; MODCODs best first."""
        return {**asdict(self), "missing": list(self.missing), "modcods": [asdict(one) for one in self.modcods]}


def lacking(carrier: Carrier, transponder: Transponder) -> tuple[str, ...]:
    """What the documents do not say and any budget of the carrier needs, as keys under it; empty when all is there."""
    return tuple(
        what
        for what, there in (
            (f"position of transponder {transponder.id}", transponder.position_deg is not None),
            (f"station of carrier {carrier.id}", carrier.station is not None),
            ("station of any of its receivers", any(receiver.station for receiver in carrier.receivers)),
        )
        if not there
    )


def site_budgets(satellite: SatelliteEquipment, carrier: Carrier, fleet: Fleet) -> tuple[SiteBudget, ...]:
    """Of every receiver whose station is written, by site. Empty when something that all need is `lacking`."""
    transponder = next((one for one in satellite.transponders if one.id == carrier.transponder), None)
    if transponder is None or transponder.position_deg is None or carrier.station is None:
        return ()
    up = _uplink(transponder, carrier, carrier.station, fleet)
    return tuple(
        _site_budget(satellite.rain, carrier, receiver, receiver.station, up)
        for receiver in sorted(carrier.receivers, key=lambda one: one.site)
        if receiver.station is not None
    )


def wanted_tables(satellite: SatelliteEquipment, fleet: Fleet) -> tuple[Wanted, ...]:
    """Every path that needs a table; paths that one table serves are named once."""
    found: list[Wanted] = []
    for carrier in satellite.carriers:
        for wanted in _wanted(satellite, carrier, fleet):
            if not any(wanted.served_by(_blank(other)) for other in found):
                found.append(wanted)
    return tuple(sorted(found, key=lambda one: (one.site, one.frequency_hz, one.elevation_deg, one.tilt_deg)))


def record(wanted: Wanted, table: RainTable) -> RainRecord:
    """The table as the document keeps it."""
    return _blank(wanted).model_copy(update={"rows": table.rows})


def problems(satellite: SatelliteEquipment, transponders: Mapping[str, Transponder]) -> Iterator[Problem]:
    """Stations that have no satellite to point at."""
    for number, carrier in enumerate(satellite.carriers):
        key = f"{KEY}.carriers[{number}]"
        stations: list[tuple[str, TransmitStation | ReceiveStation | None]] = [(f"{key}.station", carrier.station)]
        stations += [(f"{key}.receivers[{n}].station", one.station) for n, one in enumerate(carrier.receivers)]
        transponder = transponders.get(carrier.transponder)
        if transponder is None:
            continue
        for place, station in stations:
            if station is None:
                continue
            if transponder.position_deg is None:
                remedy = "write position: there, in degrees east"
                yield Problem(f"transponder {transponder.id} has no position on the orbit", remedy, key=place)
                break
            stands = elevation_deg(station.latitude_deg, station.longitude_deg, transponder.position_deg)
            if stands <= 0:
                yield Problem(
                    f"the satellite at {transponder.position_deg:g} degrees east is below its horizon",
                    "check latitude and longitude (north and east are positive)",
                    key=place,
                )


def warnings(satellite: SatelliteEquipment, fleet: Fleet) -> Iterator[Problem]:
    """What the budgets say against the plan: availability short or unknown, Es/N0 that is not the written one."""
    for number, carrier in enumerate(satellite.carriers):
        index = {receiver.site: n for n, receiver in enumerate(carrier.receivers)}
        for found in site_budgets(satellite, carrier, fleet):
            key = f"{KEY}.carriers[{number}].receivers[{index[found.site]}]"
            apart_db = abs(found.es_n0_db - found.said_es_n0_db)
            if apart_db > ES_N0_APART_DB:
                yield Problem(
                    f"{found.site} has {found.es_n0_db:.1f} dB in clear sky by its budget of carrier {carrier.id}, and "
                    f"{found.said_es_n0_db:g} dB is written",
                    "correct clear_es_n0, or what the budget is computed from",
                    key=f"{key}.clear_es_n0",
                )
            wanted = carrier.availability_percent
            lowest = found.modcods[-1]
            if wanted is None:
                continue
            if lowest.availability_percent is None:
                ends = " and ".join(found.missing)
                yield Problem(
                    f"how often {found.site} has carrier {carrier.id} is not known: no rain table of {ends}",
                    MAKE_TABLES,
                    key=f"{key}.site",
                )
            elif lowest.availability_percent < wanted:
                yield Problem(
                    f"{found.site} has carrier {carrier.id} in {lowest.availability_percent:.3f} % of an average year, "
                    f"{wanted:g} % is wanted (at {lowest.modcod}, its most robust MODCOD)",
                    "give it a larger dish, the carrier more power, or a more robust MODCOD: nf link budget",
                    key=f"{key}.site",
                )


# ---- one site -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Up:
    transponder: Transponder
    path: link_budget.UplinkPath
    rain: Wanted


def _uplink(transponder: Transponder, carrier: Carrier, station: TransmitStation, fleet: Fleet) -> _Up:
    site = next((one.site for one in fleet.spec.appliances if one.id == carrier.appliance), carrier.appliance)
    rain = _path(site, station, transponder, carrier.centre_hz + transponder.translation_hz, up=True)
    path = link_budget.UplinkPath(
        eirp_dbw=station.eirp_dbw,
        frequency_hz=rain.frequency_hz,
        elevation_deg=rain.elevation_deg,
        g_over_t_db_per_k=station.g_over_t_db_per_k,
        losses_db=station.losses_db,
    )
    return _Up(transponder, path, rain)


def _site_budget(
    tables: Sequence[RainRecord], carrier: Carrier, receiver: ReceiveSite, station: ReceiveStation, up: _Up
) -> SiteBudget:
    rain = _path(receiver.site, station, up.transponder, carrier.centre_hz, up=False)
    g_over_t = station.figure_of_merit_db_per_k(carrier.centre_hz)
    link = link_budget.Link(
        symbol_rate_baud=carrier.symbol_rate_baud,
        uplink=up.path,
        downlink=link_budget.DownlinkPath(
            eirp_dbw=station.eirp_dbw,
            frequency_hz=carrier.centre_hz,
            elevation_deg=rain.elevation_deg,
            g_over_t_db_per_k=g_over_t,
            noise_temperature_k=station.noise_temperature_k,
            losses_db=station.losses_db,
        ),
        interference_db=carrier.interference_db or (),
    )
    up_table, down_table = _table(tables, up.rain), _table(tables, rain)
    clear = link_budget.budget(link)
    headroom_db = carrier.power.cap_dbm - carrier.power.clear_dbm

    def of(name: str) -> ModcodBudget:
        required_db = required_es_n0_db(by_name(name), carrier.margins.losses)
        available: float | None = None
        if up_table is not None and down_table is not None:
            available = link_budget.availability_percent(
                link, required_db, uplink=up_table, downlink=down_table, headroom_db=headroom_db
            )
        return ModcodBudget(
            modcod=name,
            required_es_n0_db=required_db,
            margin_db=round(clear.es_n0_db - required_db, 2),
            uplink_rain_db=round(link_budget.uplink_rain_margin_db(link, required_db, headroom_db=headroom_db), 2),
            downlink_rain_db=round(link_budget.downlink_rain_margin_db(link, required_db), 2),
            availability_percent=None if available is None else round(available, 4),
        )

    ends = ((f"the uplink at {up.rain.site}", up_table), (f"the downlink at {rain.site}", down_table))
    return SiteBudget(
        site=receiver.site,
        elevation_deg=rain.elevation_deg,
        g_over_t_db_per_k=round(g_over_t, 2),
        uplink_es_n0_db=round(clear.uplink_es_n0_db, 2),
        downlink_es_n0_db=round(clear.downlink_es_n0_db, 2),
        es_n0_db=round(clear.es_n0_db, 2),
        said_es_n0_db=receiver.clear_es_n0_db,
        missing=tuple(end for end, table in ends if table is None),
        modcods=tuple(of(name) for name in _by_need(carrier)),
    )


def _by_need(carrier: Carrier) -> list[str]:
    """The one that needs most first: the last is what a carrier comes down to."""
    return sorted(
        carrier.modcods, key=lambda name: required_es_n0_db(by_name(name), carrier.margins.losses), reverse=True
    )


def _wanted(satellite: SatelliteEquipment, carrier: Carrier, fleet: Fleet) -> Iterator[Wanted]:
    transponder = next((one for one in satellite.transponders if one.id == carrier.transponder), None)
    if transponder is None or transponder.position_deg is None or carrier.station is None:
        return
    yield _uplink(transponder, carrier, carrier.station, fleet).rain
    for receiver in carrier.receivers:
        if receiver.station is not None:
            yield _path(receiver.site, receiver.station, transponder, carrier.centre_hz, up=False)


def _path(
    site: str, station: TransmitStation | ReceiveStation, transponder: Transponder, frequency_hz: int, *, up: bool
) -> Wanted:
    latitude, longitude, orbit = station.latitude_deg, station.longitude_deg, transponder.position_deg or 0.0
    polarization: Polarization = transponder.polarization.uplink if up else transponder.polarization.downlink
    return Wanted(
        site=site,
        latitude_deg=latitude,
        longitude_deg=longitude,
        frequency_hz=frequency_hz,
        elevation_deg=round(elevation_deg(latitude, longitude, orbit), 2),
        tilt_deg=round(tilt_deg(latitude, longitude, orbit, polarization), 1),
    )


def _table(tables: Sequence[RainRecord], wanted: Wanted) -> RainTable | None:
    return next((record.table() for record in tables if wanted.served_by(record)), None)


def _blank(wanted: Wanted) -> RainRecord:
    return RainRecord(
        site=wanted.site,
        latitude_deg=wanted.latitude_deg,
        longitude_deg=wanted.longitude_deg,
        frequency_hz=wanted.frequency_hz,
        elevation_deg=wanted.elevation_deg,
        tilt_deg=wanted.tilt_deg,
        rows=((0.01, 0.0), (1.0, 0.0)),
    )
