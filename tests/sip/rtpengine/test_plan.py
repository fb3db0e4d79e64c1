"""Planner, steps, files, flags, samples: all pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nf.contracts.driver import State
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.registry import Extension
from nf.errors import InputError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.documents import Voice
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.flags import Kind, Side, answer_flags, offer_flags
from sip.rtpengine.guard import rules_of, text_of
from sip.rtpengine.http import parse_metrics
from sip.rtpengine.leaks import KEYS_LOST, LEAKED, UNTOLD, Tally
from sip.rtpengine.plan import SESSIONS, differences, plan
from sip.rtpengine.planner import RtpenginePlanner
from sip.rtpengine.render import from_text, rtpengine_conf
from sip.rtpengine.takeover import Lost
from sip.rtpengine.telemetry import AWAY, REFUSED, SILENT, TAKEN, Reading, RelayWatch
from tests.sip.rtpengine.live import section


def fleet(*relays: dict[str, Any], **voice: Any) -> Fleet:
    appliances = [
        {
            "id": name,
            "site": "s",
            "role": "pop",
            "serial": name,
            "management": f"192.0.2.{number}",
            "interfaces": [{"name": "eth1", "address": f"10.77.0.{number}/24"}],
        }
        for number, name in enumerate(("a", "b", "p"), 1)
    ]
    data: dict[str, Any] = {
        "domains": ["voice.example.test"],
        "accounts": "secret:voice-accounts",
        "proxies": [{"id": "p1", "appliance": "p", "address": "10.77.0.3"}],
        "relays": [*relays],
        **voice,
    }
    spec = {"sites": [{"id": "s"}], "appliances": appliances}
    made = Fleet.model_validate(
        {"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "f"}, "spec": spec}
    )
    equipment = {"voice": Voice.model_validate(data)}
    return made.model_copy(update={"spec": made.spec.model_copy(update={"equipment": equipment})})


def relay(name: str, **more: Any) -> dict[str, Any]:
    return {"id": f"r{name}", "appliance": name, "address": {"a": "10.77.0.1", "b": "10.77.0.2"}.get(name), **more}


def contribution(found: Fleet) -> Any:
    return RtpenginePlanner().plan(LineUp.model_construct(), found)


def test_a_relay_gets_its_section_and_who_may_order_it_about() -> None:
    told = contribution(fleet(relay("a")))
    made = told.sections["a"]["rtpengine"]
    assert isinstance(made, RtpengineSection)
    assert [str(one) for one in made.peers] == ["10.77.0.3"]
    assert made.requires == ("a.interface.eth1",)
    assert made.provides == ("a.voice.relay",)
    assert [one.name for one in told.operations] == ["wait-empty"]


def test_draining_and_weight_are_the_proxies_matter_and_restart_nothing() -> None:
    quiet, drained = (contribution(fleet(relay("a", **more))).sections for more in ({}, {"drained": True, "weight": 7}))
    assert quiet == drained


def test_a_pair_shares_a_store_and_its_addresses_move() -> None:
    told = contribution(
        fleet(
            relay("a", partner="rb") | {"address": "10.77.0.11"}, relay("b", partner="ra") | {"address": "10.77.0.12"}
        )
    )
    assert told.problems == ()
    first, second = (told.sections[name]["rtpengine"] for name in "ab")
    assert (first.pair.first, second.pair.first) == (True, False)
    assert (first.pair, second.pair) == (section("a", pair=True).pair, section("b", pair=True).pair)
    for one, other in ((first, "/1"), (second, "/2")):
        assert f"redis = 10.77.0.1:6379{other}" in rtpengine_conf(one)


@pytest.mark.parametrize(
    ("relays", "key", "rule"),
    [
        ([relay("a", address="10.77.0.9")], "relays[0].address", "no such address"),
        ([relay("a") | {"appliance": "x"}], "relays[0].appliance", "no such appliance"),
        ([relay("a"), relay("b") | {"appliance": "a"}], "relays[0].appliance", "has one relay"),
        ([relay("a"), relay("b") | {"id": "ra"}], "relays[0].id", "have this name"),
        ([relay("a", ports=[6000, 7000])], "relays[0].ports", "a port of the relay itself"),
        ([relay("a", partner="ra")], "relays[0].partner", "no other relay"),
        ([relay("a", partner="rb"), relay("b")], "relays[0].partner", "name each other"),
        ([relay("a", partner="rb"), relay("b", partner="ra")], "relays[0].address", "address that moves"),
        ([relay("a", partner="rb", address="10.9.9.9"), relay("b", partner="ra")], "relays[0].address", "no interface"),
        (
            [relay("a", partner="rb", ports=[20000, 29999]), relay("b", partner="ra")],
            "relays[0].ports",
            "the same ports",
        ),
    ],
)
def test_what_cannot_work_is_told_with_its_place(relays: list[dict[str, Any]], key: str, rule: str) -> None:
    told = contribution(fleet(*relays))
    assert told.sections == {}
    assert any(one.key.endswith(key) and rule in one.rule and one.remedy for one in told.problems), told.problems


def test_nothing_to_do_without_voice() -> None:
    bare = fleet(relay("a"))
    bare = bare.model_copy(update={"spec": bare.spec.model_copy(update={"equipment": {}})})
    assert contribution(bare).sections == {}
    assert isinstance(Extension(), Extension)


@pytest.mark.parametrize(("count", "told"), [(0, ""), (1, "1 call loses"), (12, "12 calls lose"), (None, "all calls")])
def test_the_cost_of_a_restart(count: int | None, told: str) -> None:
    before, want = section("a"), section("a", control=2300)
    value = before.to_json() | ({SESSIONS: count} if count is not None else {})
    (step,) = plan(State(value), want)
    assert told in step.disruption
    assert bool(told) == bool(step.disruption)
    assert plan(State(before.to_json()), before) == ()
    (step,) = plan(State(value), None)
    assert bool(told) == bool(step.disruption)
    assert differences(value, want) == ("relay ra has another configuration",)


def test_files_tell_what_they_were_made_for_and_whether_somebody_changed_them() -> None:
    for pair in (False, True):
        made = section("a", pair=pair)
        text = rtpengine_conf(made)
        assert from_text(text) == made
        assert from_text(text.replace("timeout = 60", "timeout = 61")) is None
        assert from_text("# nothing") is None
        assert text_of(made).count("comment") == rules_of(made)


@pytest.mark.parametrize("kind", Kind)
def test_flags_of_every_pair_of_kinds(kind: Kind) -> None:
    for other in Kind:
        one, two = offer_flags(Side(kind), Side(other)), answer_flags(Side(kind), Side(other))
        assert one.items is not None
        assert two.items is not None
        assert ("SAVPF" in one.items["transport-protocol"]) == (other is Kind.WEBRTC)
        assert (two.items["ICE"] == "force") == (kind is Kind.WEBRTC)
        assert any("NULL" in flag for flag in one.flags) == (other is Kind.SDES)
        assert (one.items.get("DTLS") == "off") == (other is not Kind.WEBRTC)
    assert offer_flags(Side(), Side(codecs=("G722",))).codec == {"mask": ("all",), "transcode": ("G722",)}
    assert offer_flags(Side(t38=True), Side()).t38 == ("decode",)
    assert offer_flags(Side(), Side(), ("in", "out")).members()["direction"] == ["in", "out"]


@pytest.mark.parametrize("codecs", [("MP3",), ("PCMA", "PCMA")])
def test_codecs_that_are_none_are_refused(codecs: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Side(codecs=codecs)


def test_which_calls_have_lost_their_keys() -> None:
    own, moved = frozenset({"10.77.0.11"}), frozenset({"10.77.0.12"})
    alone = Lost(2000.0, own="10.77.0.11")
    assert alone.without_keys(1000.0, own)
    assert not alone.without_keys(2500.0, own)
    assert alone.serves(moved)
    both = Lost(500.0, own="10.77.0.11", moved="10.77.0.12", since=4000.0, paired=True)
    assert both.without_keys(3000.0, moved)
    assert not both.without_keys(4500.0, moved)
    assert not both.without_keys(3000.0, own)
    assert both.serves(moved)
    assert not Lost(500.0, own="10.77.0.11", paired=True).serves(moved)
    assert not Lost(500.0, paired=True).serves(own)


def test_what_leaks_is_an_alarm_for_a_while() -> None:
    watch, relay = RelayWatch("a"), section("a")
    metrics = parse_metrics('rtpengine_sessions{type="own"} 3\n')
    tally = Tally(without_dialog=2, untold=1, deleted=4, without_keys=5, deleted_at=100.0, without_keys_at=100.0)
    sample, *alarms = watch.take(relay, Reading(metrics, leaks=tally), 101.0)
    assert isinstance(sample, Sample)
    wanted = {"without_dialog": 2.0, "untold": 1.0, "leaks_deleted": 4.0, "without_keys": 5.0}
    assert wanted.items() <= sample.values.items()
    assert {one.cause for one in alarms if isinstance(one, AlarmEvent)} == {LEAKED, KEYS_LOST, UNTOLD}
    assert all("nf sip relay-report" in one.remedy for one in alarms if isinstance(one, AlarmEvent))
    later = [*watch.take(relay, Reading(metrics, leaks=replace(tally, untold=0)), 500.0)]
    assert {one.severity for one in later if isinstance(one, AlarmEvent)} == {Severity.CLEARED}
    assert len(later) == 4


def test_samples_and_alarms_are_said_once_and_taken_back() -> None:
    watch, pair = RelayWatch("a"), section("a", pair=True)
    text = (
        'rtpengine_sessions{type="own"} 3\nrtpengine_sessions{type="foreign"} 2\n'
        'rtpengine_packets_total{type="userspace"} %d\nrtpengine_mos_total %f\nrtpengine_mos_samples_total %d\n'
    )
    first = Reading(parse_metrics(text % (100, 4.0, 1)))
    (sample,) = watch.take(pair, first, 0.0)
    assert isinstance(sample, Sample)
    assert (sample.values["sessions"], sample.values["foreign"]) == (3, 2)
    (sample,) = watch.take(pair, Reading(parse_metrics(text % (600, 12.4, 3))), 5.0)
    assert isinstance(sample, Sample)
    assert (sample.values["packets_s"], round(sample.values["mos"], 3)) == (100.0, 4.2)
    dead = Reading(None, refused=4, own_here=False, partner_here=True)
    raised = [one for one in watch.take(pair, dead, 10.0) if isinstance(one, AlarmEvent)]
    assert {one.cause for one in raised} == {SILENT, TAKEN, AWAY, REFUSED}
    assert [*watch.take(pair, dead, 15.0)] == []
    well = [one for one in watch.take(pair, Reading(first.metrics, refused=4), 1000.0) if isinstance(one, AlarmEvent)]
    assert {one.severity for one in well} == {Severity.CLEARED}
    assert len(well) == 4
