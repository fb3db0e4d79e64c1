"""Multicast CAC: budgets of a link, who does not fit, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.planner import MulticastPlanner
from nf.documents.fleet import Fleet
from nf.errors import Problem
from tests.headend.multicast.networks import fleet_data, lineup
from tests.nf.planning.samples import built


def refused(rule: dict[str, Any], *paths: dict[str, Any]) -> list[Problem]:
    """n0 is on the headend's LAN, n1 behind it, over the link w0."""
    fleet = fleet_data(2, [("n0", "n1", 10)], ["n0"], pops=["n1"])
    fleet["spec"]["equipment"]["multicast"]["links"] = [{"link": "w0", **rule}]
    document = lineup(*({"sites": ["n1"], **path} for path in paths))
    return list(MulticastPlanner().plan(document, built(Fleet, fleet)).problems)


MANDATORY = {"admission": "mandatory"}


def test_mandatory_channels_have_their_own_budget() -> None:
    budget = {"unconstrained": "4M", "mandatory": "2M"}
    assert refused(budget, MANDATORY, MANDATORY, {}, {}) == []
    (problem,) = refused(budget, MANDATORY, {}, MANDATORY, MANDATORY)
    assert problem.key == "spec.channels[3].delivery[0].rate"
    assert problem.rule == (
        "link w0 from n0 to n1 has 2M for mandatory channels: 3M wanted, 1M short "
        "(ch0/iptv 1M, ch2/iptv 1M, ch3/iptv 1M)"
    )
    assert problem.remedy.startswith("lower rates by 1M")


def test_optional_channels_never_take_what_is_kept() -> None:
    (problem,) = refused({"unconstrained": "4M", "mandatory": "3M"}, {}, {})
    assert problem.rule.startswith("link w0 from n0 to n1 has 1M for optional channels: 2M wanted, 1M short")
    assert problem.key == "spec.channels[1].delivery[0].rate"


def test_without_a_mandatory_budget_all_share_one() -> None:
    assert refused({"unconstrained": "2M"}, MANDATORY, {}) == []
    (problem,) = refused({"unconstrained": "2M"}, MANDATORY, {}, {})
    assert "has 2M for multicast: 3M wanted, 1M short" in problem.rule


def test_a_bundle_caps_its_channels() -> None:
    budget = {"unconstrained": "9M", "bundles": [{"id": "sport", "limit": "1M"}]}
    assert refused(budget, {"bundle": "sport"}, {}, {}) == []
    (problem,) = refused(budget, {"bundle": "sport"}, {}, {"bundle": "sport"})
    assert problem.rule == (
        "link w0 from n0 to n1 has 1M for the bundle sport: 2M wanted, 1M short (ch0/iptv 1M, ch2/iptv 1M)"
    )


def test_a_bundle_that_no_link_knows_would_cap_nothing() -> None:
    (problem,) = refused({"unconstrained": "9M", "bundles": [{"id": "sport", "limit": "1M"}]}, {"bundle": "sprot"})
    assert (problem.key, problem.value) == ("spec.channels[0].delivery[0].bundle", "sprot")
    assert problem.remedy == "did you mean sport?"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"mandatory": "3M"}, "mandatory 3M is more than unconstrained 2M"),
        ({"bundles": [{"id": "sport", "limit": "3M"}]}, "limit 3M of the bundle sport is more than unconstrained 2M"),
        ({"bundles": [{"id": "sport", "limit": "1M"}] * 2}, "the bundle sport is listed twice"),
    ],
)
def test_budgets_that_contradict_themselves(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        refused({"unconstrained": "2M", **rule})


def test_both_legs_over_one_link_count_twice() -> None:
    (problem,) = refused({"unconstrained": "1M"}, {"protection": "hot-hot"})
    assert "2M wanted, 1M short (ch0/iptv 2M)" in problem.rule


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"link": "w9", "unconstrained": "1M"}, "no such link in the fleet"),
        ({"unconstrained": "2G"}, "more than the link's capacity, 1G"),
    ],
)
def test_rules_that_are_wrong(rule: dict[str, Any], said: str) -> None:
    assert said in [problem.rule for problem in refused(rule)]


@given(st.lists(st.booleans(), max_size=6), st.integers(1, 6), st.integers(0, 6))
def test_refused_exactly_when_a_budget_is_short(mandatory: list[bool], unconstrained: int, kept: int) -> None:
    kept = max(1, min(kept, unconstrained))
    budget = {"unconstrained": f"{unconstrained}M", "mandatory": f"{kept}M"}
    found = refused(budget, *(MANDATORY if one else {} for one in mandatory))
    short = (sum(mandatory) > kept) + (len(mandatory) - sum(mandatory) > unconstrained - kept)
    assert len(found) == short
