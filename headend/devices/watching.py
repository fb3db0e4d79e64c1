"""Polling: values, alarms and samples of every device that is looked after. What is read is what stands."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from headend.devices.alarms import AlarmWatch
from headend.devices.device import Device
from headend.devices.documents import SnmpDevice
from headend.devices.hms import HmsWatch, read_alarms
from headend.devices.instances import Instance, resolve
from headend.devices.notifications import Notifications
from headend.devices.rows import parse_name
from headend.devices.telemetry import samples
from headend.devices.values import ParameterValue
from headend.devices.waiting import happens
from headend.snmp.fast import SYS_UP_TIME
from headend.snmp.poller import Poller, PollGroup
from headend.snmp.values import Quality, Reading
from nf.errors import NfError, RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity

if TYPE_CHECKING:
    from headend.devices.driver import SnmpDevices

ROWS_EVERY_S: Final = 60.0
"""So often rows that come and go are looked for."""
HMS_EVERY_S: Final = 10.0
RETRY_S: Final = 30.0
_MISSES: Final = 2
"""So many polls without an answer are silence; one is a datagram that was lost."""
_UP_TIME_EVERY_S: Final = 5.0
UNUSABLE: Final = "device-unusable"
WRONG_MODEL: Final = "device-model-wrong"


@dataclass(eq=False)
class Watched:
    """What is known of one device. `asked_s`: when it was last looked whether its credentials can be had.

    known   its values can be believed, or are known to be out of reach; before that nothing is said about it
    """

    entry: SnmpDevice
    alarms: AlarmWatch | None = None
    hms: HmsWatch | None = None
    device: Device | None = None
    instances: dict[str, Instance] = field(default_factory=dict)  # by OID
    values: dict[str, ParameterValue] = field(default_factory=dict)
    decoded: dict[str, tuple[Reading, Instance, ParameterValue]] = field(default_factory=dict)  # by OID
    known: bool = False
    silent: bool = False
    unusable: str = ""
    wrong_model: str = ""
    asked_s: float = float("-inf")
    rows_s: float = float("-inf")
    hms_s: float = float("-inf")
    busy: bool = False

    @property
    def state(self) -> str:
        if self.unusable:
            return "unusable"
        if self.wrong_model:
            return "wrong model"
        return ("silent" if self.silent else "answers") if self.known else "not polled yet"

    @property
    def causes(self) -> frozenset[str] | None:
        """The alarms that stand; None while nothing is known."""
        if not self.known or self.alarms is None:
            return None
        return self.alarms.causes | (self.hms.causes if self.hms is not None else frozenset())


class Watching:
    """Of one appliance. It outlives `run`, so that an alarm that stood before is cleared by what is read after."""

    def __init__(self, driver: SnmpDevices) -> None:
        self._driver = driver
        self._clock = driver.clock
        self._outbox = driver.outbox
        self._changed = asyncio.Event()
        self._poller: Poller | None = None
        self._work: asyncio.TaskGroup | None = None
        self.devices: dict[str, Watched] = {}
        self.notifications = Notifications(driver, self.hint)

    def changed(self) -> None:
        """The section is another one."""
        self._changed.set()
        self.notifications.changed()

    def hint(self, address: str) -> None:
        """Something happened at this address: look at once."""
        if self._poller is not None:
            self._poller.poll_address(address)

    async def run(self) -> None:
        self._poller = Poller(self._clock, watch=self._driver.engines)
        for watched in self.devices.values():  # the poller before is gone
            watched.device, watched.instances, watched.busy = None, {}, False
        try:
            async with asyncio.TaskGroup() as self._work:
                self._work.create_task(self._poller.run(), name="polls")
                self._work.create_task(self.notifications.run(), name="notifications")
                while True:
                    self._changed.clear()
                    await self._follow(self._poller)
                    await happens(self._changed, self._clock, RETRY_S)
        finally:
            self._poller = self._work = None

    # ---- who is polled ----

    async def _follow(self, poller: Poller) -> None:
        """Poll what is looked after, and nothing else."""
        wanted = {device.id: device for device in self._driver.applied.devices}
        for name in self.devices.keys() - wanted.keys():
            self._forget(poller, name)
        for name, entry in wanted.items():
            watched = self.devices.get(name)
            place = entry.model_copy(update={"parameters": {}})
            if watched is not None and watched.entry != place:
                self._forget(poller, name)
                watched = None
            if watched is None:
                watched = self.devices[name] = Watched(place)
            await self._begin(poller, watched)

    def _forget(self, poller: Poller, name: str) -> None:
        poller.remove(name)
        watched = self.devices.pop(name)
        now = self._clock.now()
        gone = watched.alarms.all_cleared(now) if watched.alarms is not None else []
        gone += watched.hms.update((), now) if watched.hms is not None else []
        for event in gone:
            self._outbox.alarm(event)
        for cause in (UNUSABLE, WRONG_MODEL):
            self._outbox.alarm(AlarmEvent(cause, name, Severity.CLEARED, now))

    async def _begin(self, poller: Poller, watched: Watched) -> None:
        """Open the device; anew when its credentials have changed."""
        name = watched.entry.id
        try:
            device = await self._driver.device(watched.entry)
        except NfError as error:
            poller.remove(name)
            watched.device, watched.unusable = None, str(error)
            self._tell(UNUSABLE, name, Severity.MAJOR, str(error), error.remedy)
            return
        if watched.unusable:
            watched.unusable = ""
            self._tell(UNUSABLE, name, Severity.CLEARED)
        if watched.device is device:
            return
        watched.device = device
        if watched.alarms is None:
            watched.alarms = AlarmWatch(device.model, name)
            watched.hms = HmsWatch(name) if device.model.spec.hms_alarms else None
        self._poll(poller, watched, [])
        self.notifications.changed()  # another community may be heard now

    def _poll(self, poller: Poller, watched: Watched, groups: list[PollGroup]) -> None:
        """`groups` empty: what needs no rows to be known.

        Whether it answers is asked as often as the model wants anything of it, though nothing that often is there yet.
        """
        device = watched.device
        if device is None:
            return
        if not groups:
            for group in device.model.spec.telemetry:
                scalars = [
                    name
                    for name in group.parameters
                    if name not in device.model.spec.tables and device.model.table_of(name) is None
                ]
                found = [resolve(device.model, name) for name in scalars]
                watched.instances |= {instance.oid: instance for instance in found}
                if found:
                    groups.append(PollGroup(tuple(instance.oid for instance in found), group.every_s))
        soonest_s = min((group.every_s for group in device.model.spec.telemetry), default=_UP_TIME_EVERY_S)
        if all(group.every_s > soonest_s for group in groups):
            groups.append(PollGroup((SYS_UP_TIME,), min(soonest_s, _UP_TIME_EVERY_S)))
        poller.add(watched.entry.id, device.target, groups, self._read)

    # ---- what was read ----

    def _read(self, name: str, _found: Mapping[str, Reading]) -> None:
        watched, poller = self.devices.get(name), self._poller
        if watched is None or watched.device is None or watched.alarms is None or poller is None:
            return
        failures = poller.health(name).failures
        if 0 < failures < _MISSES:
            return
        silent = failures > 0
        if watched.silent and not silent:
            watched.rows_s = float("-inf")  # it may have been restarted, or fallen silent before its rows were known
        device = watched.device
        watched.decoded = {
            oid: _decoded(device, instance, reading, watched.decoded.get(oid))
            for oid, reading in poller.readings(name).items()
            if (instance := watched.instances.get(oid)) is not None
        }
        watched.values = {instance.name: value for _, instance, value in watched.decoded.values()}
        watched.known, watched.silent = True, silent
        nothing = ParameterValue(None, "", Quality.UNREACHABLE if silent else Quality.GOOD, self._clock.monotonic())
        seen = watched.values or {"device": nothing}
        if silent:
            seen = {key: replace(value, quality=Quality.UNREACHABLE) for key, value in seen.items()}
        for event in watched.alarms.update(seen, self._clock.now()):
            self._outbox.alarm(event)
        for sample in samples(name, device.model, watched.values, self._clock, silent=silent):
            self._outbox.sample(sample)
        if not silent:
            self._answered(watched, name)
        self._driver.redundancy.wake()

    def _answered(self, watched: Watched, name: str) -> None:
        now = self._clock.monotonic()
        self._keep_engine(name)
        if watched.device is not None:
            self.notifications.enrol(name, watched.device.target.credentials)
        if watched.busy or self._work is None:
            return
        if now - watched.rows_s >= ROWS_EVERY_S:
            watched.rows_s = now
            self._start(watched, self._look_for_rows(watched))
        elif watched.hms is not None and now - watched.hms_s >= HMS_EVERY_S:
            watched.hms_s = now
            self._start(watched, self._read_hms(watched, watched.hms))

    def _start(self, watched: Watched, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except NfError:
                watched.rows_s = min(watched.rows_s, self._clock.monotonic() - ROWS_EVERY_S + RETRY_S)
            finally:
                watched.busy = False

        watched.busy = True
        if self._work is not None:
            self._work.create_task(run(), name=f"looking at {watched.entry.id}")

    def _keep_engine(self, name: str) -> None:
        """A suspect engine is kept out, so that a restart does not make it the right one."""
        state = self._driver.engines.state(name)
        if state is None or state.suspect:
            return
        known = self._driver.memory.engines.get(name)
        if known is None or (known.engine_id, known.boots) != (state.time.engine_id, state.time.boots):
            self._driver.memory.engines[name] = state.time
            self._driver.memory.save()

    async def _look_for_rows(self, watched: Watched) -> None:
        """Which rows there are now, and whether it is the right device at all."""
        device, poller = watched.device, self._poller
        if device is None or poller is None:
            return
        try:
            await self._driver.ready(watched.entry)
        except RefusedError as error:
            watched.wrong_model = error.message
            self._tell(WRONG_MODEL, watched.entry.id, Severity.CRITICAL, error.message, error.remedy)
        else:
            if watched.wrong_model:
                watched.wrong_model = ""
            self._tell(WRONG_MODEL, watched.entry.id, Severity.CLEARED)
        groups = await device.telemetry()
        instances = {oid: instance for group in groups for oid, instance in group.instances.items()}
        if watched.device is not device or not instances or watched.silent:
            return
        gone = {parse_name(one.name).parameter for one in watched.instances.values()}
        rows = frozenset(instance.name for instance in instances.values())
        for column in sorted(gone):
            for event in watched.alarms.rows_gone(column, rows, self._clock.now()) if watched.alarms else ():
                self._outbox.alarm(event)
        if instances.keys() != watched.instances.keys():
            watched.instances = instances
            polled = [PollGroup(tuple(group.instances), group.every_s) for group in groups if group.instances]
            self._poll(poller, watched, polled)

    async def _read_hms(self, watched: Watched, hms: HmsWatch) -> None:
        if watched.device is not None:
            for event in hms.update(await read_alarms(watched.device.session), self._clock.now()):
                self._outbox.alarm(event)

    def _tell(self, cause: str, name: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        self._outbox.alarm(AlarmEvent(cause, name, severity, self._clock.now(), text, remedy))


def _decoded(
    device: Device, instance: Instance, reading: Reading, known: tuple[Reading, Instance, ParameterValue] | None
) -> tuple[Reading, Instance, ParameterValue]:
    """Every poll gives all readings again, those of slower groups unchanged: they are decoded once."""
    if known is not None and known[0] is reading and known[1] is instance:
        return known
    return reading, instance, device.decode(instance, reading)
