from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.output import steering, switch
from headend.multicast.output.steering import GRACE_S, HOLD_S, PROOF_S, REST_S, TRY_S, Steering
from headend.multicast.output.switch import SILENCE_S, SOUND_S, Beat, Switch

INTERVAL_S = 0.003
FIRST, SECOND = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.3")


def test_the_tables_refuse_what_cannot_be() -> None:
    with pytest.raises(switch.TransitionError):
        switch.step(switch.State.FIRST, switch.Input.SOUND)
    with pytest.raises(switch.TransitionError):
        steering.step(steering.State.HOME, steering.Input.FLOWS)


def play(one: Switch, at: float, seconds: float, *feeds: int) -> tuple[float, list[float]]:
    """Packets of these feeds, one after another; when it is over, and when anything went out."""
    out = []
    for n in range(round(seconds / INTERVAL_S)):
        for feed in feeds:
            when = at + n * INTERVAL_S + feed * 0.001
            if one.take(feed, when):
                out.append(when)
    return at + seconds, out


def test_a_silent_feed_is_left_after_30_ms_and_taken_again_when_it_is_sound() -> None:
    one = Switch(2)
    at, _ = play(one, 10.0, 1.0, 0, 1)
    assert one.active == 0
    left, out = play(one, at, 1.0, 1)
    assert one.active == 1
    assert SILENCE_S <= out[0] - (at - INTERVAL_S) < SILENCE_S + 2 * INTERVAL_S
    at, _ = play(one, left, SOUND_S - 0.1, 0, 1)
    assert one.active == 1
    at, _ = play(one, at, 0.2, 0, 1)
    assert (one.active, one.switches) == (0, 2)


def test_the_first_is_taken_at_once_when_the_second_starves() -> None:
    one = Switch(2)
    at, _ = play(one, 10.0, 1.0, 0, 1)
    at, _ = play(one, at, 1.0, 1)
    play(one, at, 0.1, 0)
    assert one.active == 0


def test_a_slow_feed_is_given_five_intervals() -> None:
    beat = Beat()
    for n in range(200):
        beat.take(n * 0.04)
    assert beat.limit_s == pytest.approx(0.2)
    assert beat.silences == 0
    assert not beat.silent(199 * 0.04 + 0.19)
    assert beat.silent(199 * 0.04 + 0.21)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), max_size=100))
def test_one_feed_is_in_use_whatever_comes(story: list[tuple[int, float]]) -> None:
    one, at = Switch(2), 0.0
    for feed, later in story:
        at += later
        assert one.take(feed, at) == (feed == one.active)


class Source:
    """A source with feeds; `alive`: the ways by which they come (None: home)."""

    def __init__(self, *feeds: str, alternates: tuple[IPv4Address, ...] = (FIRST, SECOND)) -> None:
        self.now = 100.0
        self.steering = Steering(self.now)
        self.beats = {feed: Beat() for feed in feeds}
        self.ways: dict[str, str] = {}
        self.alternates = alternates
        self.alive: set[IPv4Address | None] = {None}
        self.mute: set[str] = set()
        self.longest_s = 0.0
        self.installed: list[IPv4Address | None] = []

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 0.01
            for feed, beat in self.beats.items():
                if self.steering.via in self.alive and feed not in self.mute:
                    beat.take(self.now)
            before = self.steering.via
            self.steering.tick(dict(self.beats), dict(self.ways), self.alternates, self.now)
            if self.steering.via != before:
                self.installed.append(self.steering.via)


def test_a_silent_way_is_left_for_the_next_and_returned_to_with_patience() -> None:
    source = Source("ch1", "ch2")
    source.run(2)
    source.alive = {SECOND}
    source.run(0.2)
    assert source.installed == [FIRST]
    source.run(TRY_S + 0.2)
    assert source.installed == [FIRST, SECOND]
    assert source.steering.state is steering.State.MOVED
    source.run(HOLD_S + GRACE_S + 0.2)  # home is still dead: what worked is taken at once
    assert source.installed == [FIRST, SECOND, None, SECOND]
    source.run(HOLD_S + 1)
    assert source.steering.via == SECOND
    source.alive = {None, SECOND}
    source.run(HOLD_S + PROOF_S + 2)
    assert source.installed == [FIRST, SECOND, None, SECOND, None]
    assert source.steering.state is steering.State.HOME


def test_a_dead_source_moves_its_route_less_and_less() -> None:
    source = Source("ch1")
    source.run(2)
    source.alive = set()
    source.run(2 * TRY_S + 0.5)
    assert source.installed == [FIRST, SECOND, None]
    source.run(600)
    tried = source.installed.count(FIRST)
    assert 4 <= tried <= 9
    source.run(600)
    assert source.installed.count(FIRST) - tried <= 3
    source.alive = {None}
    source.run(400)
    assert source.steering.state is steering.State.HOME


def test_a_channel_that_nobody_sends_moves_nothing_while_others_come_the_same_way() -> None:
    source = Source("ch1", "ch2")
    source.mute = {"ch2"}
    source.run(60)
    source.mute = {"ch1"}
    source.run(60)
    assert source.installed == []


def test_what_comes_by_another_interface_does_not_hide_a_silent_way() -> None:
    source = Source("ch1", "ch2")
    source.ways = {"ch1": "eth1", "ch2": "eth2"}
    source.run(2)
    source.mute = {"ch1"}
    source.run(0.2)
    assert source.installed == [FIRST]


def test_without_alternates_nothing_is_done() -> None:
    source = Source("ch1", alternates=())
    source.run(2)
    source.alive = set()
    source.run(60)
    assert source.installed == []
    source.alive = {None}
    source.run(REST_S + 1)
    assert source.steering.state is steering.State.HOME


def moved() -> Source:
    source = Source("ch1", "ch2")
    source.alive = {None, FIRST}
    source.ways = {"ch1": "eth1", "ch2": "eth2"}
    source.run(2)
    source.mute = {"ch1"}
    source.run(0.1)
    source.mute = set()
    source.run(1)
    assert (source.steering.state, source.steering.via) == (steering.State.MOVED, FIRST)
    return source


def test_a_channel_that_is_set_anew_by_a_way_that_works_does_not_leave_it() -> None:
    source = moved()
    source.beats["ch1"], source.mute = Beat(), {"ch1"}
    source.run(0.02)
    source.mute = set()
    source.run(HOLD_S / 2)
    assert source.installed == [FIRST]


def test_a_channel_that_is_taken_away_leaves_the_others_on_their_way() -> None:
    source = moved()
    del source.beats["ch1"]
    source.run(HOLD_S / 2)
    assert source.installed == [FIRST]
    source.run(HOLD_S)
    assert source.installed == [FIRST, None]
    assert source.steering.state is steering.State.HOME


@settings(deadline=None)
@given(st.lists(st.tuples(st.sets(st.sampled_from([None, FIRST, SECOND])), st.floats(0.05, 3)), max_size=12))
def test_any_story_ends_at_home_or_where_it_flows(story: list[tuple[set[IPv4Address | None], float]]) -> None:
    source = Source("ch1", "ch2")
    for alive, seconds in story:
        source.alive = alive
        source.run(seconds)
    source.alive = {None, FIRST, SECOND}
    source.run(5)
    assert source.steering.state in {steering.State.HOME, steering.State.MOVED, steering.State.RETURNING}
