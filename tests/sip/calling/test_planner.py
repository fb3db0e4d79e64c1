"""Test calls as they are planned: where they are placed, what proves them, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.planner import Contribution
from nf.documents.fleet import Appliance, Fleet
from nf.documents.lineup import LineUp
from sip.calling.documents import AnswerPlan, TestCallPlan, VoiceCallsSection
from sip.calling.planner import CallingPlanner, generation
from sip.freeswitch.planner import FreeswitchPlanner
from sip.kamailio.planner import KamailioPlanner
from sip.operations import DRAIN, EVERY, HOLD_RELAYS, TEST_CALL, TRACE, WAIT_EMPTY, pop, pop_back, site_of
from sip.rtpengine.planner import RtpenginePlanner
from tests.sip.kamailio import fleets

TEST = {
    "id": "edge",
    "appliance": "r1",
    "proxy": "p1",
    "caller": "probe1",
    "called": "probe2",
    "credentials": "secret:probes",
    "answered_by": "r1",
}


def lineup(*channels: str) -> LineUp:
    listed = [
        {"id": one, "name": one, "lcn": n + 1, "uid": f"tag:x.test,2026:{one}", "source": "s"}
        for n, one in enumerate(channels)
    ]
    return LineUp.model_validate(
        {"apiVersion": "streamverse.nf/v1", "kind": "LineUp", "metadata": {"name": "l"}, "spec": {"channels": listed}}
    )


def fleet(*tests: dict[str, Any], **changed: Any) -> Fleet:
    made = fleets.fleet(fleets.voice(tests=list(tests), **changed))
    probes = [
        Appliance.model_validate(
            {"id": f"r{n}", "site": "hq", "role": "probe", "serial": f"P{n}", "management": f"172.16.1.{n}"}
        )
        for n in (1, 2)
    ]
    spec = made.spec.model_copy(update={"appliances": (*made.spec.appliances, *probes)})
    return made.model_copy(update={"spec": spec})


def plan(*tests: dict[str, Any], channels: tuple[str, ...] = (), **changed: Any) -> Contribution:
    return CallingPlanner().plan(lineup(*channels), fleet(*tests, **changed))


def test_a_test_call_is_a_probe_a_hop_and_an_operation() -> None:
    made = plan(TEST)
    assert made.problems == ()
    (target,) = made.probes["r1"]
    assert (target.kind, target.channel, target.path, target.required) == ("voice", "voice", "edge", False)
    given_ = TestCallPlan.model_validate(dict(target.arguments))
    assert (given_.answered, str(given_.proxy), given_.port, given_.domain) == ("here", "10.0.0.1", 5060, fleets.DOMAIN)
    assert given_.emergency == ("110", "112")
    assert [(hop.channel, hop.path, hop.appliance, hop.point) for hop in made.hops] == [
        ("voice", "edge", "r1", "receiver")
    ]
    section = made.sections["r1"]["voice-calls"]
    assert isinstance(section, VoiceCallsSection)
    assert section.calls == (given_,)
    found = {(one.name, one.object): one.stages for one in made.operations}
    assert found[TEST_CALL, "edge"] == ((("r1", "voice-calls"),),)


def test_no_credential_is_in_what_is_planned() -> None:
    made = plan(TEST)
    assert "secret:probes" in str(made)
    assert "HA1" not in str(made)


def test_another_appliance_answers_by_a_probe_of_its_own() -> None:
    made = plan({**TEST, "answered_by": "r2"})
    (target,) = made.probes["r2"]
    answer = AnswerPlan.model_validate(dict(target.arguments))
    assert (target.kind, answer.user, answer.test) == ("voice-answer", "probe2", "edge")
    assert dict(made.probes["r1"][0].arguments)["answered"] == "there"
    assert [hop.appliance for hop in made.hops] == ["r1", "r2"]


def test_a_service_that_echoes_and_the_virtual_address() -> None:
    made = plan({**TEST, "called": "9001", "answered_by": None, "proxy": "vip"})
    given_ = dict(made.probes["r1"][0].arguments)
    assert (given_["answered"], given_["proxy"]) == ("echo", "10.0.0.9")


def test_proxies_can_be_traced_where_they_are() -> None:
    made = plan()
    section = made.sections["core1"]["voice-calls"]
    assert isinstance(section, VoiceCallsSection)
    (traced,) = section.traced
    assert (traced.id, [*map(str, traced.addresses)], traced.ports) == ("p1", ["10.0.0.1", "10.0.0.9"], (5060,))


def test_a_site_is_drained_from_its_proxies_on_and_comes_back_the_other_way_round() -> None:
    found = {(one.name, one.object): one.stages for one in plan().operations}
    proxies, servers = (("core1", "kamailio"), ("core2", "kamailio")), (("core1", "freeswitch"),)
    assert found[DRAIN, pop("hq")] == (proxies, servers)
    assert found[DRAIN, pop_back("hq")] == (servers, proxies)
    assert found[WAIT_EMPTY, pop("hq")] == ((("core1", "rtpengine"), ("core2", "rtpengine")),)
    assert found[HOLD_RELAYS, EVERY] == (proxies,)
    assert found[TRACE, EVERY] == ((("core1", "voice-calls"), ("core2", "voice-calls")),)
    assert (site_of(pop("hq")), site_of(pop_back("hq")), site_of("p1")) == ("hq", None, None)


def test_browsers_way_in_is_drained_with_its_site_after_the_proxies_unless_the_document_does_it() -> None:
    gateways = [
        {"id": f"g{n}", "appliance": f"core{n}", "address": f"10.0.0.{n}", "secret": "secret:w", "drained": n == 2}
        for n in (1, 2)
    ]
    turns = [{"id": "t1", "appliance": "core1", "address": "10.0.0.1", "secret": "secret:t"}]
    made = plan(gateways=gateways, turns=turns)
    assert made.problems == ()
    found = {(one.name, one.object): one.stages for one in made.operations}
    edge = (("core1", "janus"), ("core1", "turn"))
    proxies, servers = (("core1", "kamailio"), ("core2", "kamailio")), (("core1", "freeswitch"),)
    assert found[DRAIN, pop("hq")] == (proxies, edge, servers)
    assert found[DRAIN, pop_back("hq")] == (servers, edge, proxies)


def test_with_the_other_planners_no_operation_is_there_twice_and_all_nodes_can_be_drained() -> None:
    alone = [{"id": f"r{n}", "appliance": f"core{n}", "address": f"10.0.0.{n}"} for n in (1, 2)]
    document = fleet(TEST, relays=alone)
    made = [
        one().plan(lineup(), document) for one in (CallingPlanner, KamailioPlanner, RtpenginePlanner, FreeswitchPlanner)
    ]
    assert [one.problems for one in made] == [()] * 4
    keys = [(one.name, one.object) for contribution in made for one in contribution.operations]
    assert len(keys) == len({*keys})
    assert {object_ for name, object_ in keys if name == DRAIN} >= {"p1", "p2", "m1"}
    assert {object_ for name, object_ in keys if name == WAIT_EMPTY} >= {"r1", "r2", EVERY}
    sections = [
        (appliance, name) for contribution in made for appliance, own in contribution.sections.items() for name in own
    ]
    assert len(sections) == len({*sections})


def test_another_voice_core_is_proved_by_another_call() -> None:
    one = fleets.voice(tests=[TEST])
    assert generation(one) == generation(fleets.voice())
    assert generation(one) != generation(fleets.voice(nat=False))


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"appliance": "nowhere"}, "no such appliance"),
        ({"appliance": "core1"}, "its role is core"),
        ({"proxy": "p9"}, "no such proxy"),
        ({"domain": "other.test"}, "no such domain"),
        ({"answered_by": "nowhere"}, "no such appliance"),
        ({"called": "112", "answered_by": None}, "an emergency number"),
        ({"called": "probe1"}, "are one account"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(changed: dict[str, Any], rule: str) -> None:
    made = plan({**TEST, **changed})
    assert made.sections == {}
    (problem,) = made.problems
    assert rule in problem.rule
    assert problem.remedy
    assert problem.key.startswith("spec.equipment.voice.tests[0].")


def test_two_that_would_answer_each_others_calls() -> None:
    made = plan({**TEST, "answered_by": "r2"}, {**TEST, "id": "two", "answered_by": "r1"})
    assert ["answers the test call edge at r2 too" in one.rule for one in made.problems] == [True]
    assert plan(TEST, {**TEST, "id": "two"}).problems == ()  # the same process, one after the other
    twice = plan(TEST, TEST).problems
    assert any("a test call has this name already" in one.rule for one in twice)


def test_a_proxy_without_udp_and_a_channel_called_voice() -> None:
    tls = [{"id": "p1", "appliance": "core1", "address": "10.0.0.1", "listeners": [{"transport": "tcp", "port": 5060}]}]
    made = plan(TEST, proxies=[*tls, {"id": "p2", "appliance": "core2", "address": "10.0.0.2"}])
    assert ["no listener of transport udp" in one.rule for one in made.problems] == [True]
    made = plan(TEST, channels=("ch1", "voice"))
    assert [one.key for one in made.problems] == ["spec.channels[1].id"]


@given(st.permutations([{**TEST, "id": name, "answered_by": None} for name in ("a", "b", "c")]))
def test_the_order_of_the_document_changes_nothing(tests: list[dict[str, Any]]) -> None:
    again = plan(*sorted(tests, key=lambda one: str(one["id"])))
    assert plan(*tests) == again


def test_without_a_voice_core_there_is_nothing() -> None:
    document = fleet(TEST)
    spec = document.spec.model_copy(update={"equipment": {}})
    assert CallingPlanner().plan(lineup(), document.model_copy(update={"spec": spec})) == Contribution()
