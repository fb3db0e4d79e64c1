"""How good the reception is, from what a receiver says of itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headend.devices.model import Model
from headend.devices.values import ParameterValue
from headend.satellite.documents import Margins
from headend.satellite.modcod import by_name
from headend.satellite.threshold import margin_db
from headend.snmp.values import Quality
from nf.errors import InputError

LOCKED: Final = "locked"
_WANTED: Final = ("lock", "es_n0", "margin", "modcod", "relock_count", "last_outage", "rx_power", "output_bit_rate")


def wanted_of(model: Model) -> tuple[str, ...]:
    """What is read of a receiver of this model, each second."""
    readable = {name for name, parameter in model.parameters.items() if parameter.access.readable}
    return tuple(name for name in _WANTED if name in readable)


@dataclass(frozen=True, slots=True)
class ReceiverReading:
    """What a receiver said at one instant. None: it does not say that, or there is no such value now.

    answered    False: nothing of it is known
    margin_db   Es/N0 above what its MODCOD requires; the receiver's own figure where it does not tell Es/N0
    values      its figures for a sample, with their units in the names
    """

    answered: bool
    locked: bool | None
    modcod: str | None
    es_n0_db: float | None
    margin_db: float | None
    values: Mapping[str, float]


SILENT = ReceiverReading(answered=False, locked=None, modcod=None, es_n0_db=None, margin_db=None, values={})


def reading_of(found: Mapping[str, ParameterValue], margins: Margins) -> ReceiverReading:
    """From parameters read by their names in a model."""
    if not found or all(value.quality in (Quality.UNREACHABLE, Quality.STALE) for value in found.values()):
        return SILENT
    lock = found.get("lock")
    locked = lock.value == LOCKED if lock is not None and lock.good else None
    modcod = found["modcod"].value if "modcod" in found and found["modcod"].good else None
    es_n0 = _number(found, "es_n0")
    margin = _margin(str(modcod) if modcod is not None else None, es_n0, _number(found, "margin"), margins)
    names = {
        "relock_count": "relocks",
        "last_outage": "last_outage_ms",
        "rx_power": "level_dbm",
        "output_bit_rate": "output_bitrate_bps",
    }
    values = {unit: number for name, unit in names.items() if (number := _number(found, name)) is not None}
    values |= {} if locked is None else {"locked": float(locked)}
    values |= {} if es_n0 is None else {"es_n0_db": es_n0}
    values |= {} if margin is None else {"margin_db": margin}
    return ReceiverReading(
        answered=True,
        locked=locked,
        modcod=None if modcod is None else str(modcod),
        es_n0_db=es_n0,
        margin_db=margin,
        values=values,
    )


def _number(found: Mapping[str, ParameterValue], name: str) -> float | None:
    value = found.get(name)
    if value is None or not value.good or isinstance(value.value, bool) or not isinstance(value.value, int | float):
        return None
    return float(value.value)


def _margin(modcod: str | None, es_n0: float | None, own: float | None, margins: Margins) -> float | None:
    if modcod is None or es_n0 is None:
        return own
    try:
        return round(margin_db(by_name(modcod), es_n0, margins.losses), 2)
    except InputError:
        return own


class Reception:
    """Good or bad, with hysteresis: bad below `down_db` of margin or without lock, good again from `up_db` on.

    A receiver that does not answer changes nothing: the feed sees for itself whether anything comes.
    """

    def __init__(self, margins: Margins) -> None:
        self._margins = margins
        self.good: bool | None = None
        self.reading: ReceiverReading | None = None

    def take(self, reading: ReceiverReading) -> bool | None:
        """Whether it is good; None as long as the receiver has said nothing."""
        if not reading.answered or (reading.locked is None and reading.margin_db is None):
            return self.good
        self.reading = reading
        margin = reading.margin_db
        if reading.locked is False or (margin is not None and margin < self._margins.down_db):
            self.good = False
        elif self.good is not False or margin is None or margin >= self._margins.up_db:
            self.good = True
        return self.good


def describe(reading: ReceiverReading) -> str:
    """In an operator's words: `margin -0.3 dB`, `no lock`."""
    if not reading.answered:
        return "the receiver does not answer"
    if reading.locked is False:
        return "no lock"
    if reading.margin_db is not None:
        return f"margin {reading.margin_db:.1f} dB"
    return "locked" if reading.locked else "no figures"
