"""What a front counts, as samples and alarms. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

EVENTS_S = 5.0
SILENT, EXPIRING = "front-silent", "front-certificate-expiring"
EXPIRING_S = 7 * 86_400.0
_COUNTED = {
    "requests": "caddy_http_requests_total",
    "errors": "caddy_http_request_errors_total",
    "in_flight": "caddy_http_requests_in_flight",
}


class FrontWatch:
    """Alarms are said once each when they begin and when they end."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], bool] = {}

    def take(
        self, counters: Mapping[str, int] | None, ends: Mapping[str, float], now: float, *, wanted: bool
    ) -> tuple[Event, ...]:
        """`counters` None: Caddy does not answer. `ends`: when the time of each certificate is over."""
        events: list[Event] = []
        silent = wanted and counters is None
        events += self._alarm(SILENT, self._appliance, Severity.MAJOR, now, "the front does not answer", stands=silent)
        for name, end in sorted(ends.items()):
            text = f"{name} is over in {max(0.0, end - now) / 86_400:.1f} days"
            stands = end - now < EXPIRING_S
            events += self._alarm(EXPIRING, f"{self._appliance}/{name}", Severity.MINOR, now, text, stands=stands)
        if counters is not None:
            values = {key: float(counters.get(name, 0)) for key, name in _COUNTED.items()}
            events.append(Sample("cdn.front", now, {"point": "front"}, values))
        return tuple(events)

    def _alarm(
        self, cause: str, what: str, severity: Severity, now: float, text: str, *, stands: bool
    ) -> tuple[AlarmEvent, ...]:
        if self._said.get((cause, what), False) is stands:
            return ()
        self._said[cause, what] = stands
        remedy = "read the log of the unit caddy" if cause == SILENT else "write the renewed one into its secret"
        if not stands:
            return (AlarmEvent(cause, what, Severity.CLEARED, now, f"{cause} has ended"),)
        return (AlarmEvent(cause, what, severity, now, text, remedy),)
