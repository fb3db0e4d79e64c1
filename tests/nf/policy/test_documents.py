"""The policy's words in the line-up: defaults, rules with their lines, what contradicts itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nf.documents.loader import load_fleet, load_lineup
from nf.errors import DocumentError
from nf.planning.checks import check_lineup
from nf.policy.documents import cycle, preferred, rules_of
from nf.policy.model import Approve, Rules
from tests.support.fleet import Place, fleet_text

FLEET = load_fleet(fleet_text([Place("head", "hub", "headend"), Place("pop1", "pop1")]), file="fleet.yaml").document
ORIGIN = {"endpoint": "http://10.1.0.20:8333", "bucket": "media", "credentials": "secret:origin"}


def text(policy: dict[str, Any] | None = None, own: dict[str, Any] | None = None, **changes: dict[str, Any]) -> str:
    paths: dict[str, dict[str, Any]] = {
        "sat": {"type": "dvb-s2x", "carrier": "c1", "service_id": 101, "input": 7001, "fallback": "iptv"}
        | {"output": {"group": "232.20.1.1"}, "sites": ["pop1"]},
        "iptv": {"type": "ssm", "group": "232.10.1.1", "sites": ["pop1"]},
        "ott": {"type": "cdn", "host": "cdn.test", "source": "feed", "sites": ["pop1"], "origin": ORIGIN},
    }
    delivery = [{"id": name, "rate": "1M", **path, **changes.get(name, {})} for name, path in paths.items()]
    channel = {"id": "ch1", "name": "One", "lcn": 1, "uid": "tag:tv.example,2026:ch1", "source": "feed"}
    channel |= {"delivery": delivery} | ({"failover": own} if own is not None else {})
    source = {"id": "feed", "appliance": "head", "port": 6001, "bitrate": "1M"}
    spec = {"sources": [source], "channels": [channel], "policy": policy or {}}
    document = {"apiVersion": "streamverse.nf/v1", "kind": "LineUp", "metadata": {"name": "t"}, "spec": spec}
    return json.dumps(document, indent=1)


def test_the_defaults_of_document_and_engine_are_the_same() -> None:
    lineup = load_lineup(text(), file="l").document
    assert rules_of(lineup.failover(lineup.spec.channels[0])) == Rules()
    assert (lineup.spec.policy.steering.ttl_calm_ms, lineup.spec.policy.steering.ttl_alert_ms) == (300_000, 10_000)


def test_a_channel_has_its_own_and_it_comes_back_from_json_as_it_was() -> None:
    own = {"detect": "200ms", "hold_down": "5s", "max_per_hour": 9, "failback": {"after": "5s", "approve": "auto"}}
    lineup = load_lineup(text({"failover": {"hold_down": "1m"}}, own), file="l").document
    assert lineup.spec.policy.failover.hold_down_ms == 60_000
    assert rules_of(lineup.failover(lineup.spec.channels[0])) == Rules(0.2, 5.0, 9, 5.0, Approve.AUTO)
    assert load_lineup(json.dumps(lineup.to_json()), file="again").document == lineup


@pytest.mark.parametrize(
    ("policy", "rule", "key"),
    [
        ({"failover": {"detect": "1s", "hold_down": "2s"}}, "more than twice detect", "spec.policy.failover"),
        ({"failover": {"detect": "50ms"}}, "must be at least", "spec.policy.failover.detect"),
        ({"failover": {"max_per_hour": 61}}, "must be at most 60", "spec.policy.failover.max_per_hour"),
        ({"failover": {"failback": {"approve": "anybody"}}}, "operator", "spec.policy.failover.failback.approve"),
        ({"failover": {"prefer": ["ott", "ott"]}}, "names a path twice", "spec.policy.failover"),
        ({"steering": {"ttl_alert": "9s"}}, "must be at least", "spec.policy.steering.ttl_alert"),
        ({"steering": {"ttl_calm": "10s", "ttl_alert": "1m"}}, "more than ttl_calm", "spec.policy.steering"),
        ({"steering": {"ttl_alert": "10500ms"}}, "whole seconds", "spec.policy.steering"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_line(policy: dict[str, Any], rule: str, key: str) -> None:
    with pytest.raises(DocumentError) as refused:
        load_lineup(text(policy), file="lineup.yaml")
    (problem,) = refused.value.problems
    assert rule in problem.rule
    assert problem.key == key
    assert problem.line > 0


def problems(given: str) -> list[tuple[str, str]]:
    found = check_lineup(load_lineup(given, file="l").document, FLEET)
    return [(problem.key, problem.rule) for problem in found]


def test_a_scrambled_path_has_no_clear_fallback_unless_that_is_allowed() -> None:
    scrambled = {"scrambled": True}
    place = ("spec.channels[0].delivery[0].fallback", "a scrambled path would be replaced by a clear one")
    assert problems(text(sat=scrambled)) == [place]
    assert problems(text(sat=scrambled, iptv=scrambled)) == []
    assert problems(text(None, {"allow_clear": True}, sat=scrambled)) == []
    assert problems(text({"failover": {"allow_clear": True}}, sat=scrambled)) == []
    assert problems(text({"failover": {"allow_clear": True}}, {}, sat=scrambled)) == [place]


def test_fallbacks_that_go_round_and_words_that_nobody_knows() -> None:
    assert cycle(load_lineup(text(), file="l").document.spec.channels[0]) == ()
    ring = problems(text(sat={"fallback": "sat"}))
    assert ring == [("spec.channels[0].delivery[0].fallback", "fallbacks go round in a ring: sat -> sat")]
    unknown = problems(text(None, {"prefer": ["cdn", "iptv", "radio"]}))
    assert [key for key, _ in unknown] == ["spec.channels[0].failover.prefer[2]"]
    assert problems(text({"failover": {"prefer": ["upf-breakout"]}})) == []  # a type that other channels have


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        ([], ["iptv", "ott", "sat"]),
        (["dvb-s2x"], ["sat", "iptv", "ott"]),
        (["cdn", "iptv"], ["ott", "iptv", "sat"]),
        (["dvb-s2x", "ott", "sat"], ["ott", "sat", "iptv"]),  # its own name counts more than its type
    ],
)
def test_the_order_of_preference(prefer: list[str], expected: list[str]) -> None:
    channel = load_lineup(text(None, {"prefer": prefer}, sat={"priority": 2}), file="l").document.spec.channels[0]
    assert channel.failover is not None
    assert [path.id for path in preferred(channel.delivery, channel.failover)] == expected
