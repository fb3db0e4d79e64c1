"""What the adaptation is told and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from headend.satellite.ladder import Rung
from headend.satellite.transition import SetModcod, SetRates, order


@dataclass(frozen=True, slots=True)
class Observation:
    """What the devices say at `at_s` (monotonic seconds).

    es_n0_db   receiver -> Es/N0, None when out of lock; a receiver that cannot be read is absent
    beacon_db  None when there is none or it cannot be read
    level_dbm  the modem's transmit level as read back; None: as last asked for
    muted      the carrier is not on the air
    """

    at_s: float
    es_n0_db: Mapping[str, float | None]
    beacon_db: float | None
    level_dbm: float | None = None
    muted: bool = False


class Reason(Enum):
    """Why the MODCOD steps down although that costs every receiver a relock."""

    POWER_AT_CAP = "uplink power is at its cap"
    TOO_LATE = "the fade deepens faster than power can follow"
    POWER_HELD = "without a beacon the power may not follow"
    COMMON_FADE = "all receivers fade and the beacon shows no uplink fade that power may answer"


class AlarmKind(Enum):
    UPLINK_FADE = "uplink-fade"
    COMMON_FADE = "common-fade"
    SITE_FADE = "site-fade"
    BEACON_LOST = "beacon-lost"
    BEACON_SUSPECT = "beacon-suspect"
    POWER_AT_CAP = "power-at-cap"
    CARRIER_LOST = "carrier-lost"
    NO_TELEMETRY = "no-telemetry"
    REDUCED = "reduced"
    NO_LOWER_RUNG = "no-lower-rung"
    STEP_FAILED = "step-failed"


@dataclass(frozen=True, slots=True)
class Alarm:
    """`raised` False clears it. `where`: the receive site; empty for the carrier."""

    kind: AlarmKind
    where: str
    text: str
    raised: bool


@dataclass(frozen=True, slots=True)
class SetPower:
    """The modem's transmit level."""

    level_dbm: float


@dataclass(frozen=True, slots=True)
class StepDown:
    """To a more robust MODCOD, in the order of `steps`; reported back with `Adaptation.step_done`."""

    rung_from: Rung
    rung_to: Rung
    reason: Reason
    es_n0_db: float

    @property
    def steps(self) -> tuple[SetRates | SetModcod, ...]:
        return order(self.rung_from, self.rung_to)

    @property
    def disruption(self) -> str:
        """What it costs, in an operator's words."""
        return _disruption(self.rung_from, self.rung_to)


@dataclass(frozen=True, slots=True)
class StepUp:
    """To the next MODCOD that carries more."""

    rung_from: Rung
    rung_to: Rung
    es_n0_db: float

    @property
    def steps(self) -> tuple[SetRates | SetModcod, ...]:
        return order(self.rung_from, self.rung_to)

    @property
    def disruption(self) -> str:
        """What it costs, in an operator's words."""
        return _disruption(self.rung_from, self.rung_to)


@dataclass(frozen=True, slots=True)
class LeaveSite:
    """The PoP takes its next path: its own downlink fades. The carrier stays as it is."""

    site: str


@dataclass(frozen=True, slots=True)
class ReturnSite:
    """The PoP may take the satellite again."""

    site: str


Action = SetPower | StepDown | StepUp | LeaveSite | ReturnSite | Alarm


def _disruption(rung_from: Rung, rung_to: Rung) -> str:
    parts = [f"one receiver relock ({rung_from.modcod} to {rung_to.modcod})"]
    leaving = [channel for channel in rung_from.services if channel not in rung_to.services]
    lower = [c for c, rate in rung_to.services.items() if rate < rung_from.services.get(c, 0)]
    if lower:
        parts.append(f"{', '.join(lower)} at a lower rate")
    if leaving:
        parts.append(f"{', '.join(leaving)} left out")
    coming = [channel for channel in rung_to.services if channel not in rung_from.services]
    if coming:
        parts.append(f"{', '.join(coming)} back")
    return "; ".join(parts)
