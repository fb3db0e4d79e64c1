from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from hypothesis import given

from headend.multicast.documents import PinnedRoute, TreeEntry, TreeSection
from headend.multicast.tree.driver import TreeDriver, create
from headend.multicast.tree.render import canonical_section
from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext, State, Step
from nf.contracts.units import Units
from nf.errors import RefusedError
from tests.headend.multicast.tree.test_render import trees

DRIVER: TreeDriver = create(DriverContext("pop1", Path("/x"), Path("/x"), create_autospec(Units), VirtualClock()))


def entry(channel: str, group: str = "232.1.1.1", **more: tuple[str, ...]) -> TreeEntry:
    return TreeEntry(
        channel=channel,
        path="iptv",
        source=IPv4Address("10.1.0.10"),
        group=IPv4Address(group),
        port=5000,
        **more,
    )


def state(*entries: TreeEntry) -> State:
    return State(canonical_section(TreeSection(entries=entries)).to_json())


@given(trees, trees)
def test_a_plan_holds_exactly_what_differs(before: TreeSection, after: TreeSection) -> None:
    planned = DRIVER.plan(state(*before.entries), after)
    steps = {step.kind: step.arguments["entries"] for step in planned if step.kind != "tree.pin"}
    live, wanted = set(before.entries), set(after.entries)
    replaced = {(e.source, e.group) for e in wanted - live}
    admitted, withdrawn = steps.get("tree.admit", []), steps.get("tree.withdraw", [])
    assert isinstance(admitted, list)
    assert isinstance(withdrawn, list)
    assert {TreeEntry.model_validate(e) for e in admitted} == wanted - live
    left = {e for e in live - wanted if (e.source, e.group) not in replaced}
    assert {TreeEntry.model_validate(e) for e in withdrawn} == left


@given(trees)
def test_what_stands_needs_no_step(tree: TreeSection) -> None:
    assert DRIVER.plan(state(*tree.entries), tree) == ()


def test_admission_orders_the_tree_and_withdrawal_says_what_it_costs() -> None:
    new = entry("ch1", requires=("source ch1",), provides=("pop1 ch1",))
    old = entry("ch2", "232.1.1.2")
    admit, withdraw = DRIVER.plan(state(old), TreeSection(entries=(new,)))
    assert (admit.requires, admit.provides) == (frozenset({"source ch1"}), frozenset({"pop1 ch1"}))
    assert admit.disruption == ""
    assert "ch2/iptv" in withdraw.disruption
    assert Step.from_json(admit.to_json()) == admit


def test_a_table_that_is_absent_or_damaged_is_built() -> None:
    (built,) = DRIVER.plan(State(None), TreeSection())
    assert (built.kind, built.arguments) == ("tree.admit", {"entries": []})
    (mended,) = DRIVER.plan(State({"entries": [], "damage": ["chain mine is not wanted"]}), TreeSection())
    assert mended.kind == "tree.admit"
    (removed,) = DRIVER.plan(state(), None)
    assert removed.kind == "tree.remove"
    assert DRIVER.plan(State(None), None) == ()


def test_pins_are_a_step_of_their_own() -> None:
    pinned = entry("ch1").model_copy(update={"pinned": PinnedRoute(outputs=("eth2",))})
    admit, pin = DRIVER.plan(state(), TreeSection(entries=(pinned,)))
    assert (admit.kind, pin.kind) == ("tree.admit", "tree.pin")
    assert pin.arguments == {"pins": ["10.1.0.10,232.1.1.1,eth2"]}
    assert DRIVER.plan(state(pinned), TreeSection(entries=(pinned,))) == ()
    lost = State((state(pinned).value or {}) | {"pins": []})
    assert [step.kind for step in DRIVER.plan(lost, TreeSection(entries=(pinned,)))] == ["tree.pin"]
    withdrawn = DRIVER.plan(state(pinned), TreeSection())
    assert [step.kind for step in withdrawn] == ["tree.withdraw", "tree.pin"]
    assert withdrawn[1].arguments == {"pins": []}
    assert [step.kind for step in DRIVER.plan(state(pinned), None)] == ["tree.remove", "tree.pin"]


async def test_what_the_table_cannot_hold_is_refused() -> None:
    twice = TreeSection(entries=(entry("ch1"), entry("ch2"), entry("ch3", "232.1.1.3", provides=("x" * 200,))))
    with pytest.raises(RefusedError) as refused:
        await DRIVER.check((), twice)
    assert [problem.key for problem in refused.value.problems] == ["ch2/iptv", "ch3/iptv"]
