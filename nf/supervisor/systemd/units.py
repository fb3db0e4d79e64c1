"""The units contract over systemd, for appliances. It holds nothing that the next agent could miss."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from nf.contracts.units import UnitSpec, UnitState, UnitStatus
from nf.errors import DriverError, InputError, NotFoundError, RefusedError, UnavailableError
from nf.supervisor.protocol import spec_from_json, spec_to_json, unit_name
from nf.supervisor.systemd import journal
from nf.supervisor.systemd.bus import Properties, Systemd
from nf.supervisor.systemd.names import service
from nf.supervisor.systemd.records import Kept, Store
from nf.supervisor.systemd.render import render
from nf.supervisor.systemd.states import invocation, last_exit, settled, status_of

LINKS: Final = Path("/run/systemd/system")
SHIPPED: Final = Path("/usr/lib/systemd/system")
VOLATILE: Final = Path("/run")

_GRACE_S = 3.0  # for what systemd does around a program: the sandbox takes its time on a busy machine
_KILL_GRACE_S = 30.0  # a process that waits for its disk ends when the disk has answered
_HOPELESS_DEATHS = 4  # in a row, while somebody waits for it to start: the caller is told at once
_TAIL_LINES = 20
_LOOK_AGAIN_S = 1.0  # when no signal came: a property without one may have changed
_RETRY_FIRST_S, _RETRY_LAST_S = 0.05, 1.0


class SystemdUnits:
    """Implements `nf.contracts.units.Units`.

    hidden   places that no unit sees, but for what its sandbox names there: keys, secrets, what the agent keeps
    volatile what a boot empties
    address  of the D-Bus, when it is not the system's own

    Every call raises UnavailableError when systemd does not answer. Beyond the contract, a unit that is started starts
    those that it comes after.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        hidden: Sequence[Path] = (),
        links: Path = LINKS,
        shipped: Path = SHIPPED,
        volatile: Path = VOLATILE,
        address: str | None = None,
    ) -> None:
        self._store = Store(state_dir, links)
        self._hidden = tuple(hidden)
        self._shipped = shipped
        self._volatile = volatile
        self._systemd = Systemd(address)
        self._systemd.listen(self._heard)
        self._version = 0
        self._kept: dict[str, Kept] | None = None
        self._known: dict[str, Properties] = {}  # from signals; only differences and ends are read from it
        self._exits: dict[str, str] = {}
        self._stopped: dict[str, int] = {}  # how often somebody stopped it, for those who wait for its start
        self._pulse = asyncio.Event()
        self._locks: dict[str, asyncio.Lock] = {}

    # -- the contract -----------------------------------------------------------------------------------------------

    async def define(self, spec: UnitSpec) -> None:
        """Raises InputError, StorageError."""
        name = unit_name(spec.name)
        spec_from_json(spec_to_json(spec))
        if (self._shipped / service(name)).exists():
            raise InputError("the appliance has a service of its own by that name", where=name)
        if not self._version:
            self._version = await self._systemd.version()
        text = render(spec, hidden=self._hidden, version=self._version)
        async with self._lock(name):
            before = self._records.get(name)
            kept = Kept(spec) if before is None else await self._redefined(before, spec)
            self._keep(kept)
            replaced = self._store.publish(name, text)
            # What systemd never saw it reads when it first needs it.
            if replaced or (before is None and await self._systemd.loaded(service(name))):
                await self._systemd.reload()

    async def remove(self, name: str) -> None:
        if name not in self._records:
            return
        await self.stop(name)
        async with self._lock(name):
            for known in (self._records, self._known, self._exits):
                known.pop(name, None)
            self._store.remove(name)  # systemd forgets by itself what neither runs nor has a file

    async def start(self, name: str) -> UnitStatus:
        spec = self._of(name).spec
        undefined = [other for other in spec.after if other not in self._records]
        if undefined:
            raise DriverError(f"comes after {', '.join(undefined)}, which is not defined", where=name)
        self._store.link(name)
        _make_places(spec)
        self._want(name, wanted=True)
        stopped, file = self._stopped.get(name, 0), service(name)
        died_before = int((await self._systemd.properties(file)).get("NRestarts", 0))
        await self._systemd.start(file)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + spec.ready.timeout_s + _GRACE_S
        while True:
            pulse = self._pulse
            properties = await self._systemd.properties(file)
            status = self._status(self._of(name), properties)
            if status.state is UnitState.READY:
                return status
            if self._stopped.get(name, 0) != stopped:
                raise RefusedError("was stopped while it was starting", where=name)
            if status.state is UnitState.STOPPED and settled(properties):
                self._want(name, wanted=False)
                return status
            deaths = status.restarts - died_before
            if status.state is UnitState.FAILED or deaths >= _HOPELESS_DEATHS or loop.time() >= deadline:
                raise await self._not_ready(spec, status, deaths, properties)
            await _pause(pulse, min(_LOOK_AGAIN_S, deadline - loop.time()))

    async def stop(self, name: str) -> UnitStatus:
        spec = self._of(name).spec
        self._want(name, wanted=False)
        self._stopped[name] = self._stopped.get(name, 0) + 1
        file, loop = service(name), asyncio.get_running_loop()
        await self._systemd.stop(file)
        self._wake()
        deadline = loop.time() + spec.stop_timeout_s + _KILL_GRACE_S
        while True:
            pulse = self._pulse
            properties = await self._systemd.properties(file)
            if settled(properties):
                break
            if loop.time() >= deadline:
                raise DriverError("is still there after SIGKILL", where=name, remedy="look for a stuck device or mount")
            await _pause(pulse, _LOOK_AGAIN_S)
        self._remember(name, properties)
        if properties.get("ActiveState") == "failed":
            await self._systemd.reset_failed(file)
            properties = await self._systemd.properties(file)
        return self._status(self._of(name), properties)

    async def restart(self, name: str) -> UnitStatus:
        await self.stop(name)
        return await self.start(name)

    async def status(self, name: str) -> UnitStatus | None:
        kept = self._records.get(name)
        return None if kept is None else self._status(kept, await self._systemd.properties(service(name)))

    async def list(self) -> tuple[UnitStatus, ...]:
        records = sorted(self._records.items())
        found = await asyncio.gather(*(self._systemd.properties(service(name)) for name, _ in records))
        return tuple(self._status(kept, properties) for (_, kept), properties in zip(records, found, strict=True))

    async def log(self, name: str, lines: int = 50) -> tuple[str, ...]:
        """Raises NotFoundError when the unit is unknown and wrote nothing."""
        written = await journal.tail(service(unit_name(name)), lines)
        if not written:
            self._of(name)
        return written

    async def watch(self) -> AsyncIterator[UnitStatus]:
        """Every change of state from now on, for as long as the caller iterates.

        When the connection was lost it connects anew and gives what differs from what was last seen.
        """
        seen: dict[str, UnitStatus] = {}
        first, pause = True, _RETRY_FIRST_S
        while True:
            with contextlib.suppress(UnavailableError), self._changes() as queue:
                await self._systemd.connect()
                for status in await self.list():
                    if not first and seen.get(status.name) != status:
                        yield status
                    seen[status.name] = status
                first, pause = False, _RETRY_FIRST_S
                async for name, properties in _until_lost(queue, self._systemd.lost):
                    kept = self._records.get(name)
                    if kept is None:
                        continue
                    status = self._status(kept, properties)
                    if seen.get(name) != status:
                        seen[name] = status
                        yield status
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_LAST_S)

    # -- beyond it --------------------------------------------------------------------------------------------------

    async def restore(self) -> tuple[str, ...]:
        """After a boot: link every definition and start what was wanted; which. It does not wait for readiness.

        What was given files below /run, which a boot empties, could only fail until the agent has made them anew: it is
        left to the agent, whose first reconcile starts it.
        """
        if not self._version:
            self._version = await self._systemd.version()
        for name, kept in self._records.items():
            # Rendered anew, since it may be that this boot brought other software.
            self._store.publish(name, render(kept.spec, hidden=self._hidden, version=self._version))
        await self._systemd.reload()
        wanted = tuple(
            name for name, kept in self._records.items() if kept.wanted and not lost(kept.spec, self._volatile)
        )
        for name in wanted:
            _make_places(self._records[name].spec)
            await self._systemd.start(service(name))
        return wanted

    async def close(self) -> None:
        """Leave the bus; the units go on."""
        await self._systemd.close()

    # -- within -----------------------------------------------------------------------------------------------------

    @property
    def _records(self) -> dict[str, Kept]:
        if self._kept is None:
            self._kept = self._store.load()
        return self._kept

    def _of(self, name: str) -> Kept:
        kept = self._records.get(name)
        if kept is None:
            raise NotFoundError("no such unit is defined", where=name, remedy="define it first")
        return kept

    def _keep(self, kept: Kept) -> None:
        self._store.save(kept)
        self._records[kept.spec.name] = kept

    def _want(self, name: str, *, wanted: bool) -> None:
        kept = self._of(name)
        if kept.wanted is not wanted:
            self._keep(replace(kept, wanted=wanted))

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _redefined(self, before: Kept, spec: UnitSpec) -> Kept:
        """The definition that the living process was started with stays known by its invocation."""
        properties = await self._systemd.properties(service(spec.name))
        if not properties.get("MainPID"):
            return Kept(spec, before.wanted)
        now = invocation(properties)
        return Kept(spec, before.wanted, before.running(now), now)

    def _status(self, kept: Kept, properties: Properties) -> UnitStatus:
        return status_of(kept, properties, self._exits.get(kept.spec.name, ""))

    async def _not_ready(self, spec: UnitSpec, status: UnitStatus, deaths: int, properties: Properties) -> DriverError:
        reasons = []
        if deaths < _HOPELESS_DEATHS:
            reasons.append(f"did not become ready within {spec.ready.timeout_s:g} s")
        if status.state is UnitState.WAITING:
            reasons.append(f"waits for {', '.join(await self._missing(spec)) or 'systemd'}")
        if properties.get("LoadState") not in {"loaded", None}:
            reasons.append(f"systemd cannot load it ({properties['LoadState']})")
        if deaths:
            reasons.append(f"died {deaths} time{'s' if deaths > 1 else ''}")
        if status.last_exit:
            reasons.append(f"last: {status.last_exit}")
        written = await journal.tail(service(spec.name), _TAIL_LINES)
        text = "; ".join(reasons) + ("; it wrote: " + " | ".join(written) if written else "; it wrote nothing")
        return DriverError(text, where=spec.name, remedy=f"read its log: nf supervisor log {spec.name}")

    async def _missing(self, spec: UnitSpec) -> tuple[str, ...]:
        found = [await self.status(name) for name in spec.after]
        return tuple(status.name for status in found if status is not None and status.state is not UnitState.READY)

    # -- what systemd tells -----------------------------------------------------------------------------------------

    def _heard(self, name: str, changed: Properties) -> None:
        known = self._known[name] = self._known.get(name, {}) | changed
        self._remember(name, known)
        self._wake()

    def _remember(self, name: str, properties: Properties) -> None:
        kept = self._records.get(name)
        if kept is not None and (text := last_exit(properties, kept.spec)):
            self._exits[name] = text

    def _wake(self) -> None:
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()

    @contextlib.contextmanager
    def _changes(self) -> Iterator[asyncio.Queue[tuple[str, Properties]]]:
        """What is known of each unit after each change of it, from the signals alone: so that no state is skipped."""
        queue: asyncio.Queue[tuple[str, Properties]] = asyncio.Queue()

        def heard(name: str, _: Properties) -> None:
            if "ActiveState" in (known := self._known.get(name, {})):
                queue.put_nowait((name, known))

        stop: Callable[[], None] = self._systemd.listen(heard)
        try:
            yield queue
        finally:
            stop()


def lost(spec: UnitSpec, volatile: Path) -> tuple[Path, ...]:
    """Places below `volatile` that arguments, environment or sandbox of a unit name, and that are not there."""
    box = spec.sandbox
    words = (*spec.argv, *(value for _, value in spec.environment), str(spec.directory))
    named = re.findall(rf"{re.escape(str(volatile))}/[^\s:,;=]+", " ".join(words))
    given = {*map(Path, named), *box.writable, *box.readable, *box.executable}
    return tuple(sorted(place for place in given if place.is_relative_to(volatile) and not place.exists()))


def _make_places(spec: UnitSpec) -> None:
    """What the unit may write must be there before its sandbox can be made. Raises DriverError."""
    sandbox = spec.sandbox
    try:
        for place in sandbox.writable:
            if place.is_dir():
                continue
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            if sandbox.user:
                shutil.chown(place, sandbox.user, sandbox.group or None)
    except LookupError:
        return  # systemd says it better
    except OSError as error:
        raise DriverError(f"cannot make a place that it may write: {error}", where=spec.name) from error


async def _pause(pulse: asyncio.Event, limit_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(pulse.wait(), max(0.0, limit_s))


async def _until_lost(
    queue: asyncio.Queue[tuple[str, Properties]], lost: asyncio.Event
) -> AsyncIterator[tuple[str, Properties]]:
    gone = asyncio.ensure_future(lost.wait())
    try:
        while not gone.done():
            taken = asyncio.ensure_future(queue.get())
            await asyncio.wait({taken, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not taken.done():
                taken.cancel()
                return
            yield taken.result()
    finally:
        gone.cancel()
