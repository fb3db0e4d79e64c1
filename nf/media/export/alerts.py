"""Changes of alarms as alerts, each once, over restarts of the NOC. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from nf.contracts.json import Json
from nf.contracts.telemetry import AlarmsListed, AlarmState
from nf.media.export.messages import ALERTS, Alert, written
from nf.media.export.outbox import Event, Remember
from nf.telemetry.alarms import Severity

KIND: Final = "alarm"
_CUT: Final = 1_000

Key = tuple[str, str, str]
"""Appliance, cause, object."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was said last of an alarm that stands. `alarm`: its id; `first_at`: seconds since the epoch."""

    appliance: str
    cause: str
    object: str
    site: str
    alarm: str
    number: int
    severity: str
    first_at: float


class Alerts:
    """An alarm that only has another text is no alert."""

    def __init__(self, noc: str, kept: Mapping[str, Json]) -> None:
        """`kept`: what an earlier life has remembered (`Outbox.memory`)."""
        self._noc = noc
        self._told: dict[Key, Told] = {}
        for value in kept.values():
            told = _told(value)
            self._told[told.appliance, told.cause, told.object] = told

    def take(
        self, change: AlarmState | AlarmsListed, standing: Callable[[], Iterable[AlarmState]], now: float
    ) -> tuple[list[Event], list[Remember]]:
        """`standing`: the alarms that stand now, which a listing is about."""
        if isinstance(change, AlarmState):
            return _both(self._changed(change))
        keys = {_key(one) for one in standing()}
        gone = [key for key in self._told if key[0] == change.appliance and key not in keys]
        return _both(self._over(key, now) for key in gone)

    def settle(
        self, standing: Iterable[AlarmState], fleet: frozenset[str], now: float
    ) -> tuple[list[Event], list[Remember]]:
        """What nobody says any more: of the NOC, when it had the time to say it anew; of who left the fleet."""
        keys = {_key(one) for one in standing}
        gone = [key for key in self._told if key not in keys and (not key[0] or key[0] not in fleet)]
        return _both(self._over(key, now) for key in gone)

    def _changed(self, state: AlarmState) -> Iterator[tuple[Event, Remember]]:
        alarm, key = state.alarm, _key(state)
        known = self._told.get(key)
        severity = alarm.severity.value
        if alarm.severity is Severity.CLEARED:
            if known is not None:
                yield self._over(key, alarm.last_at, alarm.text)
            return
        if known is not None and known.severity == severity:
            return
        change: Literal["raised", "changed"] = "changed"
        if known is None:
            known = Told(*key, state.site, _name(self._noc, key, alarm.first_at), 0, severity, alarm.first_at)
            change = "raised"
        told = replace(known, number=known.number + 1, severity=severity)
        self._told[key] = told
        at = alarm.first_at if change == "raised" else alarm.last_at
        yield self._said(told, change, at, alarm.text, alarm.remedy)

    def _over(self, key: Key, at: float, text: str = "") -> tuple[Event, Remember]:
        known = self._told.pop(key)
        told = replace(known, number=known.number + 1, severity=Severity.CLEARED.value)
        return self._said(told, "cleared", at, text, "")

    def _said(
        self, told: Told, change: Literal["raised", "changed", "cleared"], at: float, text: str, remedy: str
    ) -> tuple[Event, Remember]:
        severity: Any = told.severity
        alert = Alert(
            id=f"{told.alarm}.{told.number}",
            alarm=told.alarm,
            number=told.number,
            change=change,
            severity=severity,
            cause=told.cause,
            object=told.object,
            noc=self._noc,
            node=told.appliance,
            pop=told.site,
            text=text[:_CUT],
            remedy=remedy[:_CUT],
            first_at=written(told.first_at),
            at=written(at),
        )
        event = Event(ALERTS, alert.id, told.alarm, at, alert.model_dump_json().encode())
        return event, Remember(KIND, _text(told), None if change == "cleared" else asdict(told))


def _key(state: AlarmState) -> Key:
    return state.appliance, state.alarm.cause, state.alarm.object


def _text(told: Told) -> str:
    return f"{told.appliance}\n{told.cause}\n{told.object}"


def _name(noc: str, key: Key, first_at: float) -> str:
    return hashlib.sha256("\n".join((noc, *key, repr(first_at))).encode()).hexdigest()[:24]


def _told(value: Json) -> Told:
    data: Any = value
    return Told(**data)


def _both(pairs: Iterable[tuple[Event, Remember]]) -> tuple[list[Event], list[Remember]]:
    found = list(pairs)
    return [event for event, _ in found], [remember for _, remember in found]
