"""Waiting until few enough calls are left: what the drains of proxies, media servers, relays and gateways share.

Of an operation's arguments: `limit` that may be left (0), `wait_s` to wait at most (600). Until when, and how many
there were before, stand in its checkpoint: an agent that is started again goes on waiting as long as was said.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json, JsonObject
from nf.errors import CancelledError, DeadlineError, InputError

WAIT_S: Final = 600.0
_LONGEST_S: Final = 86_400.0
_POLL_S: Final = 1.0
_BEFORE, _UNTIL = "before", "until"

Count = Callable[[int], Awaitable[int]]
"""How many are left; it is given how many there were when it was last asked, and raises what is to end the waiting."""


def number(arguments: JsonObject, name: str, default: float, where: str) -> float:
    """Raises InputError. `where`: the operation."""
    value: Json = arguments.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LONGEST_S:
        raise InputError(f"`{name}` is a number from 0 to {_LONGEST_S:,.0f}", where=where, remedy="leave it out")
    return float(value)


def flag(arguments: JsonObject, name: str, where: str) -> bool:
    """Raises InputError. `where`: the operation."""
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"`{name}` is true or false", where=where, remedy="leave it out, or write true")
    return value


@dataclass(frozen=True, slots=True)
class Few:
    """What is waited for: no more than `limit` of `noun` at `name` (as texts say it), before `until` (seconds since the
    epoch). `remedy`: what else than waiting longer can be done."""

    limit: int
    until: float
    name: str
    remedy: str
    noun: str = "calls"


def limit_of(arguments: JsonObject, where: str) -> int:
    """Raises InputError."""
    return int(number(arguments, "limit", 0.0, where))


def until_of(arguments: JsonObject, checkpoint: Checkpoint, now: float, where: str) -> float:
    """Raises InputError."""
    found = checkpoint.data.get(_UNTIL)
    wait_s = number(arguments, "wait_s", WAIT_S, where)
    return float(found) if isinstance(found, int | float) else now + wait_s


async def wait_until(few: Few, count: Count, checkpoint: Checkpoint, context: Context) -> tuple[int, int]:
    """(how many are left, how many there were). Raises DeadlineError, CancelledError, and what counting raises."""
    noun = few.noun
    left = await count(0)
    found = checkpoint.data.get(_BEFORE)
    before = found if isinstance(found, int) else left
    checkpoint.save({_BEFORE: before, _UNTIL: few.until})
    while left > few.limit:
        if context.cancel.is_set():
            raise CancelledError(f"cancelled with {left:,} {noun} left", where=few.name)
        if context.clock.now() >= few.until:
            text = f"{left:,} of {before:,} {noun} are left, more than {few.limit:,}"
            raise DeadlineError(text, where=few.name, remedy=f"wait longer (wait_s), allow more (limit){few.remedy}")
        context.progress(_fraction(before, left, few.limit), f"{left:,} {noun} left on {few.name}")
        await context.clock.sleep(_POLL_S)
        left = await count(left)
    context.progress(1.0, f"{left:,} {noun} left on {few.name}")
    return left, before


def _fraction(before: int, left: int, limit: int) -> float:
    whole = before - limit
    return min(1.0, max(0.0, (before - left) / whole)) if whole > 0 else 1.0
