"""What the status socket answers."""

from __future__ import annotations

import json

from core5g.pfcp.proxy.documents import MAX_SDF
from core5g.pfcp.proxy.engine import Proxy
from core5g.pfcp.proxy.store import told, traffic_of
from core5g.steering.classifier.filters import Traffic, descriptions
from nf.contracts.json import Json, JsonObject

_MOST_SESSIONS = 1000


class Control:
    """Commands: `status` (an empty line too), `sessions`, `peers`, `rules`, `list`, `explain`, `edge`, `influence`.

    A command that cannot be followed is answered by `error`.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._commands = {
            "status": lambda _: proxy.status(),
            "sessions": self._sessions,
            "peers": self._peers,
            "rules": self._rules,
            "list": self._list,
            "explain": lambda given: proxy.explain(str(given.get("ue", "")), str(given.get("destination", ""))),
            "edge": self._edge,
            "influence": self._influence,
        }

    def answer(self, line: bytes) -> JsonObject:
        try:
            given = json.loads(line) if line.strip() else {"command": "status"}
            return self._commands[given["command"]](given)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return {"error": f"no such command: {error}"}

    def _sessions(self, given: JsonObject) -> JsonObject:
        """The first so many, those with `ue` alone when it is given."""
        ue = given.get("ue")
        found: list[Json] = []
        for session in self._proxy.table:
            whose = session.whose
            if session.ended or (ue is not None and ue not in whose.names()):
                continue
            found.append(
                {
                    "supi": whose.supi,
                    "ue_ip": whose.ipv4 or whose.ipv6,
                    "dnn": whose.dnn,
                    "s_nssai": whose.s_nssai,
                    "smf": session.smf,
                    "seid": session.up_seid,
                    "steered": session.steered,
                    "why": session.own.refused,
                }
            )
            if len(found) == _MOST_SESSIONS:
                break
        return {"sessions": found, "count": len(self._proxy.table)}

    def _peers(self, _given: JsonObject) -> JsonObject:
        status = self._proxy.status()
        return {key: status[key] for key in ("peers", "upf", "edge", "why", "last_refused")}

    def _rules(self, _given: JsonObject) -> JsonObject:
        return {"rules": {traffic.rule: told(traffic) for traffic in self._proxy.steerer.traffic}}

    def _list(self, _given: JsonObject) -> JsonObject:
        section, steerer = self._proxy.section, self._proxy.steerer
        status = self._proxy.status()
        return {
            "mechanism": "classifier",
            "upf": section.upf.id,
            "open": steerer.open,
            "why": steerer.reason,
            "since": self._proxy.since,
            "prefixes": sum(len(traffic.networks) for traffic in steerer.traffic),
            "names": [*sorted({name for rule in section.rules for name in rule.names})],
            "sessions": status["sessions"],
            "steered": status["steered"],
            "influences": [*sorted(steerer.influences)],
        }

    def _edge(self, given: JsonObject) -> JsonObject:
        self._proxy.steerer.set_healthy(str(given.get("why", "")), healthy=given["healthy"] is True)
        return {"open": self._proxy.steerer.open}

    def _ports(self) -> list[Json]:
        """Of an influence that names none: those that are steered anyway."""
        rules = self._proxy.section.rules
        return [*sorted({port for rule in rules for port in rule.ports})] if all(rule.ports for rule in rules) else []

    def _filters_with(self, one: Traffic) -> int:
        """The most that a UE's session would have: one filter too many, and nothing at all is steered in it."""
        others = [other for other in self._proxy.steerer.traffic if other.rule != one.rule]
        beside = (*(other for other in others if other.may_meet(one)), one)
        return max(len(descriptions(beside, frozenset({version}))) for version in (4, 6))

    def _influence(self, given: JsonObject) -> JsonObject:
        name, action = str(given["id"]), given["action"]
        if action not in {"add", "remove"}:
            return {"error": f"an influence is added or removed, not {action}"}
        traffic = traffic_of(name, {"ports": self._ports(), **_said(given)}) if action == "add" else None
        if traffic is not None and not traffic.networks:
            return {"error": "an influence without prefixes: the classifier knows traffic by nothing else"}
        if traffic is not None and (count := self._filters_with(traffic)) > MAX_SDF:
            return {"error": f"{count} filters with this one, a session takes {MAX_SDF}"}
        self._proxy.influence(traffic, name)
        return {"state": "active"}


def _said(given: JsonObject) -> JsonObject:
    """What is empty says nothing."""
    return {key: value for key, value in given.items() if value}
