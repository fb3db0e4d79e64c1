"""The appliance's own switch by policy: limits, approvals, and what outlives the process."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.satellite.feed.memory import Instant, Memory
from headend.satellite.feed.policy import AS_BEFORE, Policy, Seen, rules_from
from headend.satellite.feed.service import Service
from headend.satellite.feed.switch import State
from nf.policy.model import Approve, Rules
from nf.policy.model import State as PolicyState
from tests.headend.satellite.feed.made import CONFIG, Bench

STRICT = Rules(detect_s=0.5, hold_down_s=10.0, max_per_hour=3, failback_after_s=20.0, failback_approve=Approve.OPERATOR)


def seen(*, satellite: bool | None = True, reception: bool = True, lost: bool = False, fallback: bool = True) -> Seen:
    return Seen(satellite, reception, lost, fallback)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(1, 400)), max_size=80),
    st.integers(0, 5),
    st.integers(2, 60),
    st.sampled_from(Approve),
)
def test_flapping_inputs_never_switch_more_often_than_policy_allows(
    story: list[tuple[bool, bool, bool, int]], most: int, hold_down: int, approve: Approve
) -> None:
    rules = Rules(0.5, float(hold_down), most, 5.0, approve)
    policy, now, cuts = Policy(rules, 0.0), 0.0, []
    for satellite, reception, fallback, steps in story:
        for _ in range(steps):
            now += 0.5
            before = policy.state.active
            if policy.wanted(seen(satellite=satellite, reception=reception, fallback=fallback), now) != before:
                policy.cut(now)
                cuts.append((now, policy.state.active))
        policy = Policy(rules, now, json.loads(json.dumps(policy.to_json())))  # a restart changes nothing of it
    times = [at for at, _ in cuts]
    assert all(later - earlier >= hold_down for earlier, later in pairwise(times))
    assert all(sum(at - 3600 < other <= at for other in times) <= most for at in times)


def test_the_way_back_waits_for_an_operator_and_for_the_limits() -> None:
    policy = Policy(STRICT, 0.0)
    assert policy.wanted(seen(satellite=False), 1.0) == "fallback"
    policy.cut(1.0)
    for now in range(2, 60):
        assert policy.wanted(seen(satellite=now > 5), float(now)) == "fallback"
    assert policy.waiting
    assert policy.approve()
    assert policy.wanted(seen(), 61.0) == "satellite"
    policy.cut(61.0)
    assert (policy.on_fallback, policy.waiting, policy.state.number) == (False, False, 2)
    assert not policy.approve()  # there is nothing to approve


def test_an_approval_does_not_outlive_the_next_loss() -> None:
    policy = Policy(STRICT, 0.0)
    policy.wanted(seen(satellite=False), 1.0)
    policy.cut(1.0)
    assert not policy.approve()  # it does not come
    policy.wanted(seen(), 2.0)
    assert policy.approve()
    policy.wanted(seen(), 3.0)
    policy.wanted(seen(satellite=False), 4.0)
    assert all(policy.wanted(seen(), float(now)) == "fallback" for now in range(5, 60))


def test_a_blink_that_ends_before_the_cut_costs_no_switch() -> None:
    policy = Policy(STRICT, 0.0)
    policy.wanted(seen(), 1.0)
    assert policy.wanted(seen(satellite=False), 2.0) == "fallback"
    assert policy.wanted(seen(), 2.3) == "satellite"
    assert policy.state.number == 0


def test_what_is_remembered_survives_a_restart(tmp_path: Path) -> None:
    bench = Bench(replace(CONFIG, rules=replace(AS_BEFORE, failback_approve=Approve.OPERATOR)))
    bench.run(1)
    bench.run(1.5, satellite=False)
    assert bench.service.state is State.FALLBACK
    memory = Memory(tmp_path)
    news = bench.service.news()
    assert news is not None
    assert bench.service.news() is None
    memory.note(CONFIG.key, news)
    memory.close()
    again = Memory(tmp_path)
    service = Service(bench.service.config, bench.out.append, bench.now, again.services[CONFIG.key])
    assert (service.state, service.on_fallback, service.switches) == (State.FALLBACK, True, 1)
    again.keep([])
    assert again.services == {}
    (tmp_path / "policy.json").write_text("[")
    assert Memory(tmp_path).services == {}


BEFORE = Instant("one", 1_000_000.0, 5_000.0)
SWITCHED = PolicyState(active="fallback", at=5_000.0, switches=(2_000.0, 4_990.0), number=2, waiting="satellite")


def kept(directory: Path) -> Path:
    memory = Memory(directory, BEFORE)
    memory.note("ch1/satellite", SWITCHED.to_json(), BEFORE)
    memory.close()
    return directory


def test_after_a_reboot_the_choice_holds_and_its_times_are_those_of_the_new_boot(tmp_path: Path) -> None:
    """Switched 10 s before, written, away for 90 s; the machine is up for 30 s of them."""
    found = PolicyState.from_json(Memory(kept(tmp_path), Instant("two", 1_000_090.0, 30.0)).services["ch1/satellite"])
    assert (found.active, found.number, found.waiting) == ("fallback", 2, "satellite")
    assert found.at == pytest.approx(30.0 - 90.0)
    assert found.switches == pytest.approx((30.0 - 90.0 - 3_000.0, 30.0 - 90.0 - 10.0))
    assert (found.bad_since, dict(found.up_since)) == (None, {})
    policy = Policy(replace(STRICT, max_per_hour=2), 30.0, found.to_json())
    assert policy.on_fallback
    assert all(policy.wanted(seen(), 30.0 + second) == "fallback" for second in range(600)), "nobody has approved"
    assert policy.approve()
    assert policy.wanted(seen(), 631.0) == "satellite"


def test_a_limit_counts_over_a_reboot(tmp_path: Path) -> None:
    satellite = replace(SWITCHED, active="satellite", waiting="")
    memory = Memory(tmp_path, BEFORE)
    memory.note("ch1/satellite", satellite.to_json(), BEFORE)
    memory.close()
    rules = replace(AS_BEFORE, max_per_hour=2)
    soon = Memory(tmp_path, Instant("two", 1_000_090.0, 30.0)).services["ch1/satellite"]
    assert Policy(rules, 30.0, soon).wanted(seen(satellite=False), 40.0) == "satellite"
    late = Memory(tmp_path, Instant("two", 1_003_600.0, 30.0)).services["ch1/satellite"]
    assert Policy(rules, 30.0, late).wanted(seen(satellite=False), 40.0) == "fallback"


def test_a_wall_clock_that_went_back_makes_no_limit_shorter(tmp_path: Path) -> None:
    found = PolicyState.from_json(Memory(kept(tmp_path), Instant("two", 7.0, 30.0)).services["ch1/satellite"])
    assert found.switches[-1] == pytest.approx(20.0)


def test_within_a_boot_nothing_is_moved(tmp_path: Path) -> None:
    found = Memory(kept(tmp_path), Instant("one", 2_000_000.0, 5_100.0)).services["ch1/satellite"]
    assert found == SWITCHED.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{}", '{"services": {"a": {}}}', '{"boot": 1, "wall": "x", "monotonic": 1, "services": {}}',
        '{"boot": "one", "wall": 1, "monotonic": 1, "services": {"ch1/satellite": {"active": 1}}}',
        '{"boot": "one", "wall": 1, "monotonic": 1, "services": []}', '{"ch1/satellite": {"active": "fallback"}}',
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_forgotten(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.json").write_text(text)
    assert Memory(tmp_path).services == {}


def test_a_restarted_service_goes_on_with_its_fallback_and_returns_when_approved() -> None:
    rules = replace(AS_BEFORE, failback_approve=Approve.OPERATOR)
    first = Bench(replace(CONFIG, rules=rules))
    first.run(1)
    first.run(1.5, satellite=False)
    bench = Bench(replace(CONFIG, rules=rules), first.service.policy.to_json())
    bench.run(8)
    assert (bench.service.state, bench.service.policy.waiting) == (State.FALLBACK, True)
    assert bench.service.output.packets > 0
    assert bench.service.approve()
    bench.run(1)
    assert bench.service.state is State.SATELLITE
    assert bench.errors() == 0


def test_other_limits_are_taken_without_a_break() -> None:
    bench = Bench(replace(CONFIG, rules=replace(AS_BEFORE, max_per_hour=0)))
    bench.run(1)
    bench.run(2, satellite=False)
    assert bench.service.state is State.SATELLITE
    bench.service.use(AS_BEFORE)
    bench.run(1, satellite=False)
    assert bench.service.state is State.FALLBACK


def test_the_section_says_the_rules() -> None:
    data = {"detect_ms": 300, "hold_down_ms": 2000, "max_per_hour": 7, "failback_after_ms": 1500}
    rules = rules_from({**data, "failback_approve": "operator"})
    assert rules == Rules(0.3, 2.0, 7, 1.5, Approve.OPERATOR)
    assert Policy(rules, 0.0).silence_s() == 0.3
