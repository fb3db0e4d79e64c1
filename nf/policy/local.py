"""T0: what a driver, or a daemon of its, asks before it switches by itself, without the NOC.

    switch = LocalSwitch(state_dir / "ch1.policy.json", rules_of(section.failover), clock)
    for action in switch.decide([Candidate("sat", Verdict.DOWN, 1), Candidate("iptv", Verdict.UP, 2)]):
        if action.switches: ...               # to action.target; action.reason is for the alarm
    switch.active                             # what is to be sent, also right after a restart

An operator's approval of the way back comes as the fleet operation `failback`. The planner that compiles such a switch
contributes it, one for each channel and site:

    FleetOperation(FAILBACK, failback_object(channel, site), (((appliance, driver),),))

Its driver has an `Operation` of this name, which gets `{"channel": ..., "path": ...}` (`path`: the one that may
return, or "" for the one that waits), calls `approve`, and answers `{"text": ...}`; it raises RefusedError when
`approve` says no. The NOC takes the alarm `satellite-on-fallback` of `CHANNEL/PATH` as the fact that the switch is on
PATH's `fallback` (`nf.policy.health.ON_FALLBACK`), and its end as the fact that PATH is back.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.contracts.json import canonical
from nf.contracts.paths import Verdict
from nf.errors import IntegrityError
from nf.policy.engine import Action, step
from nf.policy.model import Candidate, Rules, State

_log = logging.getLogger(__name__)

FAILBACK: Final = "failback"
"""Name of the fleet operation that approves the way back."""


def failback_object(channel: str, site: str) -> str:
    """The object of that operation."""
    return f"{channel}/{site}"


class LocalSwitch:
    """Keeps the engine's state in a file, written whenever a switch or an approval changes it.

    Its time goes on evenly while the process runs, whatever is done to the machine's clock. A file that cannot be read
    is told in the log and begun anew; one that cannot be written stops no switch: the limits then last as long as
    the process.
    """

    def __init__(self, file: Path, rules: Rules, clock: Clock) -> None:
        self.rules = rules
        self._file = file
        self._clock = clock
        self._origin = clock.now() - clock.monotonic()
        self._approvals: set[str] = set()
        self._candidates: dict[str, Candidate] = {}
        self.state: State | None = self._load()

    @property
    def active(self) -> str:
        """Empty before the first decision of all."""
        return self.state.active if self.state is not None else ""

    def decide(self, candidates: Sequence[Candidate], *, held: bool = False) -> tuple[Action, ...]:
        """What to do now. Ask as often as `detect` is to be kept: every 100 ms, and whenever a verdict changes."""
        before = self.state
        now = self._origin + self._clock.monotonic()
        self._candidates = {one.path: one for one in candidates}
        after, actions = step(before, self.rules, candidates, now, approvals=self._approvals, held=held)
        self._approvals.clear()
        self.state = after
        if before is None or _lasting(before) != _lasting(after):
            self._save(after)
        return actions

    def approve(self, path: str = "") -> str:
        """An operator lets `path` return, or the one that waits; the path, which the next decision counts.

        Empty: there is nothing to approve, since that path is not up or is the active one.
        """
        path = path or (self.state.waiting if self.state is not None else "")
        known = self._candidates.get(path)
        if known is None or known.verdict is not Verdict.UP or path == self.active:
            return ""
        self._approvals.add(path)
        return path

    def _load(self) -> State | None:
        try:
            return State.from_json(json.loads(self._file.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, IntegrityError) as error:
            _log.warning("%s: %s; the channel begins with its first path", self._file, error)
            return None

    def _save(self, state: State) -> None:
        written = self._file.with_name(f".{self._file.name}.new")
        try:
            with written.open("w", encoding="utf-8") as file:
                file.write(canonical(state.to_json()))
                file.flush()
                os.fsync(file.fileno())
            written.replace(self._file)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._file, error)


def _lasting(state: State) -> tuple[object, ...]:
    return state.active, state.switches, state.approved, state.number
