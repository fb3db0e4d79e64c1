"""Driver `snmp-devices`: the devices of an appliance are polled, set as the fleet says, and switched when one fails.

A device that does not answer is an alarm. It refuses nothing that does not set it, and counts as it was when last set.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from headend.devices import identify
from headend.devices.device import Device
from headend.devices.documents import SnmpDevice, SnmpDevicesSection
from headend.devices.errors import SET_FAILED, DeviceError
from headend.devices.history import History, entry_of
from headend.devices.instances import resolve
from headend.devices.memory import Memory
from headend.devices.names import DEVICES
from headend.devices.opening import OpenDevices, ResolveSecret
from headend.devices.operations import operations
from headend.devices.outbox import Outbox
from headend.devices.redundant import Redundancy
from headend.devices.steps import LEAVE, MANAGE, RESTORE, SET, plan, rest_of
from headend.devices.values import ParameterValue, Value, equal
from headend.devices.wanted import SetOutcome
from headend.devices.watching import Watching
from headend.snmp.engine import EngineWatch
from headend.snmp.values import Quality
from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.documents.model import DocumentModel
from nf.documents.rules import nearest
from nf.errors import InputError, NfError, NotFoundError, Problem, RefusedError, UnavailableError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.trust.secrets import SecretFiles

_LOST: Final = (Quality.UNREACHABLE, Quality.STALE)
_SILENT_REMEDY: Final = "see that it has power, and that its address and credentials are right, and commit again"


class SnmpDevices:
    """`resolve`: the text of a secret; the agent's files unless a test gives another."""

    name = DEVICES
    section = DEVICES

    def __init__(self, context: DriverContext, resolve: ResolveSecret | None = None) -> None:
        self.appliance = context.appliance
        self.clock = context.clock
        self.state_dir = context.state_dir
        self.memory = Memory.load(context.state_dir)
        self.outbox = Outbox()
        self.engines = EngineWatch(context.clock, self._engine_alarm)
        for name, known in self.memory.engines.items():
            self.engines.restore(name, known)
        self._devices = OpenDevices(resolve or SecretFiles(), context.clock, self.engines)
        self._histories: dict[str, History] = {}
        self.set_failed: set[str] = set()
        self.watching = Watching(self)
        self.redundancy = Redundancy(self)

    def _engine_alarm(self, event: AlarmEvent) -> None:
        """With the command that ends it, where a person may."""
        accepted = event.severity is Severity.CRITICAL
        self.outbox.alarm(
            replace(event, remedy=f"{event.remedy}: nf device accept {event.object}") if accepted else event
        )

    @property
    def owns(self) -> Ownership:
        return Ownership(oids=frozenset({DEVICES}), ports=frozenset({"udp/162"}))

    @property
    def operations(self) -> Mapping[str, Operation]:
        return operations(self)

    # ---- what operations, polls and redundancy need ----

    @property
    def applied(self) -> SnmpDevicesSection:
        """The section as it was applied; an empty one before the first commit."""
        return self.memory.section or SnmpDevicesSection()

    def entry(self, name: str) -> SnmpDevice:
        """Raises NotFoundError."""
        for device in self.applied.devices:
            if device.id == name:
                return device
        known = (device.id for device in self.applied.devices)
        raise NotFoundError("no such device is looked after here", where=name, remedy=nearest(name, known))

    async def device(self, entry: SnmpDevice) -> Device:
        """The one open device of an entry, whatever it is to be set to.

        Raises NotFoundError (model or secret), IntegrityError, InputError.
        """
        return await self._devices.get(entry.model_copy(update={"parameters": {}}))

    async def ready(self, entry: SnmpDevice) -> Device:
        """The device, after it has answered and said that it is of its model.

        Raises what `device` raises, UnavailableError (silent), RefusedError (another model answers).
        """
        device = await self.device(entry)
        found = await device.session.get([probe.oid for probe in device.model.spec.identify] + [identify.SYS_DESCR])
        if all(reading.quality in _LOST for reading in found.values()):
            raise UnavailableError(f"the device {entry.id} does not answer", where=entry.id, remedy=_SILENT_REMEDY)
        if not all(identify.holds(probe, found.get(probe.oid)) for probe in device.model.spec.identify):
            told = identify.text(found.get(identify.SYS_DESCR))
            raise RefusedError(
                f"what answers at {device.target} is no {device.model.name}; it calls itself {told!r}",
                where=entry.id,
                remedy=f"correct its address or its model in the fleet: nf device probe {entry.address}",
            )
        return device

    def causes(self, name: str) -> frozenset[str] | None:
        """Probable causes of the alarms that stand on a device; None while nothing is known of it."""
        watched = self.watching.devices.get(name)
        causes = watched.causes if watched is not None else None
        return causes if causes is None or name not in self.set_failed else causes | {SET_FAILED}

    def history(self, name: str) -> History:
        if name not in self._histories:
            self._histories[name] = History(self.state_dir / DEVICES / "history" / f"{name}.jsonl")
        return self._histories[name]

    async def set(
        self, device: Device, changes: Mapping[str, Value], *, who: str, reason: str = "", plain: bool = False
    ) -> SetOutcome:
        """A verified set with its line of history; one that fails is an alarm until one works.

        `plain`: values are read back, effects are not waited for. Raises what `Device.set` raises, StorageError.
        """
        try:
            outcome = await device.set(changes, confirm=() if plain else None)
        except NfError as error:
            self.tell(device.name, who, error, reason)
            raise
        self.tell(device.name, who, outcome, reason)
        return outcome

    def tell(self, name: str, who: str, outcome: SetOutcome | NfError, reason: str = "") -> None:
        """Write a set into the history, and raise or clear its alarm. Raises StorageError."""
        now = self.clock.now()
        if isinstance(outcome, DeviceError):
            self.set_failed.add(name)
            self.outbox.alarm(outcome.alarm(name, now))
        elif isinstance(outcome, SetOutcome):
            self.set_failed.discard(name)
            self.outbox.alarm(AlarmEvent(SET_FAILED, name, Severity.CLEARED, now))
        if isinstance(outcome, NfError) or outcome.changed:
            self.history(name).add(entry_of(now, name, who, outcome, reason))

    # ---- observing and planning ----

    async def observe(self) -> State:
        """What was applied, with what differs now. A device that does not answer differs in nothing."""
        section = self.memory.section
        if section is None:
            return State(None)
        found = await asyncio.gather(*(self._differences(device) for device in section.devices))
        altered: JsonObject = {
            device.id: [*lines] for device, lines in zip(section.devices, found, strict=True) if lines
        }
        value = section.to_json()
        return State({**value, "altered": altered} if altered else value)

    async def _differences(self, entry: SnmpDevice) -> tuple[str, ...]:
        if not entry.parameters:
            return ()
        try:
            device = await self.ready(entry)
            found = await device.read(entry.parameters)
        except NfError:
            return ()  # the polls raise the alarm
        return tuple(
            f"{entry.id}: {name} is {_told(found[resolve(device.model, name).name])}, not {value}"
            for name, value in entry.parameters.items()
            if not _is(device, name, value, found)
        )

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return plan(have, SnmpDevicesSection.narrowed(want))

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:  # noqa: ARG002 - the contract's
        """Every device that is to be set answers, and is of its model; not when the appliance enrols.

        Raises RefusedError.
        """
        wanted = [SnmpDevice.model_validate(s.arguments["device"]) for s in steps if s.kind == SET and not _first(s)]
        problems = await asyncio.gather(*(self._problem(entry) for entry in wanted if entry.parameters))
        found = [problem for problem in problems if problem is not None]
        if found:
            raise RefusedError("devices cannot be set", where=self.name, problems=found)

    async def _problem(self, entry: SnmpDevice) -> Problem | None:
        try:
            await self.ready(entry)
        except NfError as error:
            return Problem(error.message, error.remedy, key=f"device.{entry.id}", value=entry.id)
        return None

    # ---- changing ----

    async def prepare(self, step: Step) -> Undo:
        """The values that the step will replace, where the device answers."""
        if step.kind == MANAGE:
            return Undo(RESTORE, {"rest": rest_of(self.memory.section)})
        wanted = SnmpDevice.model_validate(step.arguments["device"])
        before = next((one for one in self.applied.devices if one.id == wanted.id), None)
        values: JsonObject = {}
        if step.kind == SET and wanted.parameters:
            with suppress(NfError):  # nothing will be written to it, then
                device = await self.ready(wanted)
                found = await device.read(wanted.parameters)
                values = {name: value.value for name, value in found.items() if value.good}
        return Undo(
            RESTORE,
            {
                "before": before.to_json() if before is not None else None,
                "device": wanted.to_json(),
                "values": values,
            },
        )

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DeviceError, UnavailableError, RefusedError when the device does not take it, InputError."""
        if (step.kind, step.version) == (MANAGE, 1):
            self._manage(step.arguments["rest"])
            return
        entry = SnmpDevice.model_validate(step.arguments["device"])
        if (step.kind, step.version) == (LEAVE, 1):
            self._remember(entry.id, None)
            return
        if (step.kind, step.version) != (SET, 1):
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)
        if entry.parameters:
            try:
                device = await self.ready(entry)
            except NfError:
                if not _first(step):
                    raise
            else:
                context.progress(0.2, f"setting {len(entry.parameters)} parameters of {entry.id}")
                await self.set(device, _ordered(device, entry.parameters), who="the fleet document")
        self._remember(entry.id, entry)

    def _manage(self, rest: Json) -> None:
        """Raises StorageError."""
        devices = self.applied.devices
        if isinstance(rest, dict):
            kept: JsonObject = {"devices": [device.to_json() for device in devices]}
            self.memory.section = SnmpDevicesSection.model_validate(rest | kept)
        else:
            self.memory.section = SnmpDevicesSection(devices=devices) if devices else None
        self._changed()

    def _remember(self, name: str, entry: SnmpDevice | None) -> None:
        """Raises StorageError."""
        kept = [one for one in self.applied.devices if one.id != name] + ([entry] if entry is not None else [])
        devices = tuple(sorted(kept, key=lambda one: one.id))
        self.memory.section = self.applied.model_copy(update={"devices": devices})
        if self.memory.section == SnmpDevicesSection():
            self.memory.section = None
        self._changed()

    def _changed(self) -> None:
        self.memory.save()
        self.watching.changed()
        self.redundancy.wake()

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        """To the values of before. Raises DeviceError, UnavailableError when the device does not take them."""
        if undo.kind != RESTORE:
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        if "rest" in undo.data:
            self._manage(undo.data["rest"])
            return
        wanted = SnmpDevice.model_validate(undo.data["device"])
        values = undo.data["values"]
        if isinstance(values, dict) and values:
            device = await self.ready(wanted)
            old = {name: value for name, value in values.items() if not isinstance(value, dict | list)}
            await self.set(device, _ordered(device, old), who="undo of a commit", plain=True)
        before = undo.data["before"]
        self._remember(wanted.id, None if before is None else SnmpDevice.model_validate(before))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        """Every device that answers reads back what it is to be."""
        section = SnmpDevicesSection.narrowed(want)
        while True:
            found = await asyncio.gather(
                *(self._differences(device) for device in (section.devices if section is not None else ()))
            )
            wrong = tuple(line for lines in found for line in lines)
            if not wrong or not await context.again(0.3):
                return Drift(wrong)

    # ---- running ----

    async def events(self) -> AsyncIterator[Event]:
        """Polls, notifications and redundancy groups run as long as somebody iterates."""
        running = asyncio.create_task(self._run(), name="devices")
        out = self.outbox.events()
        try:
            while not running.done():
                coming = asyncio.ensure_future(anext(out))
                try:
                    await asyncio.wait([coming, running], return_when=asyncio.FIRST_COMPLETED)
                    if coming.done():
                        yield coming.result()
                finally:
                    coming.cancel()
            running.result()
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.watching.run(), name="watching devices")
            group.create_task(self.redundancy.run(), name="redundancy groups")

    async def close(self) -> None:
        """Let go of the sessions with devices."""
        await self._devices.close()


def _first(step: Step) -> bool:
    return step.arguments.get("first") is True


def _ordered(device: Device, values: Mapping[str, Value]) -> dict[str, Value]:
    """In the order of the model's file, rows together: JSON keeps none."""
    order = {name: number for number, name in enumerate(device.model.parameters)}
    instances = {name: resolve(device.model, name) for name in values}
    names = sorted(values, key=lambda name: (instances[name].suffix, order[instances[name].key]))
    return {name: values[name] for name in names}


def _is(device: Device, name: str, wanted: Value, found: Mapping[str, ParameterValue]) -> bool:
    instance = resolve(device.model, name)
    value = found[instance.name]
    if value.quality in _LOST:
        return True  # it stopped answering meanwhile: nothing is known
    return value.good and equal(instance.parameter, wanted, value.value)


def _told(value: ParameterValue) -> str:
    return str(value.value) if value.good else value.quality.value


def create(context: DriverContext) -> SnmpDevices:
    return SnmpDevices(context)
