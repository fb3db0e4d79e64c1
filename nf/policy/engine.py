"""The switching policy of one channel at one place: (state, rules, candidates, now) -> (state, actions). Pure.

Three laws hold whatever the input is: no two switches within `hold_down`; no more than `max_per_hour` in any hour; no
return to a better path that policy leaves to an operator, without his approval.

Each call finds what the situation is (`Finding`); a table says what phase that is and what is done about it. Nothing is
remembered outside `State`, which is plain JSON, so that a restart goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from nf.contracts.paths import Verdict
from nf.policy.model import HOUR_S, Approve, Candidate, Phase, Rules, State

RANK: Final[Mapping[Verdict, int]] = {Verdict.UP: 0, Verdict.DEGRADED: 1, Verdict.UNKNOWN: 2, Verdict.DOWN: 3}
"""The less, the better."""


class Kind(StrEnum):
    FAILOVER = "failover"  # switch now: the active path is bad
    FAILBACK = "failback"  # switch now: a path that is preferred has been sound for long enough
    ASK = "ask"  # tell an operator that the way back waits for him
    ASKED_ENOUGH = "asked-enough"  # it does not wait any more
    BARRED = "barred"  # the active path is bad, and it has to stay
    FREED = "freed"  # it has not to stay any more, or it is good again
    RESTART = "restart"  # switch now: the active path is not among the candidates any more


@dataclass(frozen=True, slots=True)
class Action:
    """`source` and `target`: paths; for ASK the target is the path that waits. `reason`: one line for an operator."""

    kind: Kind
    source: str
    target: str
    reason: str

    @property
    def switches(self) -> bool:
        return self.kind in {Kind.FAILOVER, Kind.FAILBACK, Kind.RESTART}


class Finding(StrEnum):
    FINE = "fine"  # the active path serves, and none that is preferred has come back
    BAD = "bad"  # it does not, but not for `detect`
    DUE = "due"  # it does not for long enough, and the next path may be taken
    STUCK = "stuck"  # likewise, and none may be taken now
    BETTER = "better"  # a preferred path is up, but not for long enough, or the limits do not allow the way back yet
    RIPE = "ripe"  # it is for long enough, and nobody has approved
    BACK = "back"  # the way back is to be taken


TABLE: Final[Mapping[Finding, tuple[Phase, Kind | None]]] = {
    Finding.FINE: (Phase.SETTLED, None),
    Finding.BAD: (Phase.SUSPECT, None),
    Finding.DUE: (Phase.SETTLED, Kind.FAILOVER),
    Finding.STUCK: (Phase.BARRED, None),
    Finding.BETTER: (Phase.RETURNING, None),
    Finding.RIPE: (Phase.WAITING, None),
    Finding.BACK: (Phase.SETTLED, Kind.FAILBACK),
}
ENTER: Final[Mapping[Phase, Kind]] = {Phase.WAITING: Kind.ASK, Phase.BARRED: Kind.BARRED}
LEAVE: Final[Mapping[Phase, Kind]] = {Phase.WAITING: Kind.ASKED_ENOUGH, Phase.BARRED: Kind.FREED}


@dataclass(frozen=True, slots=True)
class _View:
    """What one call works with. `ordered`: the candidates, the preferred first."""

    state: State
    rules: Rules
    ordered: tuple[Candidate, ...]
    now: float
    held: bool

    @property
    def active(self) -> Candidate:
        return next(one for one in self.ordered if one.path == self.state.active)

    @property
    def free_at(self) -> float:
        """From when on the limits allow a switch."""
        return _free_at(self.state, self.rules)


def step(
    state: State | None,
    rules: Rules,
    candidates: Sequence[Candidate],
    now: float,
    *,
    approvals: AbstractSet[str] = frozenset(),
    held: bool = False,
) -> tuple[State, tuple[Action, ...]]:
    """What to do now. Pure and deterministic; the order of `candidates` counts among those of one priority.

    state      None at the very first: the preferred path is active, without an action
    now        seconds since the epoch. When it goes back, what has been waited for stays waited for
    approvals  paths that an operator lets return; one counts while its path is up, until the next switch
    held       an operator holds the channel: nothing is switched, everything else goes on

    Raises ValueError when there is no candidate, or two of one name.
    """
    ordered = order(candidates)
    if state is None:
        state = State(active=ordered[0].path, at=now)
    state = _at(state, now)
    if state.active not in {one.path for one in ordered}:
        return _restart(state, ordered, now)
    state = _observed(state, ordered, now, approvals)
    view = _View(state, rules, ordered, now, held)
    finding, target, reason = _find(view)
    phase, kind = TABLE[finding]
    actions = list(_passing(state, phase, target, reason))
    state = replace(state, phase=phase, waiting=target if phase is Phase.WAITING else "")
    if kind is not None:
        actions.append(Action(kind, state.active, target, reason))
        state = _switched(state, target, now)
    return state, tuple(actions)


def order(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The preferred first. Raises ValueError when there is none, or two of one name."""
    names = [one.path for one in candidates]
    if not names or len(set(names)) != len(names):
        raise ValueError("paths to choose from are one or more, each of its own name")
    return tuple(sorted(candidates, key=lambda one: one.priority))


def adopt(state: State, path: str, now: float) -> State:
    """Somebody who may act alone has switched to `path`: it counts as a switch, whatever the limits say. Pure."""
    state = _at(state, now)
    return state if state.active == path else _switched(state, path, now)


def next_due(state: State, rules: Rules) -> float | None:
    """When `step` may find something new although no verdict changes; None: never. `now` of the last call or later."""
    times = []
    if state.phase in {Phase.SUSPECT, Phase.BARRED} and state.bad_since is not None:
        times += [state.bad_since + rules.detect_s, _free_at(state, rules)]
    if state.phase is Phase.RETURNING:
        times += [since + rules.failback_after_s for since in state.up_since.values()]
        times.append(_free_at(state, rules))
    return min((time for time in times if time > state.at), default=None)


# ---- what is remembered ----


def _at(state: State, now: float) -> State:
    """At this time. A clock that was set back takes all that is remembered with it."""
    back = state.at - now
    if back > 0:
        state = replace(
            state,
            bad_since=None if state.bad_since is None else state.bad_since - back,
            up_since={path: since - back for path, since in state.up_since.items()},
            switches=tuple(time - back for time in state.switches),
        )
    kept = tuple(time for time in state.switches if time > now - HOUR_S)
    last = state.switches[-1:]  # `hold_down` may be longer than an hour
    return replace(state, at=now, switches=kept or last)


def _observed(state: State, ordered: Sequence[Candidate], now: float, approvals: AbstractSet[str]) -> State:
    up = {one.path for one in ordered if one.verdict is Verdict.UP}
    active = next(one for one in ordered if one.path == state.active)
    bad = active.verdict in {Verdict.DOWN, Verdict.DEGRADED}
    above = {one.path for one in ordered[: ordered.index(active)]}
    return replace(
        state,
        bad_since=(now if state.bad_since is None else state.bad_since) if bad else None,
        up_since={path: state.up_since.get(path, now) for path in sorted(up)},
        approved=frozenset((state.approved | approvals) & up & above),
    )


def _switched(state: State, target: str, now: float) -> State:
    return replace(
        state,
        active=target,
        phase=Phase.SETTLED,
        bad_since=None,
        up_since={},
        switches=(*state.switches, now),
        approved=frozenset(),
        number=state.number + 1,
        waiting="",
    )


def _restart(state: State, ordered: Sequence[Candidate], now: float) -> tuple[State, tuple[Action, ...]]:
    """The line-up took the active path away: that is its author's switch, and the limits are not for it."""
    target = ordered[0].path
    action = Action(Kind.RESTART, state.active, target, f"{state.active} is not in the line-up any more")
    state = replace(
        state, active=target, phase=Phase.SETTLED, bad_since=None, up_since={}, waiting="", number=state.number + 1
    )
    return replace(state, approved=frozenset(), at=now), (action,)


def _passing(state: State, phase: Phase, target: str, reason: str) -> tuple[Action, ...]:
    """What the change of phase alone tells. Waiting for another path than before is told anew."""
    if state.phase is phase and (phase is not Phase.WAITING or state.waiting == target):
        return ()
    told = []
    if (left := LEAVE.get(state.phase)) is not None:
        told.append(Action(left, state.active, state.waiting, ""))
    if (entered := ENTER.get(phase)) is not None:
        told.append(Action(entered, state.active, target, reason))
    return tuple(told)


# ---- what the situation is ----


def _find(view: _View) -> tuple[Finding, str, str]:
    """The finding, the path that it is about, and the reason."""
    if view.state.bad_since is not None:
        target = _next(view)
        if target is not None or view.active.verdict is Verdict.DOWN:
            if view.now - view.state.bad_since < view.rules.detect_s:
                return Finding.BAD, "", ""
            return _failover(view, target)
    better = _preferred(view)
    return (Finding.FINE, "", "") if better is None else _way_back(view, better)


def _way_back(view: _View, better: Candidate) -> tuple[Finding, str, str]:
    state, rules = view.state, view.rules
    sound_for = view.now - state.up_since[better.path]
    if sound_for < rules.failback_after_s:
        return Finding.BETTER, better.path, ""
    reason = f"{better.path} has been up for {sound_for:.0f} s"
    if rules.failback_approve is Approve.OPERATOR and better.path not in state.approved:
        return Finding.RIPE, better.path, reason
    if view.held or view.now < view.free_at:
        return Finding.BETTER, better.path, ""
    return Finding.BACK, better.path, reason


def _failover(view: _View, target: Candidate | None) -> tuple[Finding, str, str]:
    active = view.active
    what = f"{active.path} is {active.verdict.value}"
    if active.reason:
        what = f"{what}: {active.reason}"
    if target is None:
        return Finding.STUCK, "", f"{what}; no other path can be taken"
    if view.held:
        return Finding.STUCK, target.path, f"{what}; an operator holds the channel"
    if view.now < view.free_at:
        limit = f"at most {view.rules.max_per_hour} switches an hour, one in {view.rules.hold_down_s:g} s"
        return Finding.STUCK, target.path, f"{what}; {limit}"
    return Finding.DUE, target.path, what


def _next(view: _View) -> Candidate | None:
    """The best path that is in a better state than the active one, and may be taken from it.

    A preferred path while the active one still delivers is no failover: that is the way back.
    """
    active = view.active
    above = {one.path for one in view.ordered[: view.ordered.index(active)]}
    usable = [
        one
        for one in view.ordered
        if RANK[one.verdict] < RANK[active.verdict]
        and _allowed(view, one)
        and not (one.path in above and active.verdict is not Verdict.DOWN)
    ]
    return min(usable, key=lambda one: RANK[one.verdict], default=None)  # the first of the best: order is preference


def _preferred(view: _View) -> Candidate | None:
    """Of the paths above the active one that are up, the most preferred that is up for long enough, else at all."""
    above = view.ordered[: view.ordered.index(view.active)]
    usable = [one for one in above if one.verdict is Verdict.UP and _allowed(view, one)]
    ripe = [one for one in usable if view.now - view.state.up_since[one.path] >= view.rules.failback_after_s]
    return next(iter(ripe or usable), None)


def _allowed(view: _View, target: Candidate) -> bool:
    """From a scrambled path never to a clear one, unless the line-up says so, or the channel's first path is clear."""
    return view.rules.allow_clear or not target.clear or view.active.clear or target is view.ordered[0]


def _free_at(state: State, rules: Rules) -> float:
    """The limits: `hold_down` after the last switch, and when the hour has room for one more."""
    if rules.max_per_hour <= 0:
        return float("inf")
    if not state.switches:
        return state.at
    free = state.switches[-1] + rules.hold_down_s
    if len(state.switches) >= rules.max_per_hour:
        free = max(free, state.switches[-rules.max_per_hour] + HOUR_S)
    return free
