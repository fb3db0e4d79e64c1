"""Analytics events: the same intervals in every life, sums that stay right, and what has ended told once."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.json import Json
from nf.contracts.paths import Ranking, Verdict
from nf.contracts.telemetry import OrderState, PathSwitch
from nf.media.export.analytics import FORGET_S, Analytics
from nf.media.export.outbox import Event, Remember
from tests.nf.media.export.host import FakePaths, FakeTelemetry

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EDGE = {"channel": "ch1", "path": "ott", "point": "edge"}


class Life:
    def __init__(self) -> None:
        self.telemetry, self.paths = FakeTelemetry(), FakePaths()
        self.kept: dict[str, dict[str, Json]] = {"mark": {}, "reading": {}, "seen": {}}
        self.restart()

    def restart(self) -> None:
        kept = {kind: dict(values) for kind, values in self.kept.items()}
        self.analytics = Analytics("lab.example", 60.0, marks=kept["mark"], readings=kept["reading"], seen=kept["seen"])

    def served(self, at: float, requests: float, hits: float) -> None:
        self.telemetry.sample(
            "path.hop", at, EDGE, {"packets": requests, "hits": hits, "errors": requests / 10, "age_ms": 5.0}
        )

    def interval(self, now: float) -> list[dict[str, Any]]:
        found = self.analytics.interval(now, self.telemetry.samples(), self.paths.health(), self.paths.rankings())
        return self._keep(found)

    def ended(self, now: float) -> list[dict[str, Any]]:
        return self._keep(self.analytics.ended(now, self.telemetry.switches(), self.telemetry.orders()))

    def _keep(self, found: tuple[list[Event], list[Remember]]) -> list[dict[str, Any]]:
        for one in found[1]:
            self.kept[one.kind].pop(one.key, None)
            if one.value is not None:
                self.kept[one.kind][one.key] = one.value
        return [json.loads(event.value) for event in found[0]]


def test_an_interval_is_told_once_with_what_was_done_in_it() -> None:
    life = Life()
    life.served(590.0, 100.0, 80.0)
    (first,) = life.interval(600.5)
    assert first["counts"] == {}  # nobody knows since when
    assert first["values"] == {"age_ms": 5.0}
    assert (first["id"], first["began"], first["at"]) == (
        "lab.example/delivery/edge1/ch1/ott/edge/600",
        "1970-01-01T00:09:00.000Z",
        "1970-01-01T00:10:00.000Z",
    )
    life.served(655.0, 150.0, 120.0)
    life.restart()
    assert life.interval(630.0) == []
    (second,) = life.interval(661.0)
    assert second["counts"] == {"requests": 50.0, "hits": 40.0, "errors": 5.0}
    assert (second["node"], second["pop"], second["channel"], second["tier"]) == ("edge1", "pop1", "ch1", "edge")
    life.restart()
    assert life.interval(662.0) == []
    # Away for three intervals, in which the agent began anew.
    life.served(890.0, 30.0, 3.0)
    (third,) = life.interval(905.0)
    assert third["counts"] == {"requests": 30.0, "hits": 3.0, "errors": 3.0}
    assert (third["began"], third["at"]) == ("1970-01-01T00:11:00.000Z", "1970-01-01T00:15:00.000Z")
    # It fell silent: nothing was measured.
    assert life.interval(961.0) == []


def test_a_clock_that_was_ahead_silences_nothing() -> None:
    life = Life()
    life.served(9_000_000.0, 1.0, 1.0)
    assert life.interval(9_000_001.0)
    life.served(650.0, 2.0, 1.0)
    assert life.interval(660.0)


def test_how_paths_are() -> None:
    life = Life()
    life.paths.set("ch1", "ott", "pop1", Verdict.DEGRADED)
    life.paths.set("ch1", "sat", "pop1", Verdict.DOWN)
    life.paths.ranked.append(Ranking("ch1", "pop1", ("ott", "sat"), "ott", alert=True, number=1))
    found = {one["path"]: one for one in life.interval(660.0)}
    assert {path: (one["facts"]["verdict"], one["values"]) for path, one in found.items()} == {
        "ott": ("degraded", {"active": 1.0}),
        "sat": ("down", {"active": 0.0}),
    }


def test_what_ended_is_told_once_and_nothing_from_before_the_service_was_set() -> None:
    life = Life()
    life.telemetry.switched.append(PathSwitch(1, 500.0, "ch1", "pop1", "sat", "ott", "failover", "T0", "no lock"))
    assert life.ended(1000.0) == []
    life.telemetry.switched.append(PathSwitch(2, 1001.0, "ch1", "pop1", "ott", "sat", "failback", "T1", "it is well"))
    life.telemetry.ordered += [
        OrderState("cdn/1", "a", "purge", "ch1", "owed", 1000.0, 0.0, 1),
        OrderState(
            "cdn/2", "b", "purge", "ch1", "done", 1000.0, 1001.25, 0, {"issued_by": "cms", "traceparent": TRACE}
        ),
        OrderState("cdn/3", "c", "restart", "ch1", "done", 1000.0, 1001.25, 0),
    ]
    switch, purge = life.ended(1002.0)
    assert (switch["type"], switch["path"], switch["facts"]["from"]) == ("path-switched", "sat", "ott")
    assert (purge["type"], purge["channel"], purge["values"]) == ("purge-ended", "ch1", {"duration_s": 1.25})
    assert purge["facts"] == {"purge": "b", "state": "done", "issued_by": "cms", "traceparent": TRACE}
    life.restart()
    assert life.ended(1003.0) == []
    assert life.kept["seen"]
    assert life.ended(1003.0 + FORGET_S) == []  # forgotten by both rules, and not told again
    assert not life.kept["seen"]


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_sums_stay_right(steps: list[tuple[int, bool, bool]]) -> None:
    """Whoever adds up the events has what was served, over restarts and intervals that nobody told."""
    life = Life()
    life.served(599.0, 0.0, 0.0)
    life.interval(600.0)
    at, total = 600.0, 0
    ids: Counter[str] = Counter()
    counted = 0.0
    for served, told, restarted in [*steps, (0, True, False)]:
        at += 60.0
        total += served
        life.served(at - 1, float(total), 0.0)
        if restarted:
            life.restart()
        if told:
            for event in life.interval(at):
                ids[event["id"]] += 1
                counted += event["counts"].get("requests", 0.0)
    assert counted == total
    assert set(ids.values()) <= {1}
