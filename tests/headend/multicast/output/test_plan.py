from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.documents import Output, OutputSection
from headend.multicast.output import plan as planning
from headend.multicast.output.client import LegStatus, OutputStatus, SourceStatus, StageStatus
from headend.multicast.output.config import parse
from headend.multicast.output.telemetry import OutputWatch
from headend.multicast.output.units import Places, canonical, key, section_of, text_of
from nf.contracts.driver import Event, State, Step
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Quality, Sample


def output(channel: str = "ch1", mode: str = "merge", address: str = "10.1.5.1", port: int = 5000) -> Output:
    feeds = [
        {"source": "10.1.0.11", "group": "232.10.0.1", "port": 5000, "encapsulation": "rtp"},
        {"source": "10.1.0.12", "group": "232.138.0.1", "port": 5000, "encapsulation": "rtp"},
    ]
    feeds[0]["alternates"] = ["10.1.2.0"] if mode == "single" else []  # type: ignore[assignment]
    data = {"channel": channel, "path": "iptv", "mode": mode, "addresses": [address], "group": "232.20.1.1"}
    more = {"port": port, "rate": "4M", "dscp": 34, "requires": [f"tree {channel}"], "provides": [f"output {channel}"]}
    return Output.model_validate({**data, **more, "feeds": feeds[: 1 if mode == "single" else 2]})


def section(*outputs: Output, tap: str = "nfout1") -> OutputSection:
    return OutputSection(tap=tap, outputs=outputs)


def state(found: OutputSection, **altered: str) -> State:
    value = found.to_json()
    return State({**value, "altered": {**altered}} if altered else value)


outputs = st.builds(
    output,
    st.sampled_from(["ch1", "ch2", "ch3"]),
    st.sampled_from(["merge", "switch", "single"]),
    st.sampled_from(["10.1.5.1", "10.1.6.1"]),
    st.integers(5000, 5002),
)
sections = st.lists(outputs, max_size=3, unique_by=key).map(lambda found: section(*found))


@given(sections, sections)
def test_the_steps_lead_from_any_section_to_any_other(have: OutputSection, want: OutputSection) -> None:
    steps = planning.plan(state(have), want)
    sent = planning.outputs_of(have)
    for step in steps:
        assert Step.from_json(step.to_json()) == step
        given_ = step.arguments["output"]
        if step.kind == planning.SET:
            made = Output.model_validate(given_)
            sent[key(made)] = made
            assert (step.requires, step.provides) == (frozenset(made.requires), frozenset(made.provides))
        else:
            del sent[str(given_)]
    assert sent == planning.outputs_of(want)
    assert len({step.id for step in steps}) == len(steps)
    assert bool(steps) == bool(planning.differences(state(have), want))


@given(sections)
def test_what_is_already_so_needs_nothing_in_whatever_order(have: OutputSection) -> None:
    assert planning.plan(state(have), section(*reversed(have.outputs))) == ()
    assert len(planning.plan(state(have), None)) == len(have.outputs)
    assert planning.plan(State(None), section()) == ()
    assert planning.differences(State(None), section()) == ()


def test_one_more_lan_disturbs_nobody_and_another_stream_says_so() -> None:
    wider = output().model_copy(update={"addresses": (*output().addresses, *output(address="10.1.6.1").addresses)})
    (step,) = planning.plan(state(section(output())), section(wider))
    assert step.disruption == ""
    (step,) = planning.plan(state(section(wider)), section(output()))
    assert step.disruption == "ch1/iptv is no longer sent on every LAN as before"
    (step,) = planning.plan(state(section(output())), section(output(mode="switch")))
    assert step.disruption == "ch1/iptv is interrupted for a moment at this PoP"


def test_another_tap_and_a_dead_stage_concern_every_output() -> None:
    both = section(output("ch1"), output("ch2"))
    assert len(planning.plan(state(both), section(*both.outputs, tap="other1"))) == 2
    assert len(planning.plan(state(both, **{planning.STAGE: "it is not there"}), both)) == 2
    (step,) = planning.plan(state(both, **{"ch2/iptv": "cannot send from 10.1.5.1"}), both)
    assert step.id == "output ch2/iptv"
    assert planning.differences(state(both, **{planning.STAGE: "it is not there"}), both) == (
        "the output stage: it is not there",
    )
    (step,) = planning.plan(State({"altered": {planning.STAGE: "its file was changed by hand"}}), None)
    assert step.kind == planning.CLEAR


@given(sections)
def test_a_file_is_read_back_and_the_process_reads_the_same(made: OutputSection) -> None:
    text = text_of(made)
    assert section_of(text) == canonical(made)
    config = parse(text.encode())
    assert [entry.key for entry in config.outputs] == sorted(map(key, made.outputs))
    for entry, wanted in zip(config.outputs, canonical(made).outputs, strict=True):
        assert (entry.mode, entry.dscp, entry.window_s) == (wanted.mode.value, 34, 0.05)
        assert [feed.flow for feed in entry.feeds] == [(f.source, f.group, f.port) for f in wanted.feeds]
        assert all(feed.rtp for feed in entry.feeds)
    assert section_of("{}") is None


def test_a_file_is_written_as_a_whole_and_taken_away(tmp_path: Path) -> None:
    places = Places.of(tmp_path / "run", tmp_path / "state")
    assert places.read() is None
    places.write("one")
    places.write("two")
    assert places.read() == "two"
    assert [path.name for path in places.files.iterdir()] == ["section.json"]
    places.remove()
    assert places.read() is None


# -- telemetry ------------------------------------------------------------------------------------------------------

GOOD = LegStatus(received=100, age_ms=4.0)
TOLD = OutputStatus("ch1", "iptv", "merge", 700, 0, 5.0, 0, "", None, 0, 0, (), (GOOD, GOOD))
STATUS = StageStatus(1, "digest", 10.0, (), 200, 0, (TOLD,), (), "")


def told(events: object) -> dict[tuple[str, str], Severity]:
    return {(e.cause, e.object): e.severity for e in events if isinstance(e, AlarmEvent)}  # type: ignore[attr-defined]


def sample(events: list[Event]) -> Sample:
    (found,) = (event for event in events if isinstance(event, Sample))
    return found


def test_a_leg_that_is_silent_is_no_protection_and_an_output_that_is_silent_is_worse() -> None:
    watch, want = OutputWatch("pop1"), section(output())
    events = list(watch.take(want, STATUS, 1.0))
    assert set(told(events).values()) == {Severity.CLEARED}
    found = sample(events)
    assert found.labels == {"channel": "ch1", "path": "iptv", "point": "output"}
    assert found.text == "legs a and b"
    assert found.values["bitrate_bps"] == 700 * 188 * 8 / 10
    assert found.values["leg_a_received"] == 100

    half = replace(TOLD, legs=(replace(GOOD, age_ms=1500.0), GOOD))
    events = list(watch.take(want, replace(STATUS, outputs=(half,)), 2.0))
    assert told(events) == {("leg-down", "ch1/iptv/a/pop1"): Severity.MINOR}
    assert sample(events).text == "leg b only"

    none = replace(TOLD, age_ms=2500.0, legs=(replace(GOOD, age_ms=4000.0), replace(GOOD, age_ms=2500.0)))
    events = list(watch.take(want, replace(STATUS, outputs=(none,)), 3.0))
    assert told(events) == {
        ("output-silent", "ch1/iptv/pop1"): Severity.MAJOR,
        ("leg-down", "ch1/iptv/a/pop1"): Severity.CLEARED,
    }
    assert sample(events).quality is Quality.STALE

    events = list(watch.take(section(), None, 4.0))
    assert told(events) == {("output-silent", "ch1/iptv/pop1"): Severity.CLEARED}


def test_a_stage_that_does_not_answer_and_a_route_that_was_moved_are_alarms() -> None:
    watch, want = OutputWatch("pop1"), section(output(mode="single"))
    assert told(watch.take(want, None, 1.0)) == {("output-stage-down", "pop1"): Severity.CRITICAL}
    alone = replace(TOLD, mode="single", active=0, legs=(GOOD,))
    moved = replace(STATUS, outputs=(alone,), sources=(SourceStatus("10.1.0.11", "moved", "10.1.2.0", 1),))
    events = list(watch.take(want, moved, 2.0))
    assert told(events)["output-stage-down", "pop1"] is Severity.CLEARED
    assert told(events)["route-moved", "10.1.0.11/pop1"] is Severity.WARNING
    assert ("leg-down", "ch1/iptv/a/pop1") not in told(events)
    assert sample(events).text == "its only feed"
    home = replace(moved, sources=(SourceStatus("10.1.0.11", "home", None, 1),))
    assert told(watch.take(want, home, 3.0)) == {("route-moved", "10.1.0.11/pop1"): Severity.CLEARED}


def test_a_stage_that_is_taken_away_has_no_alarm() -> None:
    """It is asked between its end and that of its file, too."""
    watch, want = OutputWatch("pop1"), section(output())
    told(watch.take(want, STATUS, 1.0))
    assert told(watch.take(want, None, 2.0)) == {("output-stage-down", "pop1"): Severity.CRITICAL}
    assert told(watch.take(None, None, 3.0)) == {("output-stage-down", "pop1"): Severity.CLEARED}
