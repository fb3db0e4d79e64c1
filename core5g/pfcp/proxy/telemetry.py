"""What the proxy says, as samples and alarms. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from core5g.pfcp.proxy.documents import ProxySection
from nf.contracts.driver import Event
from nf.contracts.json import Json, JsonObject
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

DOWN, STRANGER, FAILED_OPEN, STORE = (
    "pfcp-proxy-down",
    "pfcp-peer-refused",
    "pfcp-proxy-failed-open",
    "pfcp-proxy-store",
)
CLOSED, UNSTEERED, LOST = "classifier-closed", "classifier-session-unsteered", "classifier-session-lost"
_QUIET_S = 60.0
"""What happened now and then stands as an alarm for so long after the last time."""

_COUNTED: dict[str, tuple[str, Severity, str, str]] = {
    STRANGER: (
        "refused-peer",
        Severity.MAJOR,
        "PFCP from {last_refused}, which is no SMF of this proxy, was refused",
        "list the SMF in the fleet's core5g, or find out who this is",
    ),
    FAILED_OPEN: (
        "failed-open",
        Severity.MAJOR,
        "an internal error; messages went on, sessions are not steered: {last_error}",
        "report it with the log of the unit pfcp-proxy",
    ),
    STORE: (
        "store-errors",
        Severity.MAJOR,
        "sessions cannot be kept on disk; a restart would leave them unsteered: {unkept}",
        "see that the disk has room and the file can be written, or put it aside; the proxy opens it when it starts",
    ),
    LOST: (
        LOST,
        Severity.MAJOR,
        "the UPF rejected a modification and takes the session's rules no more",
        "have the UE set its session up anew; update the UPF, which loses rules by a rejection",
    ),
}
_MALFORMED = "malformed-"


class ProxyWatch:
    """Samples `pfcp.proxy` and `path.hop` at the point `classifier`, and alarms as they change."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[str, tuple[bool, str]] = {}
        self._before: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def take(self, section: ProxySection | None, answer: JsonObject | None, at: float) -> Iterator[Event]:
        """`section`: what runs, None: nothing. `answer`: its status, None: it does not answer."""
        if section is None:
            for cause in [cause for cause, (raised, _) in self._said.items() if raised]:
                yield from self._say(cause, at, "the proxy is no longer wanted", raised=False)
            return
        yield from self._say(DOWN, at, "the PFCP proxy does not answer", "read the log of its unit", raised=not answer)
        if answer is None:
            return
        counters = answer.get("counters")
        counted = {key: number(value) for key, value in counters.items()} if isinstance(counters, dict) else {}
        yield from self._counted(answer, counted, at)
        yield from self._steering(section, answer, at)
        malformed = sum(value for key, value in counted.items() if key.startswith(_MALFORMED))
        values = {
            "sessions": number(answer.get("sessions")),
            "steered": number(answer.get("steered")),
            "messages": counted.get("messages", 0.0),
            "repeated": counted.get("repeated", 0.0),
            "refused": counted.get("refused-peer", 0.0),
            "failed_open": counted.get("failed-open", 0.0),
            "malformed": malformed,
        }
        yield Sample("pfcp.proxy", at, {"point": section.upf.id}, values)
        for channel, path in sorted({(r.channel, r.path) for r in section.rules if r.channel and r.path}):
            labels = {"channel": channel, "path": path, "point": "classifier"}
            yield Sample("path.hop", at, labels, {"sessions": values["sessions"], "steered": values["steered"]})

    def _counted(self, answer: JsonObject, counted: dict[str, float], at: float) -> Iterator[Event]:
        for cause, (counter, severity, text, remedy) in _COUNTED.items():
            value = counted.get(counter, 0.0)
            if value > self._before.get(cause, 0.0) or (cause == STORE and answer.get("unkept")):
                self._last[cause] = at
            self._before[cause] = value
            raised = at - self._last.get(cause, -_QUIET_S) < _QUIET_S
            yield from self._say(cause, at, text.format_map(answer), remedy, severity, raised=raised)

    def _steering(self, section: ProxySection, answer: JsonObject, at: float) -> Iterator[Event]:
        closed = section.edge is not None and bool(section.rules) and answer.get("open") is not True
        text = f"nothing is steered to the edge: {answer.get('why')}"
        remedy = "sessions go on by the default exit; look after the edge UPF and its cache"
        yield from self._say(CLOSED, at, text, remedy, raised=closed)
        refused = answer.get("refused")
        reasons = {why: int(number(n)) for why, n in refused.items()} if isinstance(refused, dict) else {}
        text = "; ".join(f"{n} sessions are not steered: {why}" for why, n in sorted(reasons.items()))
        remedy = "they go on by the default exit; a commit that changes the rules tries again"
        yield from self._say(UNSTEERED, at, text, remedy, Severity.MINOR, raised=bool(reasons))

    def _say(
        self, cause: str, at: float, text: str, remedy: str = "", severity: Severity = Severity.MAJOR, *, raised: bool
    ) -> Iterator[Event]:
        before = self._said.get(cause, (False, ""))
        if before == (raised, text) or not (raised or before[0]):
            return
        self._said[cause] = (raised, text)
        event = AlarmEvent(cause, f"{self._appliance}/pfcp-proxy", severity, at, text, remedy)
        yield event if raised else replace(event, severity=Severity.CLEARED)


def number(data: Json) -> float:
    return float(data) if isinstance(data, int | float) else 0.0
