"""What a front counts, as samples and alarms. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

EVENTS_S = 5.0
SILENT, EXPIRING = "front-silent", "front-certificate-expiring"
_COUNTED = {
    "requests": "caddy_http_requests_total",
    "errors": "caddy_http_request_errors_total",
    "in_flight": "caddy_http_requests_in_flight",
}


class FrontWatch:
    """Turns what Caddy counts into a sample, and silence into an alarm that is said once."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._silent: bool | None = None

    def take(self, counters: Mapping[str, int] | None, now: float, *, wanted: bool) -> tuple[Event, ...]:
        """`counters` None: Caddy does not answer."""
        events: list[Event] = []
        if counters is not None:
            values = {key: float(counters.get(name, 0)) for key, name in _COUNTED.items()}
            events.append(Sample("cdn.front", now, {"point": "front"}, values))
        silent = wanted and counters is None
        if silent is not self._silent:
            self._silent = silent
            severity = Severity.MAJOR if silent else Severity.CLEARED
            text = "the front does not answer" if silent else "the front answers"
            events.append(AlarmEvent(SILENT, self._appliance, severity, now, text, "read the log of the unit caddy"))
        return tuple(events)
