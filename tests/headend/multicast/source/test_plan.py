from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.documents import SourceSection, SourceStage
from headend.multicast.source.client import StageStatus, Stream
from headend.multicast.source.plan import plan
from headend.multicast.source.telemetry import StageWatch
from headend.multicast.source.units import key, stage_of, unit_name, unit_spec
from headend.transport.continuity import StreamCounters
from nf.contracts.driver import State, Step
from nf.contracts.units import UnitSpec
from nf.telemetry.alarms import AlarmEvent
from nf.telemetry.samples import Sample


def stage(channel: str = "ch1", port: int = 6001, rate: int = 1_000_000, path: str = "iptv") -> SourceStage:
    number = int(channel.removeprefix("ch") or 1) if channel.startswith("ch") else 9
    return SourceStage.model_validate(
        {
            "channel": channel,
            "path": path,
            "contribution_port": port,
            "source": "10.1.0.10",
            "group": f"232.10.1.{number}",
            "port": 5000,
            "rate": rate,
            "provides": [f"source.{channel}/{path}"],
        }
    )


def state(*stages: SourceStage) -> State:
    return State(SourceSection(stages=stages).to_json())


stages = st.builds(
    stage, st.sampled_from(["ch1", "ch2", "ch3"]), st.integers(6001, 6004), st.sampled_from([1_000_000, 2_000_000])
)
sections = st.lists(stages, max_size=3, unique_by=(lambda s: s.channel, lambda s: s.contribution_port))


def play(have: list[SourceStage], steps: tuple[Step, ...]) -> dict[str, SourceStage]:
    """Carry steps out in an order that their facts allow; no port is ever held twice."""
    running = {s.channel: s for s in have}
    facts: set[str] = set()
    waiting = list(steps)
    while waiting:
        step = next(s for s in waiting if s.requires <= facts)
        waiting.remove(step)
        facts |= step.provides
        subject = step.arguments.get("new", step.arguments.get("stage"))
        target = SourceStage.model_validate(subject)
        running.pop(target.channel, None)
        if step.kind != "source.stop":
            assert target.contribution_port not in {s.contribution_port for s in running.values()}
            running[target.channel] = target
    return running


@given(sections, sections)
def test_the_steps_lead_from_any_section_to_any_other(have: list[SourceStage], want: list[SourceStage]) -> None:
    steps = plan(state(*have), SourceSection(stages=tuple(want)))
    assert play(have, steps) == {s.channel: s for s in want}
    assert len({step.id for step in steps}) == len(steps)
    assert all(Step.from_json(step.to_json()) == step for step in steps)


@given(sections)
def test_what_is_already_so_needs_nothing_in_whatever_order(have: list[SourceStage]) -> None:
    assert plan(state(*have), SourceSection(stages=tuple(reversed(have)))) == ()
    assert len(plan(state(*have), None)) == len(have)
    assert plan(State(None), SourceSection()) == ()


def test_a_start_provides_its_facts_and_disturbs_nobody() -> None:
    (step,) = plan(State(None), SourceSection(stages=(stage(),)))
    assert (step.id, step.kind, step.disruption) == ("start ch1/iptv", "source.start", "")
    assert step.provides == {"source.ch1/iptv"}


def test_stop_and_replace_say_what_they_cost() -> None:
    (stop,) = plan(state(stage()), None)
    assert (stop.id, stop.disruption) == ("stop ch1/iptv", "ch1/iptv stops at the headend")
    (replace,) = plan(state(stage()), SourceSection(stages=(stage(rate=2_000_000),)))
    assert replace.id == "replace ch1/iptv"
    assert "ch1/iptv stops at the headend" in replace.disruption
    assert "1M -> 2M" in replace.summary


def test_two_channels_that_exchange_ports_are_stopped_before_they_start() -> None:
    steps = plan(
        state(stage("ch1", 6001), stage("ch2", 6002)), SourceSection(stages=(stage("ch1", 6002), stage("ch2", 6001)))
    )
    assert [step.id for step in steps] == ["stop ch1/iptv", "start ch1/iptv", "stop ch2/iptv", "start ch2/iptv"]
    assert steps[1].requires <= steps[2].provides


twice = st.builds(
    lambda made, dscp, port: SourceStage.model_validate(
        {
            **made.to_json(),
            "dscp": dscp,
            "encapsulation": "rtp",
            "second": {"source": "10.1.0.12", "group": "232.138.1.1", "port": port},
        }
    ),
    stages,
    st.integers(0, 63),
    st.integers(1024, 65535),
)


of_leg = st.builds(lambda made, leg: made.model_copy(update={"leg": leg}), stages, st.sampled_from(["a", "b"]))


@given(stages | twice | of_leg)
def test_a_unit_is_read_back_as_the_stage_it_was_made_for(made: SourceStage) -> None:
    assert stage_of(unit_spec(made, Path("/run/nf"))) == made


def test_units_of_others_are_no_stages() -> None:
    assert stage_of(UnitSpec("source-x-y", ("sleep", "1"))) is None
    assert stage_of(UnitSpec("zebra", unit_spec(stage(), Path("/run")).argv)) is None


@pytest.mark.parametrize(
    ("channel", "path", "name"), [("ch1", "iptv", "source-ch1-iptv"), ("a-b", "c", "source-a-b.c")]
)
def test_unit_names_are_told_apart(channel: str, path: str, name: str) -> None:
    assert unit_name(stage(channel, path=path)) == name


NAMES = st.text("ab-", min_size=1, max_size=4).map(lambda text: f"a{text}")


@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from([None, "a", "b"])), unique=True, max_size=6))
def test_no_two_stages_have_one_name(found: list[tuple[str, str, Literal["a", "b"] | None]]) -> None:
    made = [stage(channel, path=path).model_copy(update={"leg": leg}) for channel, path, leg in found]
    assert len({unit_name(one) for one in made}) == len({key(one) for one in made}) == len(made)


def test_the_two_encoders_of_one_path_on_one_appliance_are_two_stages() -> None:
    a, b = (stage(port=port).model_copy(update={"leg": leg}) for leg, port in (("a", 6001), ("b", 6002)))
    steps = plan(State(None), SourceSection(stages=(a, b)))
    assert [step.id for step in steps] == ["start ch1/iptv/a", "start ch1/iptv/b"]
    assert plan(state(a, b), SourceSection(stages=(b, a))) == ()
    exchanged = [one.model_copy(update={"contribution_port": port}) for one, port in ((a, 6002), (b, 6001))]
    assert [step.kind for step in plan(state(a, b), SourceSection(stages=tuple(exchanged)))] == [
        "source.stop",
        "source.start",
        "source.stop",
        "source.start",
    ]


def test_each_encoder_has_alarms_and_samples_of_its_own() -> None:
    counters = StreamCounters(0, 0, 0, 0, 0, False, 0, None)
    told = []
    for leg in ("a", "b"):
        made = stage().model_copy(update={"leg": leg})
        stream = Stream("0.0.0.0:6001", "10.1.0.10", "232.10.1.1", 5000, 1_000_000)
        told.append(list(StageWatch(made).take(StageStatus(stream, 9.0, counters, counters, 0, 0, ""), 0.0)))
    a, b = told
    assert {one.object for one in a if isinstance(one, AlarmEvent)} == {"ch1/iptv/a"}
    assert {one.object for one in b if isinstance(one, AlarmEvent)} == {"ch1/iptv/b"}
    assert {one.labels["point"] for one in b if isinstance(one, Sample)} == {"contribution-b", "source-b"}
