"""Operation `wait-empty` of the driver `rtpengine`: waits until few enough calls are left on the relay.

It keeps no call off: a relay gets none when the proxies send it none, so whoever drains it disables it there first
(`drained` in the documents, or Kamailio's `rtpengine.enable`).

Arguments: `limit` calls that may be left (0), `wait_s` to wait at most (600). Result: `sessions` left, `before`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import CancelledError, DeadlineError, InputError

WAIT_EMPTY: Final = "wait-empty"
WAIT_S: Final = 600.0
_LONGEST_S: Final = 86_400.0
_POLL_S: Final = 0.5
_BEFORE, _UNTIL = "before", "until"

Count = Callable[[], Awaitable[int]]


class WaitEmpty:
    """`count` tells how many calls the relay has; it raises what the operation is to end with."""

    def __init__(self, count: Count) -> None:
        self._count = count

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, DeadlineError, CancelledError, and what counting raises. `until` outlives a restart."""
        limit = int(_number(arguments, "limit", 0.0))
        wait_s, now = _number(arguments, "wait_s", WAIT_S), context.clock.now()
        kept = checkpoint.data.get(_UNTIL)
        until = float(kept) if isinstance(kept, int | float) else now + wait_s
        left = await self._count()
        kept = checkpoint.data.get(_BEFORE)
        before = kept if isinstance(kept, int) else left
        checkpoint.save({_BEFORE: before, _UNTIL: until})
        while left > limit:
            if context.cancel.is_set():
                raise CancelledError(f"cancelled with {left:,} calls left", where=WAIT_EMPTY)
            if context.clock.now() >= until:
                raise DeadlineError(
                    f"{left:,} of {before:,} calls are left, more than {limit:,}",
                    where=WAIT_EMPTY,
                    remedy="wait longer (wait_s), allow more (limit), and see that proxies send it no new call",
                )
            whole = max(1, before - limit)
            context.progress(min(1.0, max(0.0, (before - left) / whole)), f"{left:,} calls left")
            await context.clock.sleep(_POLL_S)
            left = await self._count()
        context.progress(1.0, f"{left:,} calls left")
        return {"text": f"{left:,} calls are left", "sessions": left, "before": before}


def _number(arguments: JsonObject, name: str, default: float) -> float:
    value = arguments.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LONGEST_S:
        raise InputError(f"`{name}` is a number from 0 to {_LONGEST_S:,.0f}", where=WAIT_EMPTY, remedy="leave it out")
    return float(value)
