"""Which input a service is to be taken from, by the line-up's policy: the appliance's own switch (T0). Sans-IO.

The engine decides (`nf.policy.engine`); a switch counts when its cut is made, since the reason for it may pass while a
random access point is waited for. Times are those of the machine's monotonic clock, which no one sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nf.contracts.json import JsonObject
from nf.contracts.paths import Verdict
from nf.errors import IntegrityError
from nf.policy.engine import Action, adopt, step
from nf.policy.model import Approve, Candidate, Rules, State

SATELLITE, FALLBACK = "satellite", "fallback"
SILENCE_S = 0.4
"""Nothing for so long, or for `detect` where that is less, is silence. What `detect` is above `_DETECTED_S` is waited
for on top."""
_DETECTED_S = 0.5
AS_BEFORE = Rules(hold_down_s=0.0, max_per_hour=1_000_000, failback_after_s=5.0, failback_approve=Approve.AUTO)
"""Of a configuration that says nothing of policy."""


def rules_from(data: Mapping[str, Any]) -> Rules:
    """From the section's `failover`, times in milliseconds. Raises KeyError, TypeError, ValueError."""
    return Rules(
        detect_s=int(data["detect_ms"]) / 1000,
        hold_down_s=int(data["hold_down_ms"]) / 1000,
        max_per_hour=int(data["max_per_hour"]),
        failback_after_s=int(data["failback_after_ms"]) / 1000,
        failback_approve=Approve(data["failback_approve"]),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of both inputs at one instant.

    satellite   something of the service came lately; None: it has not begun to
    reception   what the receiver's figures say
    lost        of the satellite: something was lost, or silence ended, since the last look
    """

    satellite: bool | None
    reception: bool
    lost: bool
    fallback: bool


class Policy:
    """The choice between the two inputs of one service. `switches`: ever, also before a restart."""

    def __init__(self, rules: Rules, now: float, before: Mapping[str, Any] | None = None) -> None:
        self.rules = rules
        self.state = _restored(before, now)
        self.reason = ""
        self._approved = False

    @property
    def on_fallback(self) -> bool:
        return self.state.active == FALLBACK

    @property
    def waiting(self) -> bool:
        """Whether the way back waits for an operator."""
        return bool(self.state.waiting)

    def silence_s(self) -> float:
        return min(SILENCE_S, self.rules.detect_s)

    def wanted(self, seen: Seen, now: float) -> str:
        """The input that is to be sent now: the active one, or the one that a switch leads to."""
        rules = replace(self.rules, detect_s=max(0.0, self.rules.detect_s - _DETECTED_S))
        candidates = (
            Candidate(SATELLITE, self._verdict(seen), priority=1),
            Candidate(FALLBACK, Verdict.UP if seen.fallback else Verdict.DOWN, priority=2),
        )
        approvals = frozenset({SATELLITE} if self._approved else ())
        after, actions = step(self.state, rules, candidates, now, approvals=approvals)
        switch = next((action for action in actions if action.switches), None)
        self._tell(switch)
        if switch is not None:
            return switch.target
        self.state, self._approved = after, False
        return after.active

    def _tell(self, switch: Action | None) -> None:
        if switch is not None:
            self.reason = switch.reason

    def _verdict(self, seen: Seen) -> Verdict:
        """A loss is no reason to leave, but the satellite is not sound before it has come without one for a while."""
        if seen.satellite is None:
            return Verdict.UNKNOWN
        if not seen.satellite:
            return Verdict.DOWN
        return Verdict.DEGRADED if not seen.reception or (self.on_fallback and seen.lost) else Verdict.UP

    def cut(self, now: float) -> None:
        """The other input is sent from now on."""
        self.state = adopt(self.state, SATELLITE if self.on_fallback else FALLBACK, now)
        self._approved = False

    def approve(self) -> bool:
        """An operator lets the service return; False when the satellite is sent, or is not sound."""
        if not self.on_fallback or SATELLITE not in self.state.up_since:
            return False
        self._approved = True
        return True

    def to_json(self) -> JsonObject:
        return self.state.to_json()


def lasting(state: State) -> tuple[object, ...]:
    """What is worth writing down when it changes."""
    return state.active, state.switches, state.approved, state.phase


def _restored(before: Mapping[str, Any] | None, now: float) -> State:
    """What was remembered: the choice and its limits. How the inputs were is looked at anew."""
    fresh = State(active=SATELLITE, at=now)
    if before is None:
        return fresh
    try:
        state = State.from_json(before)
    except IntegrityError:
        return fresh
    if state.active not in (SATELLITE, FALLBACK):
        return fresh
    return replace(state, bad_since=None, up_since={})
