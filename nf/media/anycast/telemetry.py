"""What the gate does, as samples and alarms. Pure."""

from __future__ import annotations

from nf.contracts.driver import Event
from nf.contracts.json import JsonObject
from nf.media.anycast.documents import AnycastSection
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

WITHDRAWN, UNWATCHED = "anycast-withdrawn", "anycast-gate-down"
_COUNTED = ("probes", "withdrawals", "connections_ended", "errors")


class AnycastWatch:
    """Alarms are said once each when they begin and when they end."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[str, bool] = {}

    def take(self, section: AnycastSection | None, told: JsonObject | None, now: float) -> tuple[Event, ...]:
        """`told`: what the gate answered; None: it does not. `section` None: there is none here."""
        silent = section is not None and told is None
        events: list[Event] = [
            *self._alarm(
                UNWATCHED, silent, Severity.WARNING, now, "nobody watches the cache: its VIPs stay as they are"
            )
        ]
        if silent:
            return tuple(events)
        away = told is not None and told.get("announced") is not True
        why = f"the VIPs are not announced: {told.get('why')}" if told is not None else ""
        events += self._alarm(WITHDRAWN, away, Severity.MAJOR, now, why)
        if section is not None and told is not None:
            values = {key: float(str(told.get(key, 0))) for key in _COUNTED} | {"announced": float(not away)}
            events += [Sample("anycast.vip", now, {"vip": str(vip.address)}, values) for vip in section.vips]
        return tuple(events)

    def _alarm(self, cause: str, stands: bool, severity: Severity, now: float, text: str) -> tuple[AlarmEvent, ...]:
        if self._said.get(cause, False) is stands:
            return ()
        self._said[cause] = stands
        remedy = "read the log of the unit anycast-gate, and of the cache" if stands else ""
        told = text if stands else f"{cause} has ended"
        return (AlarmEvent(cause, self._appliance, severity if stands else Severity.CLEARED, now, told, remedy),)
