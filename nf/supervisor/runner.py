"""Carries out what the table of one unit says: spawns, probes, waits, terminates. One runner for each unit."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Protocol

from nf.clock import Clock
from nf.contracts.units import UnitSpec, UnitState, UnitStatus
from nf.errors import DriverError, InputError
from nf.supervisor import process
from nf.supervisor.process import Process, ProcessIdentity
from nf.supervisor.readiness import is_ready
from nf.supervisor.unit import Backoff, UnitEffect, UnitInput, transition

_log = logging.getLogger(__name__)

_PROBE_FIRST_S, _PROBE_LAST_S = 0.01, 0.2


class Surroundings(Protocol):
    """What a runner needs of the supervisor that holds it."""

    @property
    def clock(self) -> Clock: ...

    @property
    def owner(self) -> str:
        """Marks the processes of this supervisor."""

    @property
    def closing(self) -> bool:
        """The supervisor is stopping everything: nothing is to start again."""

    def log_path(self, name: str) -> Path: ...

    def changed(self, runner: Runner) -> None:
        """The unit's state or process changed."""

    def missing(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `names` that are not ready now."""


class Runner:
    """`wanted`: somebody asked for it to run and nobody asked for it to stop."""

    def __init__(self, spec: UnitSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        self.wanted = False
        self.restarts = 0
        self.last_exit = ""
        self.state = UnitState.STOPPED
        self.running: UnitSpec | None = None  # what the live process was started with
        self.process: Process | None = None
        self._since = surroundings.clock.now()
        self._surroundings = surroundings
        self._backoff = Backoff()
        self._timer: asyncio.Task[None] | None = None
        self._killer: asyncio.Task[None] | None = None
        self._reason = ""  # why the process is being ended, when its exit alone would not say
        self._effects: Mapping[UnitEffect, Callable[[], None]] = {
            UnitEffect.AWAIT_DEPENDENCIES: self._await_dependencies,
            UnitEffect.SPAWN: self._spawn,
            UnitEffect.PROBE: self._watch_readiness,
            UnitEffect.WATCH_STABILITY: self._watch_stability,
            UnitEffect.RESET_BACKOFF: self._backoff.reset,
            UnitEffect.SCHEDULE_RETRY: self._schedule_retry,
            UnitEffect.TERMINATE: self._terminate,
        }

    # --- what the supervisor asks ---

    def status(self) -> UnitStatus:
        """`spec` is what the live process was started with; without one, the definition."""
        return UnitStatus(
            name=self.spec.name,
            state=self.state,
            pid=self.process.identity.pid if self.process else None,
            since=self._since,
            restarts=self.restarts,
            last_exit=self.last_exit,
            spec=self.running or self.spec,
        )

    def start(self) -> None:
        self.wanted = True
        self._give(UnitInput.START)

    def stop(self) -> None:
        self.wanted = False
        self._give(UnitInput.STOP)

    def halt(self) -> None:
        """Stop because the supervisor ends: the unit stays wanted, so that it runs again after the next start."""
        self._give(UnitInput.STOP)

    def adopt(self, identity: ProcessIdentity, running: UnitSpec) -> bool:
        """Take over a process of a former supervisor; False when it is gone."""
        self.process = process.adopt(identity, self._exited)
        if self.process is None:
            return False
        self.running = running
        self._give(UnitInput.ADOPT)
        return True

    def dependencies_changed(self) -> None:
        if self.state is UnitState.WAITING and not self._surroundings.missing(self.spec.after):
            self._give(UnitInput.DEPENDENCIES_READY)

    def release(self) -> None:
        """Forget timers and watches; the process, if any, is left alone."""
        self._cancel_timer()
        if self._killer is not None:
            self._killer.cancel()
        if self.process is not None:
            self.process.close()

    # --- the table's effects ---

    def _give(self, given: UnitInput) -> None:
        step = transition(self.state, given)
        changed = step.state is not self.state
        if changed:
            self._cancel_timer()
            self.state = step.state
            self._since = self._surroundings.clock.now()
        effect = self._effects.get(step.effect)
        if effect is not None:
            effect()
        if changed:
            self._surroundings.changed(self)

    def _await_dependencies(self) -> None:
        asyncio.get_running_loop().call_soon(self.dependencies_changed)

    def _watch_readiness(self) -> None:
        self._set_timer(self._probe())

    def _watch_stability(self) -> None:
        self._set_timer(self._after(self.spec.stable_s, UnitInput.STABLE))

    def _schedule_retry(self) -> None:
        self.restarts += 1
        self._set_timer(self._after(self._backoff.next_s(self.spec), UnitInput.RETRY))

    def _spawn(self) -> None:
        name = self.spec.name
        try:
            self.process = process.spawn(
                self.spec, self._surroundings.owner, self._surroundings.log_path(name), self._exited
            )
        except DriverError as error:
            # After this transition is complete: a failed execution is an exit like any other.
            asyncio.get_running_loop().call_soon(self._ended, error.message, False)
            return
        self.running = self.spec
        self._watch_readiness()

    async def _probe(self) -> None:
        readiness = (self.running or self.spec).ready
        clock = self._surroundings.clock
        deadline = clock.monotonic() + readiness.timeout_s
        pause = _PROBE_FIRST_S
        while True:
            try:
                ready = await is_ready(readiness)
            except InputError as error:
                self._reason = str(error)
                ready = False
            if ready:
                self._fire(UnitInput.BECAME_READY)
                return
            if clock.monotonic() >= deadline:
                self._reason = self._reason or f"not ready within {readiness.timeout_s:g} s"
                self._fire(UnitInput.READY_TIMEOUT)
                return
            await clock.sleep(pause)
            pause = min(pause * 1.5, _PROBE_LAST_S)

    def _terminate(self) -> None:
        if self.process is None:
            # Spawning failed in this very turn of the loop; its exit is already under way.
            return
        if self._killer is None:
            self._killer = asyncio.create_task(self._kill_later(self.process, self.running or self.spec))

    async def _kill_later(self, target: Process, spec: UnitSpec) -> None:
        target.send_signal(spec.stop_signal)
        # Real time even under a virtual clock: a process that ignores its signal lives in real time.
        try:
            await asyncio.wait_for(target.gone.wait(), spec.stop_timeout_s)
        except TimeoutError:
            _log.warning("%s did not stop within %g s: killed", spec.name, spec.stop_timeout_s)
            target.send_signal(signal.SIGKILL)
            process.sweep(self._surroundings.owner, spec.name, target.identity.pid)

    def _exited(self, text: str, clean: bool) -> None:
        if self.process is not None:
            process.sweep(self._surroundings.owner, self.spec.name, self.process.identity.pid)
        self._ended(f"{self._reason}, {text}" if self._reason else text, clean)

    def _ended(self, text: str, clean: bool) -> None:
        restart = (self.running or self.spec).restart
        self.process, self.running, self.last_exit, self._reason = None, None, text, ""
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None
        halted = self.state is UnitState.STOPPING
        if clean and not restart and not halted:
            self.wanted = False
        if restart:
            self._give(UnitInput.DIED)
        else:
            self._give(UnitInput.COMPLETED if clean else UnitInput.FAILED)
        if halted and self.wanted and not self._surroundings.closing:
            self._give(UnitInput.START)

    # --- timers: at most one at a time ---

    def _set_timer(self, work: Coroutine[None, None, None]) -> None:
        self._cancel_timer()
        self._timer = asyncio.create_task(work)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _fire(self, given: UnitInput) -> None:
        self._timer = None  # the timer itself calls: it must not cancel itself
        self._give(given)

    async def _after(self, seconds: float, given: UnitInput) -> None:
        await self._surroundings.clock.sleep(seconds)
        self._fire(given)
