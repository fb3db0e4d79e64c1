"""What the engine works on: rules, candidates and the state of one channel at one place, which is plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from nf.contracts.json import JsonObject
from nf.contracts.paths import Verdict
from nf.errors import IntegrityError

HOUR_S: Final = 3600.0


class Approve(StrEnum):
    """Who lets a channel return to a path that has recovered."""

    OPERATOR = "operator"
    AUTO = "auto"


class Phase(StrEnum):
    SETTLED = "settled"
    SUSPECT = "suspect"  # the active path is bad, but not for long enough
    BARRED = "barred"  # it is bad, and no switch is possible or allowed
    RETURNING = "returning"  # a preferred path is up, and has to stay so for a while
    WAITING = "waiting"  # it has; an operator has to approve


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one channel (line-up, `policy.failover`). Times in seconds.

    detect          so long a path is bad before it counts
    hold_down       so long nothing is switched after a switch
    max_per_hour    switches in any hour, the way back included; 0: none at all
    failback_after  so long a preferred path has to be up, without a break, before the channel returns to it
    allow_clear     whether a scrambled path may be replaced by a clear one
    """

    detect_s: float = 0.5
    hold_down_s: float = 30.0
    max_per_hour: int = 4
    failback_after_s: float = 300.0
    failback_approve: Approve = Approve.OPERATOR
    allow_clear: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path that may be taken. `priority`: 1 before 2; `clear`: it is not scrambled; `reason`: of its verdict."""

    path: str
    verdict: Verdict
    priority: int = 1
    clear: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Of one channel at one place. Times in seconds since the epoch, by the clock of who calls the engine.

    at         of the last call
    bad_since  of the active path; None: it serves
    up_since   path -> since when it is up without a break
    switches   when, in the last hour, the oldest first; the last one stays
    approved   paths that an operator lets return
    number     switches ever
    waiting    the path that waits for an approval
    """

    active: str
    at: float
    phase: Phase = Phase.SETTLED
    bad_since: float | None = None
    up_since: Mapping[str, float] = field(default_factory=dict)
    switches: tuple[float, ...] = ()
    approved: frozenset[str] = frozenset()
    number: int = 0
    waiting: str = ""

    def to_json(self) -> JsonObject:
        return {
            "active": self.active,
            "at": self.at,
            "phase": self.phase.value,
            "bad_since": self.bad_since,
            "up_since": dict(self.up_since),
            "switches": [*self.switches],
            "approved": [*sorted(self.approved)],
            "number": self.number,
            "waiting": self.waiting,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> State:
        """Raises IntegrityError when it is not what `to_json` gives."""
        try:
            state = cls(
                active=_text(data["active"]),
                at=_time(data["at"]),
                phase=Phase(data["phase"]),
                bad_since=None if data["bad_since"] is None else _time(data["bad_since"]),
                up_since={_text(path): _time(since) for path, since in data["up_since"].items()},
                switches=tuple(map(_time, data["switches"])),
                approved=frozenset(map(_text, data["approved"])),
                number=int(data["number"]),
                waiting=_text(data["waiting"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            remedy = "remove it: the channel begins with its first path"
            raise IntegrityError(f"no state of a switching policy: {error!r}", remedy=remedy) from error
        return state


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no time")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
