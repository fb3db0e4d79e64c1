"""What is drained before an appliance restarts for an upgrade: all that stands before a step of it (`FleetOperation`).

As a courtesy: it waits a while, and what is left or cannot be counted then keeps no upgrade from going on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from nf.contracts.json import JsonObject
from nf.contracts.planner import FleetOperation
from nf.errors import NfError
from nf.noc.fleet_operations import FleetOperations
from nf.noc.lineups import LineUps

_log = logging.getLogger(__name__)

WAIT_S: Final = 600.0
_GRACE_S: Final = 60.0

Say = Callable[[str], Awaitable[None]]


class Emptying:
    def __init__(self, operations: FleetOperations, lineups: LineUps) -> None:
        self._operations = operations
        self._lineups = lineups
        self.wait_s = WAIT_S

    async def _of(self, appliance: str) -> tuple[FleetOperation, ...]:
        known = await self._lineups.operations()
        return tuple(one for one in known if any(name == appliance for name, _ in one.before))

    async def empty(self, appliance: str, author: str, hold_s: float, say: Say) -> bool:
        """Wait until it is, or the time is over. Whether there is something that `end` takes back."""
        arguments: JsonObject = {"wait_s": self.wait_s, "hold_s": hold_s, "keep": True}
        found = False
        try:
            for operation in await self._of(appliance):
                found = True
                events = self._operations.carry_out(operation, arguments, author, node_s=self.wait_s + _GRACE_S)
                async for event in events:
                    if event.appliance and event.text:
                        await say(event.text)
                    for outcome in event.outcomes:
                        _log.info("%s restarts: %s", appliance, outcome.text)
        except NfError as error:
            _log.warning("%s restarts without being drained: %s", appliance, error)
        return found

    async def end(self, appliance: str, author: str) -> None:
        """It takes new ones again; by itself too, when the time that `empty` was given is over."""
        try:
            for operation in await self._of(appliance):
                async for _ in self._operations.carry_out(operation, {"end": True}, author, node_s=_GRACE_S):
                    pass
        except NfError as error:
            _log.warning("%s stays drained until its time: %s", appliance, error)
