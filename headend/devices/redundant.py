"""Redundancy groups at work: alarms of the polls in, verified switches out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from headend.devices.device import Device
from headend.devices.documents import Position, RedundancyGroup, SwitchedParameter
from headend.devices.group import Group
from headend.devices.instances import resolve
from headend.devices.memory import Lock
from headend.devices.model import Condition, Effect
from headend.devices.redundancy import Action, Mute, Stranded, Switch, SwitchFailed
from headend.devices.switching import Move, carry_out
from headend.devices.values import Value, equal
from headend.devices.waiting import happens
from nf.documents.rules import nearest
from nf.errors import NfError, NotFoundError, RefusedError, UnavailableError
from nf.telemetry.alarms import AlarmEvent, Severity

if TYPE_CHECKING:
    from headend.devices.driver import SnmpDevices

ON_BACKUP: Final = "redundancy-on-backup"
STRANDED: Final = "redundancy-stranded"
SWITCH_FAILED: Final = "redundancy-switch-failed"
MUTED: Final = "redundancy-muted"
UNDEFINED: Final = "redundancy-undefined"
_LONGEST_WAIT_S: Final = 5.0


@dataclass(eq=False)
class Running:
    """A group at work. `resumed`: positions whose unit is known; nothing switches by itself before."""

    entry: RedundancyGroup
    group: Group
    resumed: set[str] = field(default_factory=set)
    told: set[tuple[str, str]] = field(default_factory=set)
    switching: dict[str, asyncio.Task[NfError | None]] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return len(self.resumed) == len(self.entry.positions)


class Redundancy:
    """The groups of one appliance."""

    def __init__(self, driver: SnmpDevices) -> None:
        self._driver = driver
        self._clock = driver.clock
        self._wake = asyncio.Event()
        self._work: asyncio.TaskGroup | None = None
        self.groups: dict[str, Running] = {}

    def wake(self) -> None:
        """Alarms, or the section, may be others."""
        self._wake.set()

    async def run(self) -> None:
        self.groups.clear()
        try:
            async with asyncio.TaskGroup() as self._work:
                while True:
                    self._wake.clear()
                    self._follow()
                    for running in tuple(self.groups.values()):
                        await self._resume(running)
                        if running.ready:
                            self._act(running, running.group.update(self._alarms(running), self._clock.monotonic()))
                    await happens(self._wake, self._clock, self._wait_s())
        finally:
            self._work = None

    def _wait_s(self) -> float:
        due = [running.group.next_timeout() for running in self.groups.values() if running.ready]
        now = self._clock.monotonic()
        return max(0.05, min((at - now for at in due if at is not None), default=_LONGEST_WAIT_S))

    def _follow(self) -> None:
        wanted = {group.id: group for group in self._driver.applied.groups}
        for name, running in tuple(self.groups.items()):
            if wanted.get(name) != running.entry and not running.switching:
                for cause, position in tuple(running.told):
                    self._tell(running, cause, position, Severity.CLEARED)
                del self.groups[name]
        for name, entry in wanted.items():
            if name not in self.groups:
                mains = {position.id: position.main for position in entry.positions}
                group = Group(entry.settings, mains, entry.backups)
                group.lock(locked=name in self._driver.memory.locks, now=self._clock.monotonic())
                self.groups[name] = Running(entry, group)

    def _alarms(self, running: Running) -> dict[str, Iterable[str]]:
        """Of the units of which something is known."""
        found: dict[str, Iterable[str]] = {}
        for unit in running.entry.units:
            causes = self._driver.causes(unit)
            if causes is not None:
                found[unit] = causes
        return found

    # ---- where it stands ----

    async def _resume(self, running: Running) -> None:
        """Which unit carries each position, by what the devices hold."""
        for position in running.entry.positions:
            if position.id in running.resumed:
                continue
            try:
                unit = await self._carrying(running.entry, position)
                if unit is not None:
                    running.group.resume(position.id, unit)
            except UnavailableError:
                continue  # nothing can be switched now either
            except NfError as error:
                self._tell(running, UNDEFINED, position.id, Severity.MAJOR, str(error), remedy=error.remedy)
                continue
            running.resumed.add(position.id)
            if unit is None:
                text = f"the devices hold neither what {position.main} needs nor what a backup does"
                remedy = f"nf device switch {running.entry.id} {position.id} {position.main}"
                self._tell(running, UNDEFINED, position.id, Severity.MAJOR, text, remedy=remedy)
            else:
                self._tell(running, UNDEFINED, position.id, Severity.CLEARED)
                self._tell_place(running, position.id)

    async def _carrying(self, entry: RedundancyGroup, position: Position) -> str | None:
        """Raises UnavailableError when a device does not answer."""
        held: dict[int, Value] = {}
        for number, one in enumerate(position.switch):
            device = await self._device(one.device)
            instance = resolve(device.model, one.parameter)
            value = (await device.read_instances([instance]))[instance.name]
            if not value.good:
                raise UnavailableError(f"{one.parameter} is {value.quality.value}", where=one.device)
            held[number] = value.value
        for unit in (position.main, *entry.backups):
            matches = [
                equal(
                    resolve((await self._device(one.device)).model, one.parameter).parameter,
                    one.value(unit, position.main),
                    held[number],
                )
                for number, one in enumerate(position.switch)
            ]
            if all(matches):
                return unit
        return None

    async def _device(self, name: str) -> Device:
        return await self._driver.device(self._driver.entry(name))

    # ---- doing ----

    def _act(self, running: Running, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Switch():
                    self._start(running, action, "redundancy")
                case Mute(position, muted):
                    if self._work is not None:
                        self._work.create_task(self._mute(running, position, muted=muted), name="muting")
                case Stranded(position, unit, reason):
                    severity = Severity.CRITICAL if reason else Severity.CLEARED
                    text = f"{unit} has failed and stays: {reason}" if reason else ""
                    self._tell(running, STRANDED, position, severity, text, remedy="see the alarms of the units")
                case SwitchFailed():
                    pass  # told with its reason by whoever carried it out

    def _start(self, running: Running, action: Switch, who: str) -> asyncio.Task[NfError | None]:
        if self._work is None:
            raise UnavailableError("redundancy groups are not at work yet", where=running.entry.id)
        task = self._work.create_task(self._switch(running, action, who), name=f"switching {action.position}")
        running.switching[action.position] = task
        return task

    async def _switch(self, running: Running, action: Switch, who: str) -> NfError | None:
        """Why it failed; None when it has worked."""
        name = action.position
        failed: NfError | None = None
        try:
            await self._carry_out(running, action, who)
        except NfError as error:
            failed = error
            text = f"the switch from {action.source} to {action.target} failed: {error}"
            self._tell(running, SWITCH_FAILED, name, Severity.MAJOR, text, remedy=error.remedy)
        else:
            self._tell(running, SWITCH_FAILED, name, Severity.CLEARED)
        running.switching.pop(name, None)
        now = self._clock.monotonic()
        self._act(running, running.group.finished(name, ok=failed is None, now=now))
        self._tell_place(running, name, action.reason)
        self.wake()
        return failed

    async def _carry_out(self, running: Running, action: Switch, who: str) -> None:
        """Raises DeviceError and what opening a device raises."""
        position = _position(running.entry, action.position)
        told = f"{who}: {running.entry.id}/{position.id} to {action.target}"
        moves: list[Move] = []
        for name, listed in groupby(position.switch, key=lambda one: one.device):
            device, together = await self._device(name), tuple(listed)
            changes: dict[str, Value] = {one.parameter: one.value(action.target, position.main) for one in together}
            moves.append(Move(device, changes, _proof(device, together)))
        try:
            outcomes = await carry_out(moves)
        except NfError as error:
            self._driver.tell(error.where or moves[0].device.name, told, error, action.reason)
            raise
        for move, outcome in zip(moves, outcomes, strict=True):
            self._driver.tell(move.device.name, told, outcome, action.reason)

    async def _mute(self, running: Running, name: str, *, muted: bool) -> None:
        position = _position(running.entry, name)
        try:
            for one in position.mute:
                device = await self._device(one.device)
                changes: dict[str, Value] = {one.parameter: one.muted if muted else one.heard}
                await self._driver.set(device, changes, who=f"redundancy: {running.entry.id}/{name}", plain=True)
        except NfError as error:
            self._tell(running, MUTED, name, Severity.CRITICAL, f"it could not be muted: {error}", remedy=error.remedy)
            return
        severity = Severity.MAJOR if muted else Severity.CLEARED
        self._tell(running, MUTED, name, severity, "muted, since nothing can carry it" if muted else "")

    # ---- by a person ----

    def running(self, name: str) -> Running:
        """Raises NotFoundError."""
        if name not in self.groups:
            raise NotFoundError("no such redundancy group here", where=name, remedy=nearest(name, self.groups))
        return self.groups[name]

    async def switch(self, name: str, position: str, unit: str, who: str, reason: str) -> None:
        """Now, whatever mode, delays, flap limit and lock say. Raises NotFoundError, RefusedError, why it failed."""
        running = self.running(name)
        if not running.ready:
            raise UnavailableError(
                "it is not known yet which units carry", where=name, remedy="see that the switched devices answer"
            )
        for action in running.group.switch(position, unit, self._clock.monotonic()):
            if isinstance(action, Switch):
                asked = Switch(action.position, action.source, action.target, action.automatic, reason)
                failed = await asyncio.shield(self._start(running, asked, who))
                if failed is not None:
                    raise failed
            else:
                self._act(running, [action])

    def lock(self, name: str, *, locked: bool, who: str, reason: str) -> None:
        """The maintenance lock; it stands over restarts. Raises NotFoundError, RefusedError, StorageError."""
        running = self.running(name)
        locks = self._driver.memory.locks
        if locked == (name in locks):
            raise RefusedError("it is locked already" if locked else "it is not locked", where=name)
        if locked:
            locks[name] = Lock(who, reason, self._clock.now())
        else:
            del locks[name]
        self._driver.memory.save()
        self._act(running, running.group.lock(locked=locked, now=self._clock.monotonic()))
        self.wake()

    # ---- telling ----

    def _tell_place(self, running: Running, name: str, reason: str = "") -> None:
        position, active = _position(running.entry, name), running.group.active(name)
        if active == position.main:
            self._tell(running, ON_BACKUP, name, Severity.CLEARED)
        else:
            text = f"{active} carries it instead of {position.main}" + (f": {reason}" if reason else "")
            self._tell(running, ON_BACKUP, name, Severity.MINOR, text, remedy=f"nf device group {running.entry.id}")

    def _tell(
        self, running: Running, cause: str, position: str, severity: Severity, text: str = "", *, remedy: str = ""
    ) -> None:
        if severity is Severity.CLEARED:
            running.told.discard((cause, position))
        else:
            running.told.add((cause, position))
        about = f"{running.entry.id}/{position}"
        self._driver.outbox.alarm(AlarmEvent(cause, about, severity, self._clock.now(), text, remedy))


def _proof(device: Device, switched: Iterable[SwitchedParameter]) -> tuple[Effect, ...] | None:
    """The group's effects besides the model's own; None when the group has none."""
    given = {
        (resolve(device.model, one.parameter).key, one.effect.watch): one.effect
        for one in switched
        if one.effect is not None
    }
    if not given:
        return None
    own = tuple(
        Effect(
            parameters=(key,),
            watch=watch,
            expect=Condition(equals=effect.expect),
            when=dict(effect.when),
            within_s=effect.within_ms / 1000,
        )
        for (key, watch), effect in given.items()
    )
    return (*device.model.standing_effects, *own)


def _position(entry: RedundancyGroup, name: str) -> Position:
    return next(position for position in entry.positions if position.id == name)
