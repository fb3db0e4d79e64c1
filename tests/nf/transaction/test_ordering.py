"""Stages over the fleet from what steps require and provide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.driver import Step
from nf.errors import RefusedError
from nf.transaction.ordering import order_stages


def step(name: str, requires: Sequence[str] = (), provides: Sequence[str] = (), *, reversible: bool = True) -> Step:
    return Step(name, "test", {}, requires=frozenset(requires), provides=frozenset(provides), reversible=reversible)


def test_the_mux_slows_down_before_the_modem_does() -> None:
    stages = order_stages(
        {
            "modem": [step("modcod", ["mux.rate=48M"]), step("other")],
            "mux": [step("rate", provides=["mux.rate=48M"])],
        },
        frozenset(),
    )
    assert stages == ({"modem": ("other",), "mux": ("rate",)}, {"modem": ("modcod",)})


def test_a_fact_that_stands_needs_no_step() -> None:
    assert order_stages({"a": [step("x", ["f"])]}, frozenset({"f"})) == ({"a": ("x",)},)


def test_a_fact_that_stands_and_is_provided_anew_is_waited_for() -> None:
    stages = order_stages({"a": [step("x", ["f"])], "b": [step("y", provides=["f"])]}, frozenset({"f"}))
    assert stages == ({"b": ("y",)}, {"a": ("x",)})


def test_a_fact_that_nothing_provides_is_refused_by_name() -> None:
    with pytest.raises(RefusedError) as caught:
        order_stages({"a": [step("x", ["f", "g"]), step("y", ["g"], ["g"])]}, frozenset())
    told = {(problem.key, problem.value, problem.rule) for problem in caught.value.problems}
    assert told == {
        ("a/x", "f", "requires f, which does not hold and which no step provides"),
        ("a/y", "g", "requires g, which only this step itself provides"),
    }


def test_a_cycle_is_refused_and_named() -> None:
    steps = {
        "a": [step("x", ["f"], ["g"]), step("apart", ["h"])],
        "b": [step("y", ["g"], ["h"])],
        "c": [step("z", ["h"], ["f"])],
    }
    with pytest.raises(RefusedError) as caught:
        order_stages(steps, frozenset())
    (problem,) = caught.value.problems
    assert problem.rule == (
        "steps wait for one another in a circle: a/x waits for c/z (f); c/z waits for b/y (h); b/y waits for a/x (g)"
    )


def test_irreversible_steps_stand_behind_all_others() -> None:
    stages = order_stages(
        {
            "a": [step("drop", provides=["gone"], reversible=False), step("x"), step("y", ["p"])],
            "b": [step("z", provides=["p"])],
        },
        frozenset(),
    )
    assert stages == ({"a": ("x",), "b": ("z",)}, {"a": ("y",)}, {"a": ("drop",)})


def test_a_reversible_step_cannot_wait_for_an_irreversible_one() -> None:
    with pytest.raises(RefusedError, match="cannot be brought into an order") as caught:
        order_stages({"a": [step("x", ["gone"]), step("drop", provides=["gone"], reversible=False)]}, frozenset())
    assert "only an irreversible step provides" in caught.value.problems[0].rule


def test_of_nothing_there_are_no_stages() -> None:
    assert order_stages({"a": []}, frozenset()) == ()


FACTS = st.sampled_from([f"f{number}" for number in range(8)])
FLEETS = st.dictionaries(
    st.sampled_from("abc"),
    st.lists(st.tuples(st.frozensets(FACTS, max_size=2), st.frozensets(FACTS, max_size=2), st.booleans()), max_size=6),
)


def build(fleet: Mapping[str, Sequence[tuple[frozenset[str], frozenset[str], bool]]]) -> dict[str, list[Step]]:
    return {
        name: [
            step(f"s{number}", sorted(requires), sorted(provides), reversible=reversible)
            for number, (requires, provides, reversible) in enumerate(rows)
        ]
        for name, rows in fleet.items()
    }


@given(FLEETS, st.frozensets(FACTS))
def test_an_order_keeps_every_requirement_or_there_is_none(
    fleet: dict[str, list[tuple[frozenset[str], frozenset[str], bool]]], standing: frozenset[str]
) -> None:
    steps = build(fleet)
    try:
        stages = order_stages(steps, standing)
    except RefusedError:
        return
    at = {(name, step_id): number for number, stage in enumerate(stages) for name in stage for step_id in stage[name]}
    assert len(at) == sum(map(len, steps.values())) == sum(len(ids) for stage in stages for ids in stage.values())
    nodes = {(name, one.id): one for name, rows in steps.items() for one in rows}
    for node, one in nodes.items():
        for fact in one.requires:
            providers = [other for other, it in nodes.items() if fact in it.provides and other != node]
            usable = [other for other in providers if nodes[other].reversible or not one.reversible]
            assert usable or fact in standing
            assert all(at[other] < at[node] for other in usable)
    reversible = [number for node, number in at.items() if nodes[node].reversible]
    last = [number for node, number in at.items() if not nodes[node].reversible]
    assert not reversible or not last or max(reversible) < min(last)


@given(FLEETS, st.frozensets(FACTS))
def test_the_order_of_appliances_does_not_matter(
    fleet: dict[str, list[tuple[frozenset[str], frozenset[str], bool]]], standing: frozenset[str]
) -> None:
    def outcome(steps: dict[str, list[Step]]) -> object:
        try:
            return order_stages(steps, standing)
        except RefusedError as error:
            return error.problems

    steps = build(fleet)
    assert outcome(steps) == outcome(dict(reversed(steps.items())))
