"""The pure parts: budgets, stages, decisions, differences, verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.driver import Step
from nf.contracts.json import Json
from nf.errors import RefusedError
from nf.noc.channels import verdict
from nf.noc.diff import diff
from nf.noc.records import Decision, TransactionRecord
from nf.noc.rollout import MARGIN_S, budget, local_stages
from nf.telemetry.samples import Quality, Sample


def step(name: str, budget_s: float, undo_s: float) -> Step:
    return Step(id=name, kind="x", arguments={}, budget_s=budget_s, undo_budget_s=undo_s)


def test_the_slowest_appliance_of_each_stage_counts() -> None:
    steps = {"a": [step("1", 2, 1), step("2", 3, 1)], "b": [step("1", 4, 6)]}
    stages = ({"a": ("1", "2"), "b": ("1",)}, {})
    assert budget(stages, steps, 10) == (5 + 10 + 6 + MARGIN_S, 6)
    assert budget((), {}, 0) == (MARGIN_S, 0)


def test_an_appliance_numbers_only_the_stages_in_which_it_does_something() -> None:
    stages = ({"a": ("1",)}, {"b": ("1",)}, {"a": ("2",)})
    assert local_stages(stages, ("a", "b", "c")) == {"a": (0, 2), "b": (1,), "c": (0,)}


def test_a_decision_is_made_once() -> None:
    record = TransactionRecord("t", "commit", 2, "me", 0.0, 1.0, ("a",))
    held = record.decide(Decision.HELD, held_until=5.0)
    assert held.decide(Decision.CONFIRM).decision is Decision.CONFIRM
    for decided in (record.decide(Decision.CONFIRM), held.decide(Decision.UNDO)):
        for decision in Decision:
            with pytest.raises(RefusedError, match="decided already"):
                decided.decide(decision)


json_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_nothing_differs_from_itself(value: Json) -> None:
    assert diff("x", value, value) == ()


@given(json_values, json_values)
def test_a_difference_read_backwards_is_the_same_difference(before: Json, after: Json) -> None:
    forward = {(change.key, change.before, change.after) for change in diff("x", before, after)}
    backward = {(change.key, change.after, change.before) for change in diff("x", after, before)}
    assert forward == backward


def test_members_are_named_by_their_id_wherever_they_stand() -> None:
    one, two = {"id": "a", "lcn": 1}, {"id": "b", "lcn": 2}
    assert diff("c", [one, two], [two, one]) == ()
    changes = diff("c", [one], [two, {"id": "a", "lcn": 5}])
    assert [(c.key, c.before, c.after) for c in changes] == [
        ("c[a].lcn", "1", "5"),
        ("c[b].id", "", '"b"'),
        ("c[b].lcn", "", "2"),
    ]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (None, "unknown"),
        (Sample("path.hop", 94.0, {}, {"bitrate_bps": 1e6}), "unknown"),
        (Sample("path.hop", 99.0, {}, {"bitrate_bps": 1e6}, quality=Quality.STALE), "unknown"),
        (Sample("path.hop", 99.0, {}, {"bitrate_bps": 1e6}), "up"),
        (Sample("path.hop", 99.0, {}, {"bitrate_bps": 0.0, "packets": 5.0}), "down"),
        (Sample("path.hop", 99.0, {}, {"bitrate_bps": 1e6, "age_ms": 9000.0}), "down"),
        (Sample("path.probe", 99.0, {}, {"up": 0.0, "bitrate_bps": 1e6}), "down"),
        (Sample("path.probe", 99.0, {}, {"up": 1.0}), "up"),
    ],
)
def test_verdicts(sample: Sample | None, expected: str) -> None:
    assert verdict(sample, 100.0) == expected
