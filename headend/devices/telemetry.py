"""A device's values as samples: one for its scalars, one for each row of its tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from headend.devices.model import Model
from headend.devices.rows import Name, parse_name
from headend.devices.values import ParameterValue
from headend.snmp import values as snmp
from nf.clock import Clock
from nf.telemetry.samples import Quality, Sample

KIND: Final = "device"
_UNITS: Final[Mapping[str, str]] = {"bit/s": "bps", "symbol/s": "baud", "Hz": "hz", "%": "percent", "Cel": "celsius"}


def samples(
    device: str, model: Model, values: Mapping[str, ParameterValue], clock: Clock, *, silent: bool
) -> Iterator[Sample]:
    """Numbers with their unit in the name, other values in `text`; `age_ms`: of the oldest of them.

    STALE: the device has stopped answering, and these are its last words. SUSPECT: something could not be read.
    """
    places: dict[tuple[str, str], dict[str, ParameterValue]] = defaultdict(dict)
    for name, value in values.items():
        parsed = parse_name(name)
        row = str(Name(parsed.base, parsed.row)) if parsed.column is not None else ""
        places[row, parsed.base if parsed.column is not None else ""][parsed.column or parsed.base] = value
    if not places:
        yield Sample(KIND, clock.now(), {"device": device, "row": ""}, {"up": float(not silent)})
    for (row, table), found in places.items():
        known = {column: value for column, value in found.items() if value.value is not None}
        numbers = {
            f"{column}{_suffix(value.unit)}": float(value.value)
            for column, value in known.items()
            if isinstance(value.value, int | float) and not isinstance(value.value, bool)
        }
        words = [f"{column} {v.value}" for column, v in known.items() if _is_state(model, table, column, v)]
        age_s = max((clock.monotonic() - value.at for value in known.values()), default=0.0)
        up = {} if row else {"up": float(not silent)}
        yield Sample(
            KIND,
            clock.now(),
            {"device": device, "row": row},
            {**numbers, **up, "age_ms": round(max(0.0, age_s) * 1000, 1)},
            text=", ".join(words),
            quality=_quality(found, silent=silent),
        )


def _suffix(unit: str) -> str:
    word = _UNITS.get(unit, unit).lower()
    return "_" + "".join(character if character.isalnum() else "_" for character in word) if word else ""


def _is_state(model: Model, table: str, column: str, value: ParameterValue) -> bool:
    """Values of an enum: names, keys and texts of a device are no telemetry."""
    parameter = model.parameters[f"{table}.{column}" if table else column]
    return bool(parameter.enum) and isinstance(value.value, str)


def _quality(found: Mapping[str, ParameterValue], *, silent: bool) -> Quality:
    qualities = {value.quality for value in found.values()}
    if silent or qualities & {snmp.Quality.STALE, snmp.Quality.UNREACHABLE}:
        return Quality.STALE
    return Quality.SUSPECT if snmp.Quality.UNREADABLE in qualities else Quality.GOOD
