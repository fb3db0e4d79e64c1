"""TRAPs and INFORMs as hints: whoever sent one is polled at once. What cannot be delivered is counted, and told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from headend.devices.documents import NotificationPlace
from headend.devices.waiting import happens
from headend.snmp.notification import Reason
from headend.snmp.target import Community, Credentials, Usm
from headend.snmp.traps import TrapReceiver
from nf.errors import NfError, UnavailableError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

if TYPE_CHECKING:
    from headend.devices.driver import SnmpDevices

UNHEARD: Final = "notifications-unheard"
DROPPED: Final = "notifications-dropped"
KIND: Final = "device.notifications"
_RETRY_S: Final = 60.0
_REPORT_S: Final = 5.0
_QUIET_S: Final = 300.0
"""The alarm about drops ends after so long without one."""


class Notifications:
    """Listens where the section says. Where it cannot, devices are still polled: a warning, never a failure."""

    def __init__(self, driver: SnmpDevices, hint: Callable[[str], None]) -> None:
        self._driver = driver
        self._hint = hint
        self._clock = driver.clock
        self._changed = asyncio.Event()
        self._receiver: TrapReceiver | None = None
        self._enrolled: set[tuple[bytes, str]] = set()
        self._dropping: dict[Reason, float] = {}  # since when it is quiet
        self._unheard = False
        self.received = 0
        self.dropped: Counter[Reason] = Counter()

    @property
    def port(self) -> int | None:
        """Where it listens; None when it does not."""
        return self._receiver.port if self._receiver is not None else None

    def changed(self) -> None:
        self._changed.set()

    def enrol(self, name: str, credentials: Credentials) -> None:
        """Take a v3 device's notifications, once its engine is known."""
        state = self._driver.engines.state(name)
        if self._receiver is None or state is None or state.suspect or not isinstance(credentials, Usm):
            return
        key = (state.time.engine_id, credentials.user)
        if key not in self._enrolled:
            self._enrolled.add(key)
            self._receiver.enrol(state.time.engine_id, credentials, state.time)

    async def run(self) -> None:
        own = self._driver.memory.start_engine()
        while True:
            self._changed.clear()
            place = self._driver.applied.notifications
            if place is None:
                await self._changed.wait()
                continue
            communities = await self._communities()
            receiver = TrapReceiver(str(place.address), place.port, self._clock, own=own, communities=communities)
            try:
                receiver.open()
            except UnavailableError as error:
                self._tell_unheard(place, str(error))
                await happens(self._changed, self._clock, _RETRY_S)
                continue
            self._tell_unheard(place, "")
            await self._serve(receiver, place, communities)

    async def _communities(self) -> tuple[Community, ...]:
        found: set[Community] = set()
        for entry in self._driver.applied.devices:
            with suppress(NfError):  # the polls raise the alarm
                credentials = (await self._driver.device(entry)).target.credentials
                if isinstance(credentials, Community):
                    found.add(credentials)
        return tuple(sorted(found, key=lambda one: one.name))

    async def _serve(
        self, receiver: TrapReceiver, place: NotificationPlace, communities: tuple[Community, ...]
    ) -> None:
        """Until place or communities are others."""
        self._receiver = receiver
        self._enrolled.clear()
        tasks = [asyncio.create_task(work) for work in (self._take(receiver), self._report(receiver))]
        try:
            while (self._driver.applied.notifications, await self._communities()) == (place, communities):
                await self._changed.wait()
                self._changed.clear()
        finally:
            self._receiver = None
            receiver.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _take(self, receiver: TrapReceiver) -> None:
        async for notification in receiver:
            self.received += 1
            self._hint(notification.source)

    async def _report(self, receiver: TrapReceiver) -> None:
        told: Counter[Reason] = Counter()
        while True:
            fresh = Counter(receiver.dropped)
            fresh.subtract(told)
            told = Counter(receiver.dropped)
            self.dropped.update(+fresh)
            self._outbox_sample()
            self._tell_dropped(+fresh)
            await self._clock.sleep(_REPORT_S)

    def _outbox_sample(self) -> None:
        counts = {f"dropped_{reason.value.replace('-', '_')}": float(n) for reason, n in self.dropped.items()}
        values = {"received": float(self.received), **counts}
        labels = {"appliance": self._driver.appliance}
        self._driver.outbox.sample(Sample(KIND, self._clock.now(), labels, values))

    def _tell_dropped(self, fresh: Counter[Reason]) -> None:
        now = self._clock.monotonic()
        for reason in fresh:
            if reason is Reason.DISCOVERY:
                continue
            self._dropping[reason] = now
            sources = [drop.source for drop in self._receiver.drops if drop.reason is reason] if self._receiver else []
            last = f", the last from {sources[-1]}" if sources else ""
            text = f"{self.dropped[reason]} SNMP notifications were not delivered: {reason.value}{last}"
            remedy = "see that the sender's community or user, and its engine, are those of a device of the fleet"
            self._tell(DROPPED, reason.value, Severity.WARNING, text, remedy)
        for reason, at in tuple(self._dropping.items()):
            if now - at >= _QUIET_S:
                del self._dropping[reason]
                self._tell(DROPPED, reason.value, Severity.CLEARED)

    def _tell_unheard(self, place: NotificationPlace, why: str) -> None:
        if why:
            remedy = "devices are polled all the same; see what else listens there, and whether the address is up"
            self._tell(UNHEARD, str(place.port), Severity.WARNING, why, remedy)
        elif self._unheard:
            self._tell(UNHEARD, str(place.port), Severity.CLEARED)
        self._unheard = bool(why)

    def _tell(self, cause: str, about: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        about = f"{self._driver.appliance}/notifications/{about}"
        self._driver.outbox.alarm(AlarmEvent(cause, about, severity, self._clock.now(), text, remedy))
