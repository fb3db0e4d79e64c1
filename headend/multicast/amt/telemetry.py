"""What relay and gateway say, as samples and alarms. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from headend.multicast.amt.documents import AmtFlow
from nf.contracts.driver import Event
from nf.contracts.json import Json, JsonObject
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

NO_RELAY, LIMITED, DOWN = "amt-relay-lost", "amt-relay-full", "amt-process-down"
_LOST_AFTER_S = 5.0


class AmtWatch:
    """Samples `amt.relay` (gateways, flows, packets, bad) and `amt.gateway` (flows, flowing, packets, bad).

    `bad`: datagrams that were dropped because they were malformed, forged or unwanted.
    """

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], bool] = {}
        self._asking_since: float | None = None

    def take(self, answers: Mapping[str, JsonObject | None], at: float) -> Iterator[Event]:
        """Role -> its status; None: it runs and does not answer. `at`: seconds since the epoch."""
        for role, answer in answers.items():
            text = f"the AMT {role} does not answer"
            yield from self._say((DOWN, role), at, text, "read the log of its unit", raised=answer is None)
            if answer is not None:
                yield self._sample(role, answer, at)
        if (gateway := answers.get("gateway")) is not None:
            yield from self._gateway(gateway, at)
        for cause, role in [key for key, raised in self._said.items() if raised and key[1] not in answers]:
            yield from self._say((cause, role), at, f"the {role} is no longer wanted", "", raised=False)

    def _gateway(self, answer: JsonObject, at: float) -> Iterator[Event]:
        if answer.get("phase") == "member":
            self._asking_since = None
        elif self._asking_since is None:
            self._asking_since = at
        lost = self._asking_since is not None and at - self._asking_since >= _LOST_AFTER_S
        text = f"no AMT relay answers the gateway, last was {answer.get('relay') or 'none'}"
        remedy = "check that UDP port 2268 of the relay is reached, and that it runs"
        yield from self._say((NO_RELAY, "gateway"), at, text, remedy, raised=lost)
        text = "the AMT relay takes no more memberships"
        remedy = "raise max_gateways of the relay, or use another one"
        full = answer.get("limited") is True
        yield from self._say((LIMITED, "gateway"), at, text, remedy, raised=full)

    def _sample(self, role: str, answer: JsonObject, at: float) -> Sample:
        flows = answer.get("flows")
        bad, errors = sum(_numbers(answer.get("bad"))), _number(answer.get("errors"))
        values = {"flows": _count(flows), "bad": bad, "errors": errors}
        if role == "relay":
            values |= {"gateways": _count(answer.get("gateways")), "packets": _number(answer.get("packets"))}
        else:
            told = [flow for flow in (flows.values() if isinstance(flows, dict) else ()) if isinstance(flow, dict)]
            ages = [age for flow in told if isinstance(age := flow.get("age_s"), int | float)]
            values["packets"] = sum(_number(flow.get("packets")) for flow in told)
            values["flowing"] = float(sum(age < _LOST_AFTER_S for age in ages))
        return Sample(kind=f"amt.{role}", at=at, labels={"point": f"amt-{role}"}, values=values)

    def _say(self, key: tuple[str, str], at: float, text: str, remedy: str, *, raised: bool) -> Iterator[Event]:
        if self._said.get(key) is raised:
            return
        self._said[key] = raised
        event = AlarmEvent(key[0], f"{self._appliance}/amt-{key[1]}", Severity.MAJOR, at, text, remedy)
        yield event if raised else replace(event, severity=Severity.CLEARED)


def hop_samples(flows: Sequence[AmtFlow], answer: JsonObject, at: float) -> Iterator[Sample]:
    """Of every path that the gateway takes in, point `amt-gateway`: `packets` that were delivered and `age_ms` of the
    last one, which is absent while there is none; both legs together."""
    told = answer.get("flows")
    counted = told if isinstance(told, dict) else {}
    paths: dict[tuple[str, str], list[JsonObject]] = {}
    for flow in flows:
        if flow.channel is not None and flow.path is not None:
            own = counted.get(f"{flow.source},{flow.group}")
            paths.setdefault((flow.channel, flow.path), []).append(own if isinstance(own, dict) else {})
    for (channel, path), found in sorted(paths.items()):
        ages = [age for own in found if isinstance(age := own.get("age_s"), int | float)]
        values = {"packets": sum(_number(own.get("packets")) for own in found)}
        if ages:
            values["age_ms"] = min(ages) * 1000
        yield Sample("path.hop", at, {"channel": channel, "path": path, "point": "amt-gateway"}, values)


def _count(data: Json) -> float:
    return float(len(data)) if isinstance(data, list | dict) else 0.0


def _number(data: Json) -> float:
    return float(data) if isinstance(data, int | float) else 0.0


def _numbers(data: Json) -> list[float]:
    return [_number(value) for value in data.values()] if isinstance(data, dict) else []
