"""What a change of the section becomes: steps for exactly the functions that changed, with what they cost."""

from __future__ import annotations

import copy
from typing import Any

from core5g.open5gs.documents import ManagedFunction, Open5gsSection
from core5g.open5gs.plan import CONFIGURE, REMOVE, differences, plan
from nf.contracts.driver import State, Step
from nf.contracts.json import JsonObject
from tests.core5g.open5gs.samples import core_data, open5gs, planned


def section(appliance: str = "c1", **changes: Any) -> Open5gsSection:
    return open5gs(planned(core_data(**changes)), appliance)


def observed(wanted: Open5gsSection, **extra: Any) -> State:
    return State({**wanted.to_json(), **extra})


def told(steps: tuple[Step, ...]) -> list[tuple[str, str, str]]:
    return [(step.id, step.kind, step.disruption) for step in steps]


def test_what_was_observed_needs_nothing() -> None:
    assert plan(observed(section(), sessions={"smf": 5}), section()) == ()
    assert differences(section().to_json(), section()) == ()


def test_everything_starts_in_order_at_first_and_costs_nothing() -> None:
    steps = plan(State(None), section())
    assert [step.id for step in steps] == [f"open5gs.{one.kind}" for one in section().functions]
    assert {step.disruption for step in steps} == {""}
    assert steps[0].provides == {"c1.open5gs.nrf"}
    assert steps[-1].requires >= {"c1.open5gs.smf", "c1.interface.lo"}


def test_a_changed_file_restarts_exactly_its_function() -> None:
    changed = section(resolvers=["10.3.1.1", "10.3.2.1"])
    steps = plan(observed(section(), sessions={"smf": 1204}), changed)
    assert told(steps) == [("open5gs.smf", CONFIGURE, "restarting SMF drops 1,204 sessions, those of every UPF")]
    assert steps[0].summary == "restart SMF: its file changed"


def test_the_cost_of_a_upf_is_told_by_its_name() -> None:
    standing = section("pop1")
    data = core_data()
    data["networks"][0]["pools"] = ["10.45.0.0/16"]
    changed = open5gs(planned(data), "pop1")
    (step,) = plan(observed(standing, sessions={"upf": 1204}), changed)
    assert (
        step.disruption
        == "restarting UPF edge1 drops 1,204 sessions; to drain it first: commit --drain 10m, or nf upf drain edge1"
    )
    (step,) = plan(observed(standing, sessions={"upf": 0}), changed)
    assert step.disruption == ""
    (step,) = plan(observed(standing), changed)
    assert (
        step.disruption
        == "restarting UPF edge1 drops all its sessions; to drain it first: commit --drain 10m, or nf upf drain edge1"
    )


def test_a_new_slice_restarts_amf_and_nssf_only() -> None:
    changed = section(slices=[{"sst": 1}, {"sst": 1, "sd": "000080"}, {"sst": 2}])
    steps = plan(observed(section(), sessions={"amf": 3}), changed)
    assert told(steps) == [
        ("open5gs.nssf", CONFIGURE, ""),
        ("open5gs.amf", CONFIGURE, "restarting AMF makes 3 UEs register anew"),
    ]


def test_ordering_facts_restart_nothing() -> None:
    wanted = section()
    before = wanted.model_copy(
        update={"functions": tuple(one.model_copy(update={"requires": ()}) for one in wanted.functions)}
    )
    steps = plan(observed(before, sessions={"smf": 9, "amf": 9}), wanted)
    assert {step.disruption for step in steps} == {""}
    assert {step.summary for step in steps} == {"NRF: ordering facts"} | {
        f"{one.kind.upper()}: ordering facts" for one in wanted.functions
    }


def test_what_goes_goes_first_and_backwards() -> None:
    steps = plan(observed(section(), sessions={"smf": 2, "amf": 1}), None)
    assert [step.kind for step in steps] == [REMOVE] * 10
    assert [step.id for step in steps][:2] == ["open5gs.amf", "open5gs.smf"]
    assert [step.id for step in steps][-1] == "open5gs.nrf"
    assert steps[0].disruption == "removing AMF makes 1 UE register anew"
    assert "NRF ends its service" in steps[-1].disruption


def test_a_unit_that_stands_still_is_started() -> None:
    (step,) = plan(observed(section(), units={"amf": "failed exit 1"}), section())
    assert (step.id, step.summary, step.disruption) == ("open5gs.amf", "start AMF", "")


def test_another_program_is_a_restart_with_its_cost() -> None:
    (step,) = plan(observed(section("pop1"), units={"upf": "altered"}, sessions={"upf": 7}), section("pop1"))
    assert (
        step.disruption
        == "restarting UPF edge1 drops 7 sessions; to drain it first: commit --drain 10m, or nf upf drain edge1"
    )


def test_a_file_that_is_none_of_ours_is_replaced_or_removed() -> None:
    have: JsonObject = {"functions": [], "units": {"amf": "without a file of ours"}}
    assert [step.kind for step in plan(State(have), None)] == [REMOVE]
    assert "open5gs.amf" in [step.id for step in plan(State(have), section())]


def test_steps_survive_the_journal() -> None:
    for step in plan(State(None), section()):
        again = Step.from_json(step.to_json())
        assert ManagedFunction.model_validate(again.arguments["function"]) in section().functions


def test_no_step_holds_a_secret() -> None:
    assert "secret:core5g-db" in str([step.to_json() for step in plan(State(None), section())])


def test_differences_are_told_in_words() -> None:
    wanted = section("pop1")
    assert differences(None, wanted) == ("UPF edge1 is not there",)
    assert differences(wanted.to_json(), None) == ("UPF is still there",)
    other = copy.deepcopy(wanted.to_json())
    other["functions"][0]["config"]["logger"]["level"] = "debug"  # type: ignore[index,call-overload]
    assert differences(other, wanted) == ("UPF edge1 has another configuration",)
    stopped = {**wanted.to_json(), "units": {"upf": "stopped"}}
    assert differences(stopped, wanted) == ("UPF edge1 is stopped",)
