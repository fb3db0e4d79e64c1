"""Whether a new system does well: pure. Well for a set time without a break, within a patience; else it is given up.

Well: the agent says so, its session with the NOC stands, every driver is converged, every required path is up; what was
wrong already before the update does not count. The patience is over only while it is not well: one that has just
become so gets its time, and is given up at its first lapse.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from nf.contracts.image import Signs
from nf.contracts.json import canonical

FRESH_S: Final = 15.0
"""Signs that are older say that the agent does not run any more."""
AGENT: Final = "agent"


class Health(Enum):
    UNWELL = "unwell"
    HOLDING = "holding"
    LATE = "late"  # its patience is over, it is well all the same
    GOOD = "good"
    GIVEN_UP = "given-up"


class Beat(Enum):
    """What one look at it says."""

    WELL = "well"
    ILL = "ill"
    WELL_LONG = "well-long"  # well, since the set time
    WELL_LATE = "well-late"  # well, behind the patience
    ILL_LATE = "ill-late"


_H, _B = Health, Beat

TABLE: Mapping[tuple[Health, Beat], Health] = {
    (_H.UNWELL, _B.ILL): _H.UNWELL,
    (_H.UNWELL, _B.WELL): _H.HOLDING,
    (_H.UNWELL, _B.WELL_LONG): _H.GOOD,  # the set time is nothing
    (_H.UNWELL, _B.WELL_LATE): _H.LATE,
    (_H.UNWELL, _B.ILL_LATE): _H.GIVEN_UP,
    (_H.HOLDING, _B.WELL): _H.HOLDING,
    (_H.HOLDING, _B.ILL): _H.UNWELL,
    (_H.HOLDING, _B.WELL_LONG): _H.GOOD,
    (_H.HOLDING, _B.WELL_LATE): _H.LATE,
    (_H.HOLDING, _B.ILL_LATE): _H.GIVEN_UP,
    (_H.LATE, _B.WELL_LATE): _H.LATE,
    (_H.LATE, _B.WELL_LONG): _H.GOOD,
    (_H.LATE, _B.ILL_LATE): _H.GIVEN_UP,
}
ENDED: Final = frozenset({_H.GOOD, _H.GIVEN_UP})


class Judge:
    """Fed with signs as time goes by. Times are seconds on a clock that never goes back."""

    def __init__(self, *, hold_s: float, patience_s: float, baseline: Mapping[str, str], now: float) -> None:
        self._hold_s = hold_s
        self._over = now + patience_s
        self._baseline = baseline
        self._well_since: float | None = None
        self.health = Health.UNWELL
        self.problems: dict[str, str] = {AGENT: "has not said anything yet"}

    def look(self, signs: Signs | None, now: float) -> Health:
        """`signs` None: the agent says nothing (any more). Once it has ended it stays as it is."""
        if self.health in ENDED:
            return self.health
        self.problems = problems(signs, self._baseline)
        self.health = TABLE[self.health, self._beat(now)]
        return self.health

    def _beat(self, now: float) -> Beat:
        late = now >= self._over
        if self.problems:
            self._well_since = None
            return Beat.ILL_LATE if late else Beat.ILL
        if self._well_since is None:
            self._well_since = now
        if now - self._well_since >= self._hold_s:
            return Beat.WELL_LONG
        return Beat.WELL_LATE if late else Beat.WELL


def problems(signs: Signs | None, baseline: Mapping[str, str]) -> dict[str, str]:
    """What keeps it from being well; empty = it is."""
    if signs is None:
        return {AGENT: "says nothing: nf-agent.service does not run"}
    found = {key: text for key, text in signs.problems.items() if key not in baseline}
    if not signs.attached:
        found["session"] = "the agent has no session with the NOC"
    if signs.busy:
        found["transaction"] = signs.busy
    return found


def in_words(found: Mapping[str, str], most: int = 4) -> str:
    """`driver frr: not converged; session: ...`, bounded."""
    told = [f"{key}: {text}" for key, text in sorted(found.items())]
    rest = len(told) - most
    return "; ".join([*told[:most], *([f"and {rest} more"] if rest > 0 else [])])[:1000]


@dataclass(frozen=True, slots=True)
class SignsFile:
    """How the agent tells the health service, on /run."""

    at: float  # seconds since the boot (CLOCK_MONOTONIC)
    signs: Signs

    def dump(self) -> bytes:
        signs = self.signs
        return canonical(
            {"at": self.at, "attached": signs.attached, "busy": signs.busy, "problems": dict(signs.problems)}
        ).encode()


def load_signs(data: bytes, now: float) -> Signs | None:
    """None when they are stale, or no signs at all."""
    try:
        found = json.loads(data)
        if not 0 <= now - float(found["at"]) <= FRESH_S:
            return None
        told = found["problems"].items()
        return Signs(found["attached"] is True, str(found["busy"]), {str(key): str(text) for key, text in told})
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
