"""What the NOC asks of steering, the same at every mechanism: `steer-list`, `steer-explain`, `influence`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject

LIST, EXPLAIN, INFLUENCE = "steer-list", "steer-explain", "influence"
MECHANISM = "n6"

Work = Callable[[JsonObject], Awaitable[JsonObject]]


class SteerOperation:
    """A short one: it is done again from its beginning when it was interrupted."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def run(
        self,
        arguments: JsonObject,
        checkpoint: Checkpoint,  # noqa: ARG002 - nothing to resume
        context: Context,  # noqa: ARG002 - each call has its own time-out
    ) -> JsonObject:
        return await self._work(arguments)
