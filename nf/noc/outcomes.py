"""What becomes of an operation of the fleet, at one appliance and on the way there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nf.contracts.json import JsonObject

DONE, FAILED, OFFLINE, WITHHELD, RUNNING = "done", "failed", "offline", "withheld", "running"

Tell = Callable[[str, str, float, str], None]
"""Appliance, state, fraction of its work, text."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it at one appliance: done, failed, offline or withheld."""

    appliance: str
    driver: str
    stage: int
    state: str
    text: str = ""
    result: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """`outcomes` in the last one: one for each appliance, in the order of the stages."""

    stage: int = 0
    stages: int = 0
    appliance: str = ""
    state: str = RUNNING
    fraction: float = 0.0
    done: int = 0
    total: int = 0
    text: str = ""
    outcomes: tuple[Outcome, ...] = ()
    duration_s: float = 0.0
