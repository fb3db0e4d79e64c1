"""Steps and units of intakes, with plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nf.contracts.driver import State
from nf.media.documents import IntakeChannel, IntakeSection
from nf.media.intake.plan import START, STOP, plan
from nf.media.intake.process import parse_arguments, place_of
from nf.media.intake.units import channel_of, unit_name, unit_spec


def channel(**changes: Any) -> IntakeChannel:
    data = {
        "channel": "ch1",
        "path": "ott",
        "url": "http://10.255.0.3/ch1/master.m3u8",
        "host": "cdn.streamverse.test",
        "segment": "2s",
        "outputs": [{"taker": "sat", "address": "127.64.1.2", "port": 5004}],
        "requires": ["cdn.edge=ch1/ott@pop1"],
    }
    return IntakeChannel.model_validate(data | changes)


def section(*channels: IntakeChannel) -> IntakeSection:
    return IntakeSection(channels=channels)


def test_planning_what_was_observed_is_empty() -> None:
    assert plan(State(section(channel()).to_json()), section(channel())) == ()
    assert plan(State(None), None) == ()


def test_an_intake_comes_changes_and_goes() -> None:
    (start,) = plan(State(None), section(channel()))
    assert (start.kind, start.requires, start.disruption) == (START, {"cdn.edge=ch1/ott@pop1"}, "")
    other = channel(url="http://10.255.0.4/ch1/master.m3u8")
    (again,) = plan(State(section(channel()).to_json()), section(other))
    assert again.kind == START
    assert "interrupted" in again.disruption
    (stop,) = plan(State(section(channel()).to_json()), None)
    assert (stop.kind, stop.disruption) == (STOP, "ch1/ott is no fallback of ch1/sat any more")


def test_a_unit_is_read_back_as_its_channel() -> None:
    two = [{"taker": name, "address": f"127.64.1.{n}", "port": 5004} for n, name in enumerate(("sat", "sat2"), 1)]
    for one in (channel(), channel(path="ott-west", outputs=two)):
        spec = unit_spec(one, Path("/run/nf"))
        assert channel_of(spec) == one
        given = parse_arguments(spec.argv[3:])
        assert [place_of(output) for output in given.outputs] == [(str(o.address), o.port) for o in one.outputs]
    assert unit_name(channel(path="ott-west")) == "stream-intake-ch1.ott-west"
