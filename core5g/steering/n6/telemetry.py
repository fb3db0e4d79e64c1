"""What the gate and the resolver say, as samples and alarms. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from core5g.steering.n6.documents import N6Section
from nf.contracts.driver import Event
from nf.contracts.json import Json, JsonObject
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

POINT = "n6-steering"
SHUT, GATE_DOWN, RESOLVER_DOWN = "steering-shut", "steering-gate-down", "steering-resolver-down"


class SteeringWatch:
    """Samples `steering.n6` (open, flows_reset, packets of each counter) and `path.hop` of each path steered here;
    alarms while the gate is shut, and while a unit does not answer."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[str, tuple[bool, str]] = {}

    def take(
        self, section: N6Section | None, gate: JsonObject | None, resolver: JsonObject | None, at: float
    ) -> Iterator[Event]:
        """`gate`, `resolver`: their answers, None: none came. `at`: seconds since the epoch."""
        wanted = section is not None
        remedy = "read the log of its unit"
        yield from self._say(GATE_DOWN, at, "the gate of N6 steering does not answer", remedy, wanted and gate is None)
        no_names = section is not None and section.resolver is not None and resolver is None
        yield from self._say(RESOLVER_DOWN, at, "the resolver of UEs does not answer", remedy, no_names)
        shut = wanted and gate is not None and gate.get("open") is False
        why = gate.get("why") if gate is not None else ""
        text = f"UEs leave by the default exit: {why}"
        yield from self._say(SHUT, at, text, "look at the cache and at the link to it", shut)
        if section is None or gate is None:
            return
        told = gate.get("packets")
        packets = {
            f"{name}_packets": _number(count) for name, count in (told if isinstance(told, dict) else {}).items()
        }
        values = {"open": float(gate.get("open") is True), "flows_reset": _number(gate.get("flows_reset")), **packets}
        yield Sample("steering.n6", at, {"point": POINT}, values)
        for path in section.paths:
            labels = {"channel": path.channel, "path": path.path, "point": POINT}
            yield Sample("path.hop", at, labels, {"packets": packets.get("steered_packets", 0.0)})

    def _say(self, cause: str, at: float, text: str, remedy: str, raised: bool) -> Iterator[Event]:
        before = self._said.get(cause, (False, ""))
        if before == (raised, text if raised else ""):
            return
        self._said[cause] = (raised, text if raised else "")
        event = AlarmEvent(cause, f"{self._appliance}/{POINT}", Severity.MAJOR, at, text, remedy)
        yield event if raised else replace(event, severity=Severity.CLEARED)


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
