"""The switching engine: what it does, and what it never does whatever comes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nf.contracts.paths import Verdict
from nf.errors import IntegrityError
from nf.policy.engine import ENTER, LEAVE, RANK, TABLE, Finding, Kind, adopt, next_due, order, step
from nf.policy.model import HOUR_S, Approve, Candidate, Phase, Rules, State

UP, DEGRADED, DOWN, UNKNOWN = Verdict.UP, Verdict.DEGRADED, Verdict.DOWN, Verdict.UNKNOWN
RULES = Rules()
AUTO = replace(RULES, failback_approve=Approve.AUTO)


@dataclass
class Channel:
    """A channel whose two or three paths are told how they are."""

    rules: Rules = RULES
    state: State | None = None
    clear: tuple[bool, ...] = (True, True, True)

    def at(self, now: float, *verdicts: Verdict, approvals: frozenset[str] = frozenset(), held: bool = False) -> str:
        """The actions, as words."""
        named = zip("abc", verdicts, self.clear, strict=False)
        paths = [Candidate(name, verdict, number, clear) for number, (name, verdict, clear) in enumerate(named)]
        self.state, actions = step(self.state, self.rules, paths, now, approvals=approvals, held=held)
        return " ".join(f"{action.kind.value}:{action.source}>{action.target}" for action in actions)

    @property
    def now_on(self) -> tuple[str, Phase]:
        assert self.state is not None
        return self.state.active, self.state.phase


def test_the_first_path_is_taken_at_first_whatever_it_is_like() -> None:
    channel = Channel()
    assert channel.at(0, DOWN, UP) == ""
    assert channel.now_on == ("a", Phase.SUSPECT)


def test_a_path_counts_as_bad_only_after_detect() -> None:
    channel = Channel()
    channel.at(0, UP, UP)
    assert channel.at(1, DOWN, UP) == ""
    assert channel.at(1.4, UP, UP) == ""  # it came back
    assert channel.at(1.5, DOWN, UP) == ""
    assert channel.at(1.9, DOWN, UP) == ""
    assert channel.state is not None
    assert next_due(channel.state, RULES) == 2.0
    assert channel.at(2.0, DOWN, UP) == "failover:a>b"
    assert channel.now_on == ("b", Phase.SETTLED)


def test_the_way_back_waits_for_its_time_and_then_for_an_operator() -> None:
    channel = Channel()
    channel.at(0, DOWN, UP)
    assert channel.at(1, DOWN, UP) == "failover:a>b"
    assert channel.at(10, UP, UP) == ""
    assert channel.now_on == ("b", Phase.RETURNING)
    assert channel.at(309, UP, UP) == ""
    assert channel.at(310, UP, UP) == "ask:b>a"
    assert channel.now_on == ("b", Phase.WAITING)
    assert channel.at(900, UP, UP) == ""  # for as long as it takes
    assert channel.at(901, UP, UP, approvals=frozenset({"a"})) == "asked-enough:b>a failback:b>a"
    assert channel.now_on == ("a", Phase.SETTLED)


def test_an_approval_that_comes_early_counts_when_the_time_is_over_and_ends_when_the_path_goes_down() -> None:
    channel = Channel()
    channel.at(0, DOWN, UP)
    channel.at(1, DOWN, UP)
    assert channel.at(10, UP, UP, approvals=frozenset({"a"})) == ""
    assert channel.at(310, UP, UP) == "failback:b>a"
    channel.at(400, DOWN, UP)
    channel.at(401, DOWN, UP)
    assert channel.at(410, UP, UP, approvals=frozenset({"a"})) == ""
    assert channel.at(420, DEGRADED, UP) == ""
    assert channel.at(430, UP, UP) == ""
    assert channel.at(730, UP, UP) == "ask:b>a"


def test_what_waits_is_told_again_when_it_changes_and_no_longer_when_it_is_over() -> None:
    channel = Channel(replace(RULES, failback_after_s=10))
    channel.at(0, DOWN, DOWN, UP)
    assert channel.at(1, DOWN, DOWN, UP) == "failover:a>c"
    channel.at(40, DOWN, UP, UP)
    assert channel.at(50, DOWN, UP, UP) == "ask:c>b"
    channel.at(51, UP, UP, UP)
    assert channel.at(61, UP, UP, UP) == "asked-enough:c>b ask:c>a"
    assert channel.at(62, DOWN, DOWN, UP) == "asked-enough:c>a"


def test_no_switch_within_hold_down_and_no_more_than_the_hour_has_room_for() -> None:
    channel = Channel(replace(AUTO, failback_after_s=0, max_per_hour=2))
    channel.at(0, DOWN, UP)
    assert channel.at(1, DOWN, UP) == "failover:a>b"
    assert channel.at(2, UP, DOWN) == ""
    assert channel.at(3, UP, DOWN) == "barred:b>a"
    assert channel.at(31, UP, DOWN) == "freed:b> failover:b>a"
    assert channel.at(62, DOWN, UP) == ""
    assert channel.at(63, DOWN, UP) == "barred:a>b"
    assert channel.at(3600, DOWN, UP) == ""
    assert channel.at(3601, DOWN, UP) == "freed:a> failover:a>b"


def test_max_per_hour_zero_means_that_a_person_has_to_act() -> None:
    channel = Channel(replace(RULES, max_per_hour=0))
    channel.at(0, DOWN, UP)
    assert channel.at(1, DOWN, UP) == "barred:a>b"
    assert channel.at(1e6, DOWN, UP) == ""


def test_a_degraded_path_is_left_for_one_that_is_up_only() -> None:
    channel = Channel()
    channel.at(0, UP, UP)
    channel.at(1, DEGRADED, DEGRADED)
    assert channel.at(100, DEGRADED, DEGRADED) == ""
    assert channel.at(101, DEGRADED, UP) == "failover:a>b"
    # and the way back to one that is better is no failover while this one delivers
    assert channel.at(200, UP, DEGRADED) == ""
    assert channel.at(500, UP, DEGRADED) == "ask:b>a"


def test_the_best_of_what_there_is_and_the_preferred_of_equals() -> None:
    channel = Channel()
    channel.at(0, DOWN, DEGRADED, UP)
    assert channel.at(1, DOWN, DEGRADED, UP) == "failover:a>c"
    other = Channel()
    other.at(0, DOWN, UNKNOWN, DOWN)
    assert other.at(1, DOWN, UNKNOWN, DOWN) == "failover:a>b"  # nobody knows is better than it is known to be down
    third = Channel()
    third.at(0, UNKNOWN, UP)
    assert third.at(100, UNKNOWN, UP) == ""  # not to be measured is no fault


def test_a_scrambled_path_is_not_replaced_by_a_clear_one() -> None:
    channel = Channel(clear=(False, True, False))
    channel.at(0, DOWN, UP, DOWN)
    assert channel.at(1, DOWN, UP, DOWN) == "barred:a>"
    assert channel.at(2, DOWN, UP, UP) == "freed:a> failover:a>c"
    assert channel.at(1000, DOWN, UP, UP) == ""  # nor is the clear one a way back
    allowed = Channel(replace(RULES, allow_clear=True), clear=(False, True, False))
    allowed.at(0, DOWN, UP, DOWN)
    assert allowed.at(1, DOWN, UP, DOWN) == "failover:a>b"


def test_a_held_channel_stays_where_it_is() -> None:
    channel = Channel()
    channel.at(0, DOWN, UP, held=True)
    assert channel.at(1, DOWN, UP, held=True) == "barred:a>b"
    assert channel.at(2, DOWN, UP) == "freed:a> failover:a>b"


def test_a_clock_that_is_set_back_takes_what_is_remembered_with_it() -> None:
    channel = Channel()
    channel.at(10_000, DOWN, UP)
    assert channel.at(10_001, DOWN, UP) == "failover:a>b"
    assert channel.at(500, UP, DOWN) == ""
    assert channel.at(501, UP, DOWN) == "barred:b>a"
    assert channel.at(529.9, UP, DOWN) == ""
    assert channel.at(530.1, UP, DOWN) == "freed:b> failover:b>a"


def test_a_path_that_left_the_line_up_is_left_at_once() -> None:
    state, _ = step(None, RULES, [Candidate("x", UP), Candidate("y", UP)], 0)
    state, actions = step(state, RULES, [Candidate("y", UP), Candidate("z", UP)], 1)
    assert [action.kind for action in actions] == [Kind.RESTART]
    assert state.active == "y"


def test_what_somebody_else_has_switched_counts_as_a_switch() -> None:
    channel = Channel(AUTO)
    channel.at(0, UP, UP)
    assert channel.state is not None
    channel.state = adopt(channel.state, "b", 1)
    assert channel.state.number == 1
    assert adopt(channel.state, "b", 2).number == 1
    assert channel.at(2, UP, UP) == ""
    assert channel.at(302, UP, UP) == "failback:b>a"  # not sooner, although a was up all the time


def test_every_finding_has_its_row_and_phases_tell_when_they_begin_and_end() -> None:
    assert set(TABLE) == set(Finding)
    assert set(ENTER) == set(LEAVE)


def test_candidates_are_refused_when_they_are_none_or_two_of_one_name() -> None:
    with pytest.raises(ValueError, match="one or more"):
        order([])
    with pytest.raises(ValueError, match="own name"):
        order([Candidate("a", UP), Candidate("a", DOWN)])


@pytest.mark.parametrize("broken", ["null", "[]", "{}", '{"active": 1}', '"text"'])
def test_what_is_no_state_is_refused(broken: str) -> None:
    with pytest.raises(IntegrityError):
        State.from_json(json.loads(broken))


# ---- whatever comes ----

verdicts = st.sampled_from([*Verdict, UP, DOWN])
moments = st.tuples(
    st.sampled_from([0.05, 0.3, 1.0, 7.0, 31.0, 400.0, 2000.0]),
    st.tuples(verdicts, verdicts, verdicts),
    st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"a"}), frozenset({"b"})]),
    st.sampled_from([False, False, False, False, True]),
)
rules = st.builds(
    Rules,
    detect_s=st.sampled_from([0.1, 0.5, 5.0]),
    hold_down_s=st.sampled_from([1.0, 30.0, 300.0]),
    max_per_hour=st.integers(0, 5),
    failback_after_s=st.sampled_from([0.0, 5.0, 300.0]),
    failback_approve=st.sampled_from(Approve),
    allow_clear=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(rules, st.lists(moments, min_size=3, max_size=60), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_flapping_input_never_breaks_the_laws(
    given_rules: Rules,
    trace: list[tuple[float, tuple[Verdict, ...], frozenset[str], bool]],
    clear: tuple[bool, bool, bool],
) -> None:
    state: State | None = None
    now, switched, approved = 1_000_000.0, [], set[str]()
    up_since: dict[str, float] = {}
    for pause, found, approvals, held in trace:
        now += pause
        paths = [Candidate(name, found[i], i, clear[i]) for i, name in enumerate("abc")]
        by_name = {one.path: one for one in paths}
        up_since = {one.path: up_since.get(one.path, now) for one in paths if one.verdict is UP}
        approved = (approved | approvals) & up_since.keys()
        before = state
        state, actions = step(before, given_rules, paths, now, approvals=approvals, held=held)
        assert step(before, given_rules, list(paths), now, approvals=approvals, held=held) == (state, actions)
        assert State.from_json(json.loads(json.dumps(state.to_json()))) == state
        due = next_due(state, given_rules)
        assert due is None or due > now
        made = [action for action in actions if action.switches]
        assert len(made) <= 1
        for action in made:
            assert not held
            source, target = by_name[action.source], by_name[action.target]
            assert RANK[target.verdict] < RANK[source.verdict] or action.kind is Kind.FAILBACK
            if not given_rules.allow_clear and target.path != "a":
                assert source.clear or not target.clear
            if action.kind is Kind.FAILBACK:
                assert target.verdict is UP
                assert "abc".index(target.path) < "abc".index(source.path)
                assert now - up_since[target.path] >= given_rules.failback_after_s
                if given_rules.failback_approve is Approve.OPERATOR:
                    assert target.path in approved
            else:
                assert before is not None
                assert before.bad_since is not None or given_rules.detect_s == 0
            switched.append(now)
            approved = set()
    pairs = zip(switched, switched[1:], strict=False)
    assert all(later - sooner >= given_rules.hold_down_s for sooner, later in pairs)
    for moment in switched:
        assert sum(moment - HOUR_S < other <= moment for other in switched) <= given_rules.max_per_hour


@settings(deadline=None)
@given(rules, st.lists(moments, max_size=40), st.integers(0, 39))
def test_a_restart_in_between_changes_nothing(
    given_rules: Rules, trace: list[tuple[float, tuple[Verdict, ...], frozenset[str], bool]], cut: int
) -> None:
    plain: State | None = None
    stored: State | None = None
    now = 0.0
    for number, (pause, found, approvals, held) in enumerate(trace):
        now += pause
        paths = [Candidate(name, found[i], i) for i, name in enumerate("abc")]
        plain, first = step(plain, given_rules, paths, now, approvals=approvals, held=held)
        stored, second = step(stored, given_rules, paths, now, approvals=approvals, held=held)
        assert first == second
        if number == cut:
            stored = State.from_json(json.loads(json.dumps(stored.to_json())))
