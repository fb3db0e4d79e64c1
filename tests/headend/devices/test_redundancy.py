"""Redundancy: the modes, and what holds over any trace of faults whatsoever."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.devices.group import Group
from headend.devices.redundancy import (
    STRANDED,
    TABLE,
    UNDER_WAY,
    Action,
    FlapLimit,
    Input,
    Mode,
    Mute,
    Settings,
    State,
    Stranded,
    Switch,
    SwitchFailed,
    transition,
)
from nf.errors import InputError, IntegrityError, NotFoundError, RefusedError

LOSS = "input-lost"


def one_plus_one(mode: Mode = Mode.REVERTING, **more: Any) -> Group:
    values: dict[str, Any] = {"switch_delay_s": 2.0, "switch_back_delay_s": 10.0, "flap": FlapLimit(1, 60.0)} | more
    return Group(Settings(mode, frozenset({LOSS}), **values), {"ch1": "a"}, ["b"])


def health(**causes: str) -> dict[str, Iterable[str]]:
    return {unit: [cause] if cause else [] for unit, cause in causes.items()}


def switches(actions: list[Action]) -> list[tuple[str, str]]:
    return [(action.source, action.target) for action in actions if isinstance(action, Switch)]


def test_a_failure_has_to_last() -> None:
    group = one_plus_one()
    assert group.update(health(a=LOSS, b=""), 100.0) == []
    assert group.next_timeout() == 102.0
    assert group.update(health(a="", b=""), 101.0) == []
    assert group.state("ch1") is State.ON_MAIN
    group.update(health(a=LOSS, b=""), 110.0)
    assert switches(group.update(health(a=LOSS, b=""), 112.0)) == [("a", "b")]
    assert group.active("ch1") == "a"
    group.finished("ch1", ok=True, now=112.5)
    assert group.active("ch1") == "b"


def switched(mode: Mode, **more: Any) -> Group:
    """On its backup since 112.5; switched at 112."""
    group = one_plus_one(mode, **more)
    group.update(health(a=LOSS, b=""), 110.0)
    group.update(health(a=LOSS, b=""), 112.0)
    group.finished("ch1", ok=True, now=112.5)
    return group


def test_reverting_goes_back_when_the_main_stays_clean() -> None:
    group = switched(Mode.REVERTING, flap=FlapLimit(2, 60.0))
    group.update(health(a="", b=""), 120.0)
    group.update(health(a=LOSS, b=""), 125.0)
    group.update(health(a="", b=""), 126.0)
    assert group.update(health(a="", b=""), 135.0) == []
    assert switches(group.update(health(a="", b=""), 136.0)) == [("b", "a")]


def test_a_return_waits_for_the_flap_window() -> None:
    group = switched(Mode.REVERTING)
    group.update(health(a="", b=""), 120.0)
    assert group.update(health(a="", b=""), 140.0) == []
    assert group.next_timeout() == 172.0
    assert switches(group.update(health(a="", b=""), 172.0)) == [("b", "a")]


def test_floating_ignores_that_the_main_is_clean_again() -> None:
    group = switched(Mode.FLOATING)
    assert group.update(health(a="", b=""), 500.0) == []
    group.update(health(a="", b=LOSS), 600.0)
    assert switches(group.update(health(a="", b=LOSS), 602.0)) == [("b", "a")]


def test_once_stays_whatever_happens() -> None:
    group = switched(Mode.ONCE)
    group.update(health(a="", b=LOSS), 600.0)
    actions = group.update(health(a="", b=LOSS), 602.0)
    assert actions == [Stranded("ch1", "b", "it has switched once and stays")]


def test_once_is_armed_again_when_somebody_has_switched_back() -> None:
    group = switched(Mode.ONCE)
    group.update(health(a="", b=""), 600.0)
    assert switches(group.switch("ch1", "a", 601.0)) == [("b", "a")]
    group.finished("ch1", ok=True, now=602.0)
    group.update(health(a=LOSS, b=""), 700.0)
    assert switches(group.update(health(a=LOSS, b=""), 702.0)) == [("a", "b")]


def test_manual_switches_by_hand_only() -> None:
    group = one_plus_one(Mode.MANUAL)
    group.update(health(a=LOSS, b=""), 0.0)
    assert group.update(health(a=LOSS, b=""), 2.0) == [Stranded("ch1", "a", "the group is switched by hand only")]
    assert switches(group.switch("ch1", "b", 3.0)) == [("a", "b")]


def test_a_backup_that_is_not_clean_does_not_take_over() -> None:
    group = one_plus_one(mute_on_error=True)
    group.update(health(a=LOSS, b=LOSS), 0.0)
    actions = group.update(health(a=LOSS, b=LOSS), 2.0)
    assert actions == [Stranded("ch1", "a", "no unit that is free and clean"), Mute("ch1", muted=True)]
    actions = group.update(health(a=LOSS, b=""), 5.0)
    assert switches(actions) == [("a", "b")]
    assert Mute("ch1", muted=False) in group.finished("ch1", ok=True, now=6.0)


def test_a_bad_backup_is_better_than_none_if_the_group_says_so() -> None:
    group = one_plus_one(backup_must_be_clean=False)
    group.update(health(a=LOSS, b=LOSS), 0.0)
    assert switches(group.update(health(a=LOSS, b=LOSS), 2.0)) == [("a", "b")]


def test_an_alarm_that_is_no_trigger_switches_nothing() -> None:
    group = one_plus_one()
    group.update(health(a="temperature-high", b=""), 0.0)
    assert group.update(health(a="temperature-high", b=""), 100.0) == []


def test_a_unit_of_which_nothing_is_known_neither_fails_nor_takes_over() -> None:
    group = one_plus_one()
    group.update(health(b=""), 0.0)
    assert group.update(health(b=""), 10.0) == []
    group.update(health(a=LOSS), 20.0)
    assert isinstance(group.update(health(a=LOSS), 22.0)[0], Stranded)


def test_the_maintenance_lock() -> None:
    group = one_plus_one()
    group.lock(locked=True, now=0.0)
    group.update(health(a=LOSS, b=""), 1.0)
    assert group.update(health(a=LOSS, b=""), 9.0) == [Stranded("ch1", "a", "the group is locked for maintenance")]
    actions = group.lock(locked=False, now=10.0)
    assert switches(actions) == [("a", "b")]
    assert Stranded("ch1", "a", "") in actions


def test_n_plus_m_takes_the_first_backup_that_is_free_and_clean() -> None:
    rules = Settings(Mode.FLOATING, frozenset({LOSS}))
    group = Group(rules, {"ch1": "a", "ch2": "b", "ch3": "c"}, ["x", "y"])
    ok = {"a": "", "b": "", "c": "", "x": "", "y": ""}
    assert switches(group.update(health(**ok | {"a": LOSS, "x": LOSS}), 0.0)) == [("a", "y")]
    group.finished("ch1", ok=True, now=1.0)
    assert switches(group.update(health(**ok | {"a": LOSS, "b": LOSS, "c": LOSS}), 2.0)) == [("b", "x")]
    assert group.state("ch3") is State.MAIN_STRANDED


def test_a_switch_that_fails_goes_on_to_the_next_backup() -> None:
    group = Group(Settings(Mode.FLOATING, frozenset({LOSS})), {"ch1": "a"}, ["x", "y"])
    assert switches(group.update(health(a=LOSS, x="", y=""), 0.0)) == [("a", "x")]
    actions = group.finished("ch1", ok=False, now=1.0)
    assert SwitchFailed("ch1", "x") in actions
    assert switches(actions) == [("a", "y")]


def test_by_hand_there_are_refusals_too() -> None:
    group = Group(Settings(Mode.MANUAL, frozenset({LOSS})), {"ch1": "a", "ch2": "b"}, ["x"])
    group.update(health(a="", b="", x=""), 0.0)
    group.switch("ch1", "x", 1.0)
    with pytest.raises(RefusedError, match="under way"):
        group.switch("ch1", "a", 1.5)
    with pytest.raises(RefusedError, match="carries another position"):
        group.switch("ch2", "x", 1.5)
    group.finished("ch1", ok=True, now=2.0)
    with pytest.raises(RefusedError, match="already"):
        group.switch("ch1", "x", 3.0)
    with pytest.raises(NotFoundError):
        group.switch("ch1", "b", 3.0)
    with pytest.raises(NotFoundError):
        group.switch("ch9", "b", 3.0)


def test_a_unit_stands_once_in_a_group() -> None:
    with pytest.raises(InputError):
        Group(Settings(Mode.MANUAL, frozenset()), {"ch1": "a"}, ["a"])


def test_what_the_table_does_not_have_is_an_error() -> None:
    with pytest.raises(IntegrityError):
        transition(State.ON_MAIN, Input.DONE)
    with pytest.raises(IntegrityError):
        one_plus_one().finished("ch1", ok=True, now=0.0)


def test_every_state_can_be_left_and_reached() -> None:
    assert {state for state, _ in TABLE} == set(State)
    assert {after for _, after in TABLE.values()} == set(State)


# ---- any trace ----

MAINS = {"p1": "a", "p2": "b"}
UNITS = ("a", "b", "x", "y")
steps = st.lists(
    st.tuples(
        st.floats(0.1, 40.0),
        st.one_of(
            st.tuples(st.just("health"), st.dictionaries(st.sampled_from(UNITS), st.booleans())),
            st.tuples(st.just("end"), st.booleans()),
            st.tuples(st.just("lock"), st.booleans()),
            st.tuples(st.just("hand"), st.tuples(st.sampled_from(sorted(MAINS)), st.sampled_from(UNITS))),
        ),
    ),
    max_size=60,
)
rules = st.builds(
    Settings,
    mode=st.sampled_from(Mode),
    triggers=st.just(frozenset({LOSS})),
    switch_delay_s=st.sampled_from([0.0, 2.0]),
    switch_back_delay_s=st.sampled_from([0.0, 10.0]),
    backup_must_be_clean=st.booleans(),
    mute_on_error=st.booleans(),
    flap=st.builds(FlapLimit, st.integers(1, 3), st.sampled_from([30.0, 90.0])),
)


@dataclass
class World:
    """What a test knows beside the group, to judge it."""

    group: Group
    now: float = 0.0
    bad: dict[str, bool] = field(default_factory=dict)
    failing_since: dict[str, float] = field(default_factory=dict)
    clean_since: dict[str, float] = field(default_factory=dict)
    locked: bool = False
    running: dict[str, Switch] = field(default_factory=dict)
    carried: dict[str, str] = field(default_factory=lambda: dict(MAINS))
    made: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MAINS})
    pending: dict[str, float] = field(default_factory=dict)

    def health(self) -> dict[str, list[str]]:
        return {unit: [LOSS] if bad else [] for unit, bad in self.bad.items()}

    def learn(self, news: dict[str, bool]) -> None:
        for unit, bad in news.items():
            if self.bad.get(unit) != bad:
                (self.failing_since if bad else self.clean_since)[unit] = self.now
            self.bad[unit] = bad


def judge(world: World, actions: list[Action]) -> None:
    rule = world.group.settings
    for action in actions:
        if not isinstance(action, Switch):
            continue
        assert action.position not in world.running, "two switches of one position at once"
        assert action.source == world.carried[action.position]
        others = {name: unit for name, unit in world.carried.items() if name != action.position}
        assert action.target not in others.values(), "a unit carries two positions"
        assert action.target not in {each.target for each in world.running.values()}
        assert action.target in (MAINS[action.position], "x", "y")
        world.running[action.position] = action
        if action.automatic:
            judge_automatic(world, rule, action)


def judge_automatic(world: World, rule: Settings, action: Switch) -> None:
    assert rule.mode is not Mode.MANUAL
    assert not world.locked
    recent = [at for at in world.made[action.position] if world.now - at < rule.flap.window_s]
    assert len(recent) < rule.flap.switches, "more automatic switches in the window than allowed"
    world.pending[action.position] = world.now
    assert action.target in world.bad, "a unit of which nothing is known took over"
    back = action.target == MAINS[action.position]
    if rule.backup_must_be_clean or back or action.source != MAINS[action.position]:
        assert not world.bad[action.target], "a unit with an alarm took over"
    if world.bad[action.source]:
        assert world.now - world.failing_since[action.source] >= rule.switch_delay_s - 1e-9
    else:
        assert rule.mode is Mode.REVERTING, "switched without a failure"
        assert back
        assert world.now - world.clean_since[action.target] >= rule.switch_back_delay_s - 1e-9


def end(world: World, position: str, *, ok: bool) -> None:
    running = world.running.pop(position)
    started = world.pending.pop(position, None)
    if ok:
        world.carried[position] = running.target
        if started is not None:
            world.made[position].append(started)
    judge(world, world.group.finished(position, ok=ok, now=world.now))
    assert world.group.active(position) == world.carried[position]


@settings(max_examples=300, deadline=None)
@given(rules, steps)
def test_over_any_trace_of_faults(rule: Settings, trace: list[Any]) -> None:
    world = World(Group(rule, MAINS, ["x", "y"]))
    for wait, (kind, what) in trace:
        until = world.now + wait
        while (due := world.group.next_timeout()) is not None and due <= until:
            world.now = max(world.now, due)
            judge(world, world.group.update(world.health(), world.now))
        world.now = until
        if kind == "health":
            world.learn(what)
            judge(world, world.group.update(world.health(), world.now))
        elif kind == "lock":
            world.locked = what
            judge(world, world.group.lock(locked=what, now=world.now))
        elif kind == "end" and world.running:
            end(world, min(world.running), ok=what)
        elif kind == "hand":
            with suppress(RefusedError, NotFoundError):
                judge(world, world.group.switch(*what, world.now))
        for position in MAINS:
            assert (world.group.state(position) in UNDER_WAY) == (position in world.running)


@settings(max_examples=200, deadline=None)
@given(rules, steps)
def test_a_muted_position_is_heard_again_and_a_stranded_one_is_told(rule: Settings, trace: list[Any]) -> None:
    group = Group(rule, MAINS, ["x", "y"])
    muted, stranded = dict.fromkeys(MAINS, False), dict.fromkeys(MAINS, False)
    now, bad = 0.0, {}

    def follow(actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Mute):
                assert action.muted != muted[action.position]
                muted[action.position] = action.muted
            elif isinstance(action, Stranded):
                stranded[action.position] = bool(action.reason)

    for wait, (kind, what) in trace:
        now += wait
        if kind == "health":
            bad |= what
        follow(group.update({unit: [LOSS] if each else [] for unit, each in bad.items()}, now))
        for position in MAINS:
            if kind == "end" and group.state(position) in UNDER_WAY:
                follow(group.finished(position, ok=what, now=now))
            if group.state(position) in (State.ON_MAIN, State.ON_BACKUP, State.RETURN_WAIT):
                assert not muted[position]
            assert stranded[position] == (group.state(position) in STRANDED)
            assert rule.mute_on_error or not muted[position]
