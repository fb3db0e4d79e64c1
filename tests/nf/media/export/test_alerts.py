"""Alarms as alerts: each change once and in order, whenever the NOC stops in between."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.json import Json
from nf.contracts.telemetry import AlarmsListed
from nf.media.export.alerts import Alerts
from nf.media.export.outbox import Event, Remember
from nf.telemetry.alarms import Severity
from tests.nf.media.export.host import FakeTelemetry

NODES = ("", "edge1", "edge2")
CAUSES = ("edge-silent", "path-down")
FLEET = frozenset({"edge1", "edge2"})


class Life:
    """Alerts over several lives, with what they remember."""

    def __init__(self) -> None:
        self.telemetry = FakeTelemetry()
        self.kept: dict[str, Json] = {}
        self.events: list[dict[str, Any]] = []
        self.alerts = Alerts("lab.example", self.kept)

    def restart(self) -> None:
        self.alerts = Alerts("lab.example", dict(self.kept))

    def alarm(self, node: str, cause: str, severity: Severity, at: float = 1000.0, text: str = "") -> None:
        self._keep(self.alerts.take(self.telemetry.alarm(node, cause, "x", severity, at, text=text), tuple, at))

    def catch_up(self) -> None:
        """What a NOC that starts hears: what stands, who has listed its alarms, and in the end what nobody says."""
        for state in self.telemetry.alarms():
            self._keep(self.alerts.take(state, self.telemetry.alarms, 2000.0))
        for node in FLEET:
            self._keep(self.alerts.take(AlarmsListed(node), self.telemetry.alarms, 2000.0))
        self._keep(self.alerts.settle(self.telemetry.alarms(), FLEET, 2000.0))

    def _keep(self, found: tuple[list[Event], list[Remember]]) -> None:
        events, remember = found
        for event in events:
            value = json.loads(event.value)
            assert (event.id, event.subject) == (value["id"], value["alarm"])
            self.events.append(value)
        for one in remember:
            self.kept.pop(one.key, None)
            if one.value is not None:
                self.kept[one.key] = one.value


def test_raised_changed_and_over() -> None:
    life = Life()
    life.alarm("edge1", "edge-silent", Severity.MAJOR, 1000.0, "it does not answer")
    life.alarm("edge1", "edge-silent", Severity.MAJOR, 1001.0, "it does not answer for 1 s")
    life.alarm("edge1", "edge-silent", Severity.CRITICAL, 1002.0)
    life.alarm("edge1", "edge-silent", Severity.CLEARED, 1003.5)
    life.alarm("edge1", "edge-silent", Severity.CLEARED, 1004.0)
    told = [(one["number"], one["change"], one["severity"], one["at"][-7:]) for one in life.events]
    assert told == [
        (1, "raised", "major", "40.000Z"),
        (2, "changed", "critical", "42.000Z"),
        (3, "cleared", "cleared", "43.500Z"),
    ]
    assert len({one["alarm"] for one in life.events}) == 1
    assert life.events[0] | {"id": "", "alarm": ""} == {
        "version": "streamverse.alert/1", "id": "", "alarm": "", "number": 1, "change": "raised", "severity": "major",
        "cause": "edge-silent", "object": "x", "noc": "lab.example", "node": "edge1", "pop": "pop1",
        "text": "it does not answer", "remedy": "mend it",
        "first_at": "1970-01-01T00:16:40.000Z", "at": "1970-01-01T00:16:40.000Z",
    }  # fmt: skip
    life.alarm("edge1", "edge-silent", Severity.MAJOR, 1010.0)
    assert life.events[-1]["alarm"] != life.events[0]["alarm"]  # another time


def test_what_ends_while_the_noc_is_down_is_ended_when_the_appliance_has_listed_its_alarms() -> None:
    life = Life()
    for node in ("edge1", "edge2", "gone", ""):
        life.alarm(node, "edge-silent", Severity.MAJOR)
    life.telemetry.standing.clear()
    life.restart()
    before = len(life.events)
    life._keep(life.alerts.take(AlarmsListed("edge1"), life.telemetry.alarms, 2000.0))
    assert [(one["node"], one["change"]) for one in life.events[before:]] == [("edge1", "cleared")]
    life._keep(life.alerts.settle((), FLEET, 2000.0))
    # edge2 is out of contact: what stood there is taken to stand.
    assert [one["node"] for one in life.events[before + 1 :]] == ["gone", ""]


ACTS = st.one_of(
    st.tuples(st.sampled_from(NODES), st.sampled_from(CAUSES), st.sampled_from(list(Severity))),
    st.just("restart"),
    st.just("unwatched"),
)


@given(st.lists(ACTS, max_size=60))
def test_every_reader_ends_with_what_stands(acts: list[Any]) -> None:
    """Numbers have no hole, no id comes twice, nothing changes to what it was, whatever is restarted in between."""
    life = Life()
    watched = True
    for number, act in enumerate(acts):
        if act == "restart":
            life.restart()
            life.catch_up()
            watched = True
        elif act == "unwatched":
            watched = False
        elif watched:
            life.alarm(*act, at=1000.0 + number)
        else:
            life.telemetry.alarm(act[0], act[1], "x", act[2], 1000.0 + number)
    if not watched:
        life.restart()
        life.catch_up()
    ids = [one["id"] for one in life.events]
    assert len(set(ids)) == len(ids)
    by_alarm: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in life.events:
        by_alarm[one["alarm"]].append(one)
    standing: dict[tuple[str, str], str] = {}
    for events in by_alarm.values():
        assert [one["number"] for one in events] == list(range(1, len(events) + 1))
        assert [one["change"] for one in events[:1]] == ["raised"]
        assert all(a["severity"] != b["severity"] for a, b in pairwise(events))
        assert "cleared" not in [one["change"] for one in events[:-1]]
        if events[-1]["change"] != "cleared":
            standing[events[-1]["node"], events[-1]["cause"]] = events[-1]["severity"]
    assert standing == {(one.appliance, one.alarm.cause): one.alarm.severity.value for one in life.telemetry.alarms()}
    assert len(life.kept) == len(standing)
