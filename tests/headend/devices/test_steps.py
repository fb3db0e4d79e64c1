"""From the devices that are looked after to those that are to be: plain values in, steps out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headend.devices.documents import SnmpDevicesSection
from headend.devices.steps import plan
from nf.contracts.driver import State, Step
from nf.contracts.json import canonical

RELOCK = st.one_of(st.none(), st.integers(0, 10_000))


def entry(name: str, relock: int | None = None, **more: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"id": name, "appliance": "pop1", "model": "nf-lab-receiver", "address": "192.0.2.7"}
    whole |= {"credentials": "secret:lab", "parameters": {} if relock is None else {"relock_time": relock}}
    return whole | more


def section(*devices: dict[str, Any], **more: Any) -> SnmpDevicesSection:
    return SnmpDevicesSection.model_validate({"devices": devices} | more)


def told(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    return [(step.id, step.kind) for step in steps]


def test_at_the_first_commit_devices_may_be_silent() -> None:
    steps = plan(State(None), section(entry("rx1", 5), entry("rx2")))
    assert told(steps) == [
        ("device.rx1", "devices.set"),
        ("device.rx2", "devices.set"),
        ("devices", "devices.manage"),
    ]
    assert [step.arguments.get("first") for step in steps[:2]] == [True, True]
    assert [bool(step.disruption) for step in steps] == [True, False, False]
    later = plan(State(section(entry("rx2")).to_json()), section(entry("rx1", 5), entry("rx2")))
    assert [step.arguments["first"] for step in later] == [False]


def test_only_what_has_changed_is_set() -> None:
    before = section(entry("rx1", 5), entry("rx2", 6), entry("rx3"))
    steps = plan(State(before.to_json()), section(entry("rx1", 5), entry("rx2", 7)))
    assert told(steps) == [("device.rx3", "devices.leave"), ("device.rx2", "devices.set")]
    assert steps[1].disruption == "rx2 is set: relock_time; what it carries may be interrupted"
    (moved,) = plan(State(before.to_json()), section(entry("rx1", 5), entry("rx2", 6), entry("rx3", port=1161)))
    assert (moved.id, moved.disruption) == ("device.rx3", "")


def test_what_was_changed_by_hand_is_set_again() -> None:
    want = section(entry("rx1", 5), entry("rx2", 6))
    (step,) = plan(State({**want.to_json(), "altered": {"rx2": ["rx2: relock_time is 9, not 6"]}}), want)
    assert step.id == "device.rx2"
    assert "relock_time" in step.disruption


def test_when_the_section_goes_all_of_it_goes() -> None:
    steps = plan(State(section(entry("rx1", 5)).to_json()), None)
    assert told(steps) == [("device.rx1", "devices.leave"), ("devices", "devices.manage")]
    assert plan(State(None), None) == ()


def test_a_step_has_the_time_that_its_model_needs() -> None:
    slow = entry("rx1", 5) | {"parameters": {"output_port": 5200}}
    (first, second) = plan(State(section().to_json()), section(entry("rx0", 5), slow))
    assert second.budget_s >= first.budget_s + 5  # the effect of the model is waited for


@given(
    before=st.dictionaries(st.sampled_from(["a", "b", "c"]), RELOCK),
    after=st.dictionaries(st.sampled_from("abc"), RELOCK),
)
def test_what_was_applied_needs_nothing_more(before: dict[str, int | None], after: dict[str, int | None]) -> None:
    have = section(*(entry(name, value) for name, value in sorted(before.items())))
    want = section(*(entry(name, value) for name, value in sorted(after.items())))
    assert plan(State(want.to_json()), want) == ()
    steps = plan(State(have.to_json()), want)
    assert {step.id.removeprefix("device.") for step in steps} == {
        name for name in before.keys() | after.keys() if before.get(name, ...) != after.get(name, ...)
    }
    for step in steps:
        assert Step.from_json(step.to_json()) == step
        canonical(step.to_json())
