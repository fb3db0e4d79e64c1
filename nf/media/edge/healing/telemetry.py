"""What healing says, as samples and alarms. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nf.contracts.driver import Event
from nf.contracts.json import Json, JsonObject
from nf.media.edge.healing.units import UNIT
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

OUT, DOWN = "edge-shield-out", "edge-healing-down"


class HealingWatch:
    """Samples `edge.shield` (out, probes, outs) of each shield; alarms while one is out, and while nobody watches."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], str] = {}

    def take(self, answer: JsonObject | None, at: float, *, wanted: bool) -> Iterator[Event]:
        """`answer` None: none came. `wanted`: whether there is anything to watch. `at`: seconds since the epoch."""
        silent = "a shield that hangs is left alone by nobody: healing does not answer" if wanted and not answer else ""
        yield from self._say(DOWN, self._appliance, at, silent, f"read the log of the unit {UNIT}")
        told = answer.get("shields") if answer is not None and wanted else {}
        shields = told if isinstance(told, dict) else {}
        gone = {obj for cause, obj in self._said if cause == OUT} - {self._object(name) for name in shields}
        if answer is not None or not wanted:
            for name in sorted(gone):
                yield from self._say(OUT, name, at, "", "")
        for name, shield in sorted(shields.items()):
            if not isinstance(shield, dict):
                continue
            out = shield.get("out") is True
            text = f"the shield {name} is asked for nothing: {shield.get('why', '')}" if out else ""
            yield from self._say(OUT, self._object(name), at, text, "look at the shield and at the way to it")
            values = {"out": float(out), "probes": _number(shield.get("probes")), "outs": _number(shield.get("outs"))}
            yield Sample("edge.shield", at, {"shield": name, "point": "edge"}, values)

    def _object(self, name: str) -> str:
        return f"{self._appliance}/shield/{name}"

    def _say(self, cause: str, about: str, at: float, text: str, remedy: str) -> Iterator[Event]:
        """Every state once, also the good one, so that what an earlier life of the agent raised is cleared."""
        if self._said.get((cause, about)) == text:
            return
        self._said[cause, about] = text
        severity = Severity.MAJOR if cause == DOWN else Severity.WARNING
        event = AlarmEvent(cause, about, severity, at, text, remedy)
        yield event if text else replace(event, severity=Severity.CLEARED)


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
