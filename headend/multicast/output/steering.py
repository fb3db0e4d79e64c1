"""From which neighbour a source is taken, when what comes from it falls silent though the route is fine: MoFRR-like
(RFC 7431), by moving the route to the source. Sans-IO, explicit time.

A route belongs to a source, not to a channel: so only a silence of everything that the source sends by one way counts
as a fault of that way. One channel that is silent beside others is a channel that nobody sends.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Address

from headend.multicast.output.switch import Beat, TransitionError

TRY_S = 1.0
"""So long one way is tried: a join takes some 10 ms, a route until pimd follows it some more."""
GRACE_S = 0.1
"""So long the stream may be away while it changes over to the way home."""
PROOF_S = 2.0
"""So long the stream has to come by the way home before that is trusted."""
HOLD_S, HOLD_MAX_S = 30.0, 600.0
"""A way that works is held so long, twice as long after each return that failed."""
REST_S, REST_MAX_S = 5.0, 300.0
"""Nothing came by any way: so long nothing is tried, twice as long each time. A dead source must not move routes."""


class State(Enum):
    HOME = "home"  # the routing protocol's own way
    TRYING = "trying"  # an alternate, to see whether the stream comes
    MOVED = "moved"  # an alternate by which it comes
    RETURNING = "returning"  # home again, to see whether the stream comes
    RESTING = "resting"  # home, since nothing comes by any way


class Input(Enum):
    SILENT = "silent"
    FLOWS = "flows"
    OVER = "over"  # the time of the state is over
    EXHAUSTED = "exhausted"  # every way was tried


TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (State.HOME, Input.SILENT): State.TRYING,
    (State.TRYING, Input.FLOWS): State.MOVED,
    (State.TRYING, Input.OVER): State.TRYING,
    (State.TRYING, Input.EXHAUSTED): State.RESTING,
    (State.MOVED, Input.SILENT): State.TRYING,
    (State.MOVED, Input.OVER): State.RETURNING,
    (State.RETURNING, Input.SILENT): State.TRYING,
    (State.RETURNING, Input.OVER): State.HOME,
    (State.RESTING, Input.FLOWS): State.HOME,
    (State.RESTING, Input.OVER): State.TRYING,
}

Beats = Mapping[Hashable, Beat]
Ways = Mapping[Hashable, Hashable]
"""Feed -> by which interface it comes now; feeds that are absent come by an unknown one, all by the same."""


def step(state: State, given: Input) -> State:
    """Raises TransitionError."""
    try:
        return TRANSITIONS[state, given]
    except KeyError:
        raise TransitionError(f"{given.value} in state {state.value}") from None


class Steering:
    """One source. `via`: the neighbour that the route is to lead to now; None: none of ours."""

    def __init__(self, now: float) -> None:
        self.state = State.HOME
        self.via: IPv4Address | None = None
        self.moves = 0
        self._since = now
        self._begun_at = now
        self._left: list[IPv4Address] = []
        self._victims: frozenset[Hashable] = frozenset()
        self._worked: IPv4Address | None = None
        self._hold_s = HOLD_S
        self._rest_s = REST_S

    def suspects(self, beats: Beats, now: float) -> bool:
        """Whether anything is silent that should come: then it is worth while to find out by which way."""
        return any(beat.silent(now) and self._due(beat, now) for beat in beats.values())

    def tick(self, beats: Beats, ways: Ways, alternates: Sequence[IPv4Address], now: float) -> None:
        """`beats`: of its feeds; `alternates`: neighbours in the order in which they are to be tried."""
        match self.state:
            case State.HOME | State.RESTING:
                self._at_home(beats, ways, alternates, now)
            case State.TRYING:
                if self._came(beats, now):
                    self._go(Input.FLOWS, now)
                    self._worked = self.via
                elif now - self._since > TRY_S:
                    self._next(Input.OVER, now)
            case State.MOVED:
                self._moved(beats, alternates, now)
            case State.RETURNING:
                self._returning(beats, alternates, now)

    def _at_home(self, beats: Beats, ways: Ways, alternates: Sequence[IPv4Address], now: float) -> None:
        if self.state is State.HOME:
            if self.suspects(beats, now) and self._blame(beats, ways, now):
                if now - self._since > REST_MAX_S:
                    self._rest_s = REST_S
                self._begin(Input.SILENT, alternates, now)
        elif self._came(beats, now):
            self._go(Input.FLOWS, now)
        elif now - self._since > self._rest_s and self._blame(beats, ways, now):
            self._rest_s = min(2 * self._rest_s, REST_MAX_S)
            self._begin(Input.OVER, alternates, now)

    def _moved(self, beats: Beats, alternates: Sequence[IPv4Address], now: float) -> None:
        """A feed that was set anew and has not come yet is no silence of the way by which it came before."""
        if self._quiet(beats, now) and any(beat.last_at is not None for beat in self._of(beats)):
            self._next(Input.SILENT, now, [via for via in alternates if via != self.via])
        elif now - self._since > self._hold_s:
            self._home(Input.OVER, now)

    def _returning(self, beats: Beats, alternates: Sequence[IPv4Address], now: float) -> None:
        if self._quiet(beats, now) and now - self._since > GRACE_S:
            self._hold_s = min(2 * self._hold_s, HOLD_MAX_S)
            self._begin(Input.SILENT, sorted(alternates, key=lambda via: via != self._worked), now)
        elif now - self._since > PROOF_S and not self._quiet(beats, now):
            self._hold_s, self._rest_s = HOLD_S, REST_S
            self._home(Input.OVER, now)

    def _blame(self, beats: Beats, ways: Ways, now: float) -> bool:
        """Find the feeds of every way by which nothing comes at all, though it should."""
        silent: dict[Hashable, bool] = {}
        due: dict[Hashable, bool] = {}
        for feed, beat in beats.items():
            way = ways.get(feed)
            silent[way] = silent.get(way, True) and beat.silent(now)
            due[way] = due.get(way, False) or self._due(beat, now)
        self._victims = frozenset(feed for feed in beats if silent[ways.get(feed)] and due[ways.get(feed)])
        return bool(self._victims)

    def _due(self, beat: Beat, now: float) -> bool:
        """Whether it has come before, or has had the time to."""
        return beat.last_at is not None or now - self._begun_at > REST_S

    def _of(self, beats: Beats) -> list[Beat]:
        """Of the feeds that were silent; of all, where none of these is left."""
        return [beat for feed, beat in beats.items() if feed in self._victims] or [*beats.values()]

    def _came(self, beats: Beats, now: float) -> bool:
        """Whether any of the feeds that were silent has come since this state began, and still comes."""
        came = [beat for beat in self._of(beats) if beat.last_at is not None and beat.last_at >= self._since]
        return any(not beat.silent(now) for beat in came)

    def _quiet(self, beats: Beats, now: float) -> bool:
        return all(beat.silent(now) for beat in self._of(beats))

    def _begin(self, given: Input, alternates: Sequence[IPv4Address], now: float) -> None:
        self._next(given, now, list(alternates))

    def _next(self, given: Input, now: float, left: list[IPv4Address] | None = None) -> None:
        """Try the next way; without one, go home and rest."""
        if left is not None:
            self._left = left
        if self._left:
            self.via = self._left.pop(0)
            self.moves += 1
            self._go(given, now)
            return
        if self.state is not State.TRYING:
            self._go(given, now)
        self._home(Input.EXHAUSTED, now)

    def _home(self, given: Input, now: float) -> None:
        self.via = None
        self._go(given, now)

    def _go(self, given: Input, now: float) -> None:
        self.state = step(self.state, given)
        self._since = now
