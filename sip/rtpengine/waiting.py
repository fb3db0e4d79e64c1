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
from sip.emptying import Few, limit_of, until_of, wait_until

WAIT_EMPTY: Final = "wait-empty"


class WaitEmpty:
    """`count` tells how many calls the relay has; it raises what the operation is to end with."""

    def __init__(self, count: Callable[[], Awaitable[int]]) -> None:
        self._count = count

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises InputError, DeadlineError, CancelledError, and what counting raises. `until` outlives a restart."""
        limit, until = limit_of(arguments, WAIT_EMPTY), until_of(arguments, checkpoint, context.clock.now(), WAIT_EMPTY)
        few = Few(limit, until, "the relay", ", and see that proxies send it no new call")
        left, before = await wait_until(few, lambda _: self._count(), checkpoint, context)
        return {"text": f"{left:,} calls are left", "sessions": left, "before": before}
