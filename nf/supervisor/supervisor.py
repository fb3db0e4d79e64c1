"""All units of an appliance: definitions, start order, adoption, orderly end. No sockets here."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from nf.clock import Clock
from nf.contracts.units import UnitSpec, UnitState, UnitStatus
from nf.errors import DriverError, NotFoundError, RefusedError, StorageError
from nf.supervisor import log, process
from nf.supervisor.process import ProcessIdentity
from nf.supervisor.protocol import unit_name
from nf.supervisor.records import Records, UnitRecord
from nf.supervisor.runner import Runner

_log = logging.getLogger(__name__)

_GRACE_S = 0.5  # so that the unit's own reason for not being ready is there when its caller is told
_KILL_GRACE_S = 10.0
_HOPELESS_DEATHS = 4  # in a row, while somebody waits for it to start: the caller is told at once
_TAIL_LINES = 20
_ROTATE_EVERY_S = 1.0
_WITHOUT_PROCESS = frozenset({UnitState.STOPPED, UnitState.BACKOFF, UnitState.FAILED, UnitState.WAITING})
_SETTLED = frozenset({UnitState.READY, UnitState.FAILED, UnitState.STOPPED})

Listener = Callable[[UnitStatus], None]


def _all_gone(runners: Sequence[Runner]) -> bool:
    return all(runner.state in _WITHOUT_PROCESS for runner in runners)


class Supervisor:
    """Implements what `nf.contracts.units.Units` promises, for one event loop."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self.clock = clock
        self.closing = False
        self._log_dir = state_dir / "log"
        self._records = Records(state_dir)
        self.owner = self._records.owner()
        self._runners: dict[str, Runner] = {}
        self._listeners: set[Listener] = set()
        self._pulse = asyncio.Event()

    # --- for the runners ---

    def log_path(self, name: str) -> Path:
        return self._log_dir / f"{name}.log"

    def missing(self, names: tuple[str, ...]) -> tuple[str, ...]:
        ready = {name for name, runner in self._runners.items() if runner.state is UnitState.READY}
        return tuple(name for name in names if name not in ready)

    def changed(self, runner: Runner) -> None:
        try:
            self._save()
        except StorageError as error:
            # The process runs or is gone either way; its marks find it again after a restart.
            _log.error("%s", error)
        status = runner.status()
        _log.info("%s is %s%s", status.name, status.state.value, f" ({status.last_exit})" if status.last_exit else "")
        for listener in tuple(self._listeners):
            listener(status)
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()
        for other in self._runners.values():
            if other.state is UnitState.WAITING:
                asyncio.get_running_loop().call_soon(other.dependencies_changed)

    def _save(self) -> None:
        self._records.save(
            UnitRecord(runner.spec, runner.wanted, runner.process.identity if runner.process else None, runner.running)
            for runner in self._runners.values()
        )

    # --- life of the supervisor ---

    def recover(self, boot_units: Sequence[UnitSpec] = ()) -> None:
        """Adopt what still runs, start what is wanted and does not, end what is nobody's."""
        records = self._records.load()
        strays = process.unrecorded(self.owner)
        for record in records:
            self._adopt(record, strays.pop(record.spec.name, None))
        for name, identity in strays.items():
            _log.warning("process %d belongs to no unit (%s): killed", identity.pid, name)
            process.sweep(self.owner, name, identity.pid)
        for spec in boot_units:
            self._define(spec)
            self._runners[spec.name].wanted = True
        for runner in tuple(self._runners.values()):
            if runner.process is None:
                process.sweep(self.owner, runner.spec.name, -1)
            if runner.wanted:
                runner.start()
            else:
                runner.stop()

    def _adopt(self, record: UnitRecord, found: ProcessIdentity | None) -> None:
        runner = Runner(record.spec, self)
        runner.wanted = record.wanted
        self._runners[record.spec.name] = runner
        running = record.running or record.spec
        if any(runner.adopt(identity, running) for identity in (record.process, found) if identity is not None):
            _log.info("%s adopted", record.spec.name)

    async def close(self) -> None:
        """Stop every unit, those that come after others first; what was wanted stays wanted."""
        self.closing = True
        for runner in self._runners.values():
            if runner.state in _WITHOUT_PROCESS:
                runner.halt()
        while running := [runner for runner in self._runners.values() if runner.state not in _WITHOUT_PROCESS]:
            needed = {name for runner in running for name in runner.spec.after}
            last = [runner for runner in running if runner.spec.name not in needed] or running
            for runner in last:
                runner.halt()
            await self._until(functools.partial(_all_gone, last), None)
        for runner in self._runners.values():
            runner.release()
        self._save()

    async def rotate_logs(self) -> None:
        """Keep the log files bounded; until cancelled."""
        while True:
            await self.clock.sleep(_ROTATE_EVERY_S)
            for name in tuple(self._runners):
                try:
                    log.rotate(self.log_path(name))
                except OSError as error:
                    _log.warning("cannot rotate the log of %s: %s", name, error)

    async def _until(self, done: Callable[[], bool], timeout_s: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    await self._pulse.wait()
        except TimeoutError:
            return False
        return True

    # --- the contract ---

    def _runner(self, name: str) -> Runner:
        runner = self._runners.get(name)
        if runner is None:
            raise NotFoundError("no such unit is defined", where=name, remedy="define it first")
        return runner

    def _define(self, spec: UnitSpec) -> None:
        unit_name(spec.name)
        runner = self._runners.get(spec.name)
        if runner is None:
            self._runners[spec.name] = Runner(spec, self)
        else:
            runner.spec = spec

    def define(self, spec: UnitSpec) -> None:
        """Raises InputError, StorageError."""
        self._define(spec)
        self._save()

    async def remove(self, name: str) -> None:
        if name not in self._runners:
            return
        await self.stop(name)
        runner = self._runners.pop(name, None)
        if runner is not None:
            runner.release()
        self._save()

    async def start(self, name: str) -> UnitStatus:
        runner = self._runner(name)
        undefined = [other for other in runner.spec.after if other not in self._runners]
        if undefined:
            raise DriverError(f"comes after {', '.join(undefined)}, which is not defined", where=name)
        if self.closing:
            raise RefusedError("the supervisor is stopping", where=name)
        died_before = runner.restarts
        runner.start()
        self._save()

        def settled() -> bool:
            return runner.state in _SETTLED or runner.restarts - died_before >= _HOPELESS_DEATHS

        await self._until(settled, runner.spec.ready.timeout_s + _GRACE_S)
        if runner.state is UnitState.READY:
            return runner.status()
        if runner.state is UnitState.STOPPED:
            if runner.last_exit == "exit 0":
                return runner.status()
            raise RefusedError("was stopped while it was starting", where=name)
        raise self._not_ready(runner, runner.restarts - died_before)

    def _not_ready(self, runner: Runner, deaths: int) -> DriverError:
        name = runner.spec.name
        reasons = []
        if deaths < _HOPELESS_DEATHS:
            reasons.append(f"did not become ready within {runner.spec.ready.timeout_s:g} s")
        if runner.state is UnitState.WAITING:
            reasons.append(f"waits for {', '.join(self.missing(runner.spec.after))}")
        if deaths:
            reasons.append(f"died {deaths} time{'s' if deaths > 1 else ''}")
        if runner.last_exit:
            reasons.append(f"last: {runner.last_exit}")
        written = log.tail(self.log_path(name), _TAIL_LINES)
        text = "; ".join(reasons) + ("; it wrote: " + " | ".join(written) if written else "; it wrote nothing")
        return DriverError(text, where=name, remedy=f"read its log: {self.log_path(name)}")

    async def stop(self, name: str) -> UnitStatus:
        runner = self._runner(name)
        runner.stop()
        self._save()
        limit = (runner.running or runner.spec).stop_timeout_s + _KILL_GRACE_S
        if not await self._until(lambda: runner.state is not UnitState.STOPPING, limit):
            raise DriverError("is still there after SIGKILL", where=name, remedy="look for a stuck device or mount")
        return runner.status()

    async def restart(self, name: str) -> UnitStatus:
        await self.stop(name)
        return await self.start(name)

    def status(self, name: str) -> UnitStatus | None:
        runner = self._runners.get(name)
        return None if runner is None else runner.status()

    def list(self) -> tuple[UnitStatus, ...]:
        return tuple(self._runners[name].status() for name in sorted(self._runners))

    def log(self, name: str, lines: int) -> tuple[str, ...]:
        """Raises NotFoundError when the unit is unknown and left no log."""
        path = self.log_path(unit_name(name))
        if name not in self._runners and not path.exists():
            self._runner(name)
        return log.tail(path, lines)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` at every change of state; the returned function ends it."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)
