"""Alarms of SCTE-HMS devices (SCTE 38-1): currentAlarmTable, whose rows name the alarmed object by its OID."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headend.devices.rows import IndexKind, decode_row, parse_oid, suffix_of
from headend.devices.transport import Reader
from headend.snmp.values import Varbind
from nf.telemetry.alarms import AlarmEvent, Severity

CURRENT_ALARM_ENTRY: Final = "1.3.6.1.4.1.5591.1.1.2.1"
_STATE, _VALUE = (f"{CURRENT_ALARM_ENTRY}.{column}" for column in (2, 3))
_STATES: Final[Mapping[int, tuple[str, Severity]]] = {
    2: ("far too high", Severity.MAJOR),  # caasHIHI
    3: ("too high", Severity.MINOR),
    4: ("too low", Severity.MINOR),
    5: ("far too low", Severity.MAJOR),  # caasLOLO
    6: ("alarm", Severity.MAJOR),  # caasDiscreteMajor
    7: ("alarm", Severity.MINOR),
}
_STATUS_CODE: Final = "1.3.6.1.4.1.3715.17.2"
"""Teleste's statusCode tables: column 4 of an object's row describes it (column 3 of the device's own)."""
_INTERFACE_TABLE: Final = 4
_INTERFACE_OBJECTS: Final[Mapping[int, str]] = {4097: "signal missing", 4102: "ASI link down", 4226: "link down"}
"""TELESTE-LUMINATO-MIB ifStatusTable. The device describes the first interface of a module only."""
_DIRECTIONS: Final[Mapping[int, str]] = {1: "input", 2: "output"}
CAUSE: Final = "hms-alarm"


@dataclass(frozen=True, slots=True)
class HmsAlarm:
    """`object_oid`: the object that is in alarm; `value`: the one that caused it."""

    object_oid: str
    severity: Severity
    state: str
    value: int | None
    text: str

    def event(self, device: str, at: float) -> AlarmEvent:
        said = self.text or f"object {self.object_oid}"
        return AlarmEvent(CAUSE, f"{device}/{self.object_oid}", self.severity, at, f"{said}: {self.state}")


def parse_alarms(varbinds: list[Varbind] | tuple[Varbind, ...]) -> tuple[HmsAlarm, ...]:
    """The rows of a walk of currentAlarmTable, described by nothing yet. Rows of another form are left out."""
    states: dict[str, int] = {}
    values: dict[str, int] = {}
    for varbind in varbinds:
        for column, found in ((_STATE, states), (_VALUE, values)):
            suffix = suffix_of(varbind.oid, column)
            if suffix is None or not isinstance(varbind.value, int):
                continue
            try:
                (alarmed,) = decode_row((IndexKind.OID,), suffix)
            except ValueError:
                continue
            found[str(alarmed)] = varbind.value
    return tuple(
        HmsAlarm(oid, _STATES[state][1], _STATES[state][0], values.get(oid), "")
        for oid, state in sorted(states.items(), key=lambda item: parse_oid(item[0]))
        if state in _STATES
    )


def descriptor_oid(alarmed: str) -> str | None:
    """Where a Teleste device describes an object of its statusCode tables; None for others."""
    suffix = suffix_of(alarmed, _STATUS_CODE)
    if suffix is None or len(suffix) < 4:
        return None
    table, entry, _, *index = suffix
    column = 3 if table == 2 else 4
    return ".".join(map(str, (_STATUS_CODE, table, entry, column, *index)))


def _known_text(alarmed: str) -> str:
    """What the MIB says about an object of an interface; nothing for others."""
    suffix = suffix_of(alarmed, _STATUS_CODE)
    if suffix is None or len(suffix) != 7 or suffix[0] != _INTERFACE_TABLE:
        return ""
    direction, module, interface, code = suffix[3:]
    said = _INTERFACE_OBJECTS.get(code, f"status {code}")
    return f"Module {module}: {said} ({_DIRECTIONS.get(direction, 'interface')} {interface})"


async def read_alarms(session: Reader) -> tuple[HmsAlarm, ...]:
    """The standing alarms with what the device says about each. Raises AgentSilentError."""
    alarms = parse_alarms(list(await session.walk(CURRENT_ALARM_ENTRY)))
    asked = {alarm.object_oid: descriptor_oid(alarm.object_oid) for alarm in alarms}
    readings = await session.get([oid for oid in asked.values() if oid is not None]) if alarms else {}
    described: list[HmsAlarm] = []
    for alarm in alarms:
        reading = readings.get(asked[alarm.object_oid] or "")
        raw = reading.value if reading is not None and reading.good else None
        text = raw.decode("utf-8", "replace").strip("\0 ") if isinstance(raw, bytes) else _known_text(alarm.object_oid)
        described.append(HmsAlarm(alarm.object_oid, alarm.severity, alarm.state, alarm.value, text))
    return tuple(described)


class HmsWatch:
    """Events from one reading of the table to the next."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._standing: dict[str, HmsAlarm] = {}

    def update(self, alarms: tuple[HmsAlarm, ...], at: float) -> list[AlarmEvent]:
        """What is raised, changed and cleared; a row that is gone is an alarm that is over."""
        now = {alarm.object_oid: alarm for alarm in alarms}
        events = [alarm.event(self._device, at) for oid, alarm in now.items() if self._standing.get(oid) != alarm]
        gone = [oid for oid in self._standing if oid not in now]
        events += [AlarmEvent(CAUSE, f"{self._device}/{oid}", Severity.CLEARED, at, "over") for oid in gone]
        self._standing = now
        return events

    @property
    def causes(self) -> frozenset[str]:
        return frozenset({CAUSE}) if self._standing else frozenset()

    @property
    def standing(self) -> tuple[HmsAlarm, ...]:
        return tuple(self._standing.values())
