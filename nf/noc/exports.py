"""What services may read of the running fleet: `nf.contracts.telemetry` on the parts of a node."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final

from nf.contracts.telemetry import AlarmsListed, AlarmState, Measured, OrderState, PathSwitch, Presence
from nf.noc.lineups import LineUps
from nf.noc.orders import OPEN, Order
from nf.noc.policy_records import Switch
from nf.noc.sessions import Sessions
from nf.noc.telemetry import Telemetry
from nf.telemetry.alarms import Alarm
from nf.telemetry.samples import Sample

WAITING: Final = 10_000
"""So many changes may wait for a reader before only the last one of each alarm is kept."""


class _Feed:
    """Changes on their way to one reader."""

    def __init__(self) -> None:
        self._changes: deque[AlarmState | AlarmsListed] = deque()
        self._limit = WAITING
        self._some = asyncio.Event()

    def put(self, change: AlarmState | AlarmsListed) -> None:
        self._changes.append(change)
        if len(self._changes) > self._limit:
            self._thin()
        self._some.set()

    def _thin(self) -> None:
        last = {_key(change): number for number, change in enumerate(self._changes)}
        kept = [change for number, change in enumerate(self._changes) if last[_key(change)] == number]
        self._changes = deque(kept)
        self._limit = max(WAITING, 2 * len(kept))  # alarms are bounded where they are kept, so this is, too

    async def take(self) -> AlarmState | AlarmsListed:
        while not self._changes:
            self._some.clear()
            await self._some.wait()
        return self._changes.popleft()


def _key(change: AlarmState | AlarmsListed) -> tuple[str, ...]:
    if isinstance(change, AlarmsListed):
        return (change.appliance,)
    return change.appliance, change.alarm.cause, change.alarm.object


class Exports:
    """Implements `nf.contracts.telemetry.Telemetry`, and hears the fleet as `nf.noc.telemetry.Listener`."""

    def __init__(
        self,
        *,
        lineups: LineUps,
        sessions: Sessions,
        telemetry: Telemetry,
        switches: Callable[[], Iterable[Switch]],
        orders: Callable[[], Iterable[Order]],
    ) -> None:
        self._lineups = lineups
        self._sessions = sessions
        self._telemetry = telemetry
        self._switches = switches
        self._orders = orders
        self._listed: dict[str, None] = {}
        self._feeds: set[_Feed] = set()
        telemetry.listeners.append(self)

    # ---- nf.noc.telemetry.Listener ----

    def sampled(self, appliance: str, sample: Sample) -> None:
        """Read when somebody asks."""

    def alarmed(self, appliance: str, alarm: Alarm) -> None:
        if self._feeds:
            self._tell(self._alarm(appliance, alarm, self._sites()))

    def told_all(self, appliance: str) -> None:
        self._listed[appliance] = None
        self._tell(AlarmsListed(appliance))

    def _tell(self, change: AlarmState | AlarmsListed) -> None:
        for feed in self._feeds:
            feed.put(change)

    # ---- nf.contracts.telemetry.Telemetry ----

    def appliances(self) -> tuple[Presence, ...]:
        online = self._sessions.online()
        return tuple(Presence(name, site, name in online) for name, site in self._sites().items())

    def samples(self) -> tuple[Measured, ...]:
        sites = self._sites()
        return tuple(Measured(name, sites.get(name, ""), sample) for name, sample in self._telemetry.latest())

    def alarms(self) -> tuple[AlarmState, ...]:
        sites = self._sites()
        return tuple(self._alarm(name, alarm, sites) for name, alarm in self._telemetry.alarms())

    async def alarm_changes(self) -> AsyncIterator[AlarmState | AlarmsListed]:
        feed = _Feed()
        self._feeds.add(feed)
        try:
            for alarm in self.alarms():
                feed.put(alarm)
            for appliance in self._listed:
                feed.put(AlarmsListed(appliance))
            while True:
                yield await feed.take()
        finally:
            self._feeds.discard(feed)

    def switches(self) -> tuple[PathSwitch, ...]:
        return tuple(
            PathSwitch(
                number=one.number,
                at=one.at,
                channel=one.channel,
                site=one.site,
                source=one.source,
                target=one.target,
                kind=one.kind,
                tier=one.tier,
                reason=one.reason,
            )
            for one in self._switches()
        )

    def orders(self) -> tuple[OrderState, ...]:
        return tuple(_order(order) for order in self._orders())

    def _sites(self) -> Mapping[str, str]:
        return {one.id: one.site for one in self._lineups.current.fleet.spec.appliances}

    @staticmethod
    def _alarm(appliance: str, alarm: Alarm, sites: Mapping[str, str]) -> AlarmState:
        """One of the NOC's own is at the site of the appliance that it is about."""
        return AlarmState(appliance, sites.get(appliance or alarm.object, ""), alarm)


def _order(order: Order) -> OrderState:
    is_open = order.state in OPEN
    return OrderState(
        key=f"{order.stream}/{order.seq}",
        id=order.id,
        operation=order.name,
        object=order.object,
        state=str(order.state),
        due_at=max(order.accepted_at, order.not_before),
        ended_at=0.0 if is_open else order.ended_at,
        missing=len(order.missing()) if is_open else 0,
        arguments=order.arguments,
    )
