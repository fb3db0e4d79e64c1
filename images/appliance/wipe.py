"""Wiping by order of the NOC: the appliance forgets everything and never enrols by itself again.

Two steps. The first names a code and changes nothing; the second, with that code within ten minutes, is carried out at
once: the keys are destroyed before it answers, and the appliance reboots some seconds later.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from typing import Final

from images.appliance.reset import REBOOT_AFTER_S, UNIT, Kind
from images.appliance.system import Executor, System, program
from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.errors import RefusedError

CODE_S: Final = 600.0
_LETTERS: Final = "ACDEFGHJKLMNPQRTUVWXY34679"  # none is taken for another when it is read out


class Wipe:
    """The code is kept in memory only: after a restart of the agent a new one is asked for."""

    def __init__(self, clock: Clock, executor: Executor | None = None) -> None:
        self._clock = clock
        self._executor = executor or System()
        self._code = ""
        self._until = 0.0

    async def order(self, code: str) -> JsonObject:
        """Empty: a new code, as `code` and `expires_s`; nothing else. With it: done when this returns.

        Raises RefusedError for a code that is wrong, used or too old; DriverError when the system does not do it.
        """
        if not code.strip():
            self._code = "".join(secrets.choice(_LETTERS) for _ in range(8))
            self._until = self._clock.monotonic() + CODE_S
            return {"wiped": False, "code": self._code, "expires_s": CODE_S}
        self._require(code)
        start = program("systemctl", "start", UNIT.format(Kind.WIPE.value), why="wipe this appliance")
        await asyncio.to_thread(self._executor.run, start)
        return {"wiped": True, "reboots_in_s": REBOOT_AFTER_S}

    def _require(self, given: str) -> None:
        """Raises RefusedError. Each code is tried once."""
        expected, self._code = self._code, ""
        same = hmac.compare_digest(given.strip().upper().encode(), expected.encode())
        if not expected or not same or self._clock.monotonic() > self._until:
            raise RefusedError(
                "the code is not the one that was given out last, or it is too old; nothing was changed",
                where="wipe",
                remedy="ask for a new code: the same command without --code",
            )
