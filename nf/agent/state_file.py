"""`agent.json` in the run directory: how the agent stands, for whoever is at the box and has no way to the NOC."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from nf.clock import Clock

_log = logging.getLogger(__name__)

NAME: Final = "agent.json"
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class AgentState:
    """`revision`: the confirmed one, 0 = none yet; `connected`: it has a session with the NOC; `alarms` that stand."""

    revision: int
    connected: bool
    alarms: int


class StateFile:
    """Written when something changed, once a second at most; everybody may read it. Gone when the agent ended."""

    def __init__(self, run_dir: Path, state: Callable[[], AgentState], clock: Clock) -> None:
        self._path = run_dir / NAME
        self._state = state
        self._clock = clock
        self._told: AgentState | None = None

    async def run(self) -> None:
        """Until cancelled. That it cannot be written is no reason to end."""
        try:
            while True:
                self.look()
                await self._clock.sleep(_LOOK_S)
        finally:
            self._path.unlink(missing_ok=True)

    def look(self) -> None:
        state = self._state()
        if state == self._told:
            return
        self._told = state
        try:
            self._write(json.dumps(asdict(state)).encode() + b"\n")
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._path, error)

    def _write(self, data: bytes) -> None:
        """The old content or the new one; it lies in memory, so nothing is synced."""
        fresh = self._path.with_name(NAME + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.write(data)
        fresh.replace(self._path)
