"""What the NOC knows of the running fleet, for services of domains that tell it to other systems. Read only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from nf.contracts.json import JsonObject
from nf.telemetry.alarms import Alarm
from nf.telemetry.samples import Sample


@dataclass(frozen=True, slots=True)
class Measured:
    """The latest sample of one subject. `site` is empty when the appliance is not of the fleet any more."""

    appliance: str
    site: str
    sample: Sample


@dataclass(frozen=True, slots=True)
class Presence:
    appliance: str
    site: str
    online: bool


@dataclass(frozen=True, slots=True)
class AlarmState:
    """`appliance` is empty for the NOC's own alarms. An alarm that is over has the severity CLEARED."""

    appliance: str
    site: str
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class AlarmsListed:
    """The appliance has told all alarms that stand there: what it had beside them is over."""

    appliance: str


@dataclass(frozen=True, slots=True)
class PathSwitch:
    """`number` grows; `at`: seconds since the epoch; `kind`, `tier`: as `nf path history` has them."""

    number: int
    at: float
    channel: str
    site: str
    source: str
    target: str
    kind: str
    tier: str
    reason: str


@dataclass(frozen=True, slots=True)
class OrderState:
    """An order of the NOC's ledger. Times are seconds since the epoch, `ended_at` 0 while it is still to do.

    `missing`: appliances that have not acknowledged it. `key`: stream and number. `arguments`: of the operation.
    """

    key: str
    id: str
    operation: str
    object: str
    state: str
    due_at: float
    ended_at: float
    missing: int
    arguments: JsonObject = field(default_factory=dict)


class Telemetry(Protocol):
    def appliances(self) -> tuple[Presence, ...]:
        """All of the fleet."""

    def samples(self) -> tuple[Measured, ...]:
        """Also old ones: `sample.at` says when."""

    def alarms(self) -> tuple[AlarmState, ...]:
        """Those that stand."""

    def alarm_changes(self) -> AsyncIterator[AlarmState | AlarmsListed]:
        """Those that stand, then what changes, until the caller stops iterating. To who is very slow, only the last
        word about an alarm is told."""

    def switches(self) -> tuple[PathSwitch, ...]:
        """The last ones, oldest first."""

    def orders(self) -> tuple[OrderState, ...]:
        """Those that are kept."""
