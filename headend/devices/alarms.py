"""A device's alarms, owned by polls: what is read now is what stands, so a lost trap or a lost clear heals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headend.devices import conditions, values
from headend.devices.instances import Instance, beside, resolve
from headend.devices.model import AlarmRule, Condition, Model
from headend.devices.rows import parse_name
from headend.devices.values import ParameterValue
from headend.snmp.values import Quality
from nf.telemetry.alarms import AlarmEvent, Severity

SILENT = "device-silent"
"""Probable cause: the device does not answer."""


class AlarmWatch:
    """The alarms of one device, from what is read of it."""

    def __init__(self, model: Model, device: str) -> None:
        self._model = model
        self._device = device
        self._standing: dict[tuple[int, str], AlarmEvent] = {}
        self._silent = False

    def update(self, found: Mapping[str, ParameterValue], at: float) -> list[AlarmEvent]:
        """What is raised, changed and cleared by `found` (names with their rows), at wall-clock time `at`.

        Values that cannot be believed change nothing, but for a device that answers nothing at all: that is an alarm.
        A row that a whole reading of its column does not have any more has no alarm any more; `rows_gone` says so.
        """
        events = list(self._reachability(found, at))
        believed: dict[str, list[str]] = {}
        for name, value in found.items():
            if value.good or value.quality is Quality.MISSING:
                believed.setdefault(parse_name(name).parameter, []).append(name)
        for number, rule in enumerate(self._model.spec.alarms):
            for name in believed.get(rule.parameter, ()):
                events += self._judge(number, rule, resolve(self._model, name), found, at)
        return events

    @property
    def standing(self) -> tuple[AlarmEvent, ...]:
        """What is raised now, but for the device's silence."""
        return tuple(self._standing.values())

    @property
    def causes(self) -> frozenset[str]:
        """The probable causes that stand, with the device's silence."""
        return frozenset(event.cause for event in self._standing.values()) | ({SILENT} if self._silent else set())

    def all_cleared(self, at: float) -> list[AlarmEvent]:
        """Nobody looks after the device any more: nothing of it may stand for ever."""
        told = "the device is not looked after any more"
        events = [AlarmEvent(one.cause, one.object, Severity.CLEARED, at, told) for one in self._standing.values()]
        if self._silent:
            events.append(AlarmEvent(SILENT, self._device, Severity.CLEARED, at, told))
        self._standing, self._silent = {}, False
        return events

    def rows_gone(self, column: str, rows: frozenset[str], at: float) -> list[AlarmEvent]:
        """Clear what stands for rows of `column` that are not among `rows` (full names)."""
        events: list[AlarmEvent] = []
        for key, event in tuple(self._standing.items()):
            if parse_name(key[1]).parameter == column and key[1] not in rows:
                del self._standing[key]
                events.append(AlarmEvent(event.cause, event.object, Severity.CLEARED, at, "the row is gone"))
        return events

    def _reachability(self, found: Mapping[str, ParameterValue], at: float) -> Iterator[AlarmEvent]:
        silent = bool(found) and all(value.quality in (Quality.UNREACHABLE, Quality.STALE) for value in found.values())
        answered = any(value.quality not in (Quality.UNREACHABLE, Quality.STALE) for value in found.values())
        if silent and not self._silent:
            self._silent = True
            remedy = "check power, management network and credentials"
            yield AlarmEvent(SILENT, self._device, Severity.MAJOR, at, "the device does not answer", remedy)
        elif answered and self._silent:
            self._silent = False
            yield AlarmEvent(SILENT, self._device, Severity.CLEARED, at, "it answers again")

    def _judge(
        self, number: int, rule: AlarmRule, instance: Instance, found: Mapping[str, ParameterValue], at: float
    ) -> Iterator[AlarmEvent]:
        key = (number, instance.name)
        if not self._applies(rule, instance, found):
            raised = False
        elif key in self._standing and rule.clear_when is not None:
            raised = not self._meets(rule.clear_when, instance, found)
        else:
            raised = self._meets(rule.raise_when, instance, found)
        subject = f"{self._device}/{instance.name}"
        value = values.shown(instance.parameter, found[instance.name].value)
        if raised:
            event = AlarmEvent(rule.cause, subject, rule.severity, at, f"{rule.text} ({value})", rule.remedy)
            before = self._standing.get(key)
            self._standing[key] = event
            if before is None or before.text != event.text:
                yield event
        elif self._standing.pop(key, None) is not None:
            yield AlarmEvent(rule.cause, subject, Severity.CLEARED, at, f"now {value}")

    def _applies(self, rule: AlarmRule, instance: Instance, found: Mapping[str, ParameterValue]) -> bool:
        for name, expected in rule.when.items():
            value = found.get(beside(self._model, name, instance).name)
            if value is None or not conditions.same(expected, value.value):
                return False
        return True

    def _meets(self, condition: Condition, instance: Instance, found: Mapping[str, ParameterValue]) -> bool:
        tracked = None
        if condition.tracks is not None:
            other = found.get(beside(self._model, condition.tracks, instance).name)
            tracked = None if other is None else other.value
        return conditions.holds(condition, found[instance.name].value, tracked)
