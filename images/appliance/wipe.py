"""The operation `wipe`: the NOC orders an appliance to forget everything and never to enrol by itself again.

Two steps. The first names a code and changes nothing; the second, with that code within ten minutes, is carried out at
once: the keys are destroyed before it answers, and the appliance reboots some seconds later.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from images.appliance.reset import REBOOT_AFTER_S, UNIT, Kind
from images.appliance.system import Executor, System, program
from nf.clock import Clock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import RefusedError

NAME: Final = "wipe"
CODE_S: Final = 600.0
_LETTERS: Final = "ACDEFGHJKLMNPQRTUVWXY34679"  # none is taken for another when it is read out


class WipeOperation:
    """An `nf.contracts.driver.Operation`. Arguments: none, or `code`. Result: `code` and `expires_s`, or `wiped`."""

    def __init__(self, clock: Clock, executor: Executor | None = None) -> None:
        self._clock = clock
        self._executor = executor or System()
        self._code = ""
        self._until = 0.0

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        """Raises RefusedError for a code that is wrong, used or too old."""
        if not checkpoint.data.get("ordered"):
            if "code" not in arguments:
                self._code = "".join(secrets.choice(_LETTERS) for _ in range(8))
                self._until = self._clock.monotonic() + CODE_S
                return {"wiped": False, "code": self._code, "expires_s": CODE_S}
            self._require(str(arguments["code"]))
            checkpoint.save({"ordered": True})
        context.progress(0.5, "destroying the keys")
        self._executor.run(program("systemctl", "start", UNIT.format(Kind.WIPE.value), why="wipe this appliance"))
        return {"wiped": True, "reboots_in_s": REBOOT_AFTER_S}

    def _require(self, given: str) -> None:
        """Raises RefusedError. Each code is tried once."""
        expected, self._code = self._code, ""
        same = hmac.compare_digest(given.strip().upper().encode(), expected.encode())
        if not expected or not same or self._clock.monotonic() > self._until:
            raise RefusedError(
                "the code is not the one that was given out last, or it is too old; nothing was changed",
                where=NAME,
                remedy="ask for a new code: the same operation without one",
            )
