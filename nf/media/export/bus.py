"""The service `event-bus` of the NOC: alerts and analytics events to Kafka, out of a durable outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any, Final

from pydantic import Field

from nf.contracts.service import ServiceContext
from nf.contracts.telemetry import AlarmsListed, AlarmState
from nf.documents.model import DocumentModel, Whole
from nf.documents.quantities import DurationMs
from nf.errors import InputError
from nf.media.export.alerts import KIND as ALARM
from nf.media.export.alerts import Alerts
from nf.media.export.analytics import MARK, READING, SEEN, Analytics
from nf.media.export.messages import ALERTS, ANALYTICS
from nf.media.export.outbox import Event, Outbox, Remember
from nf.media.export.publisher import Publisher, Turn
from nf.telemetry.alarms import Severity

AWAY: Final = "event-bus-away"
FULL: Final = "event-outbox-full"
SUBJECT: Final = "kafka"
FILE: Final = "outbox.sqlite"
AWAY_S: Final = 10.0
"""So long nothing is delivered of what waits before it is an alarm."""
GRACE_S: Final = 120.0
"""After a start the NOC's own alarms are raised anew; one that is not by then is over."""
_LOOK_S: Final = 5.0
_IDLE_S: Final = 1.0

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class EventBusSettings(DocumentModel):
    """`brokers`: HOST:PORT, by commas.

    alerts, analytics       topics
    interval                of the events of type delivery and path-state
    kept                    so many events of a topic wait at most while Kafka is away
    ca, certificate, key    files in PEM, for TLS, which `ca` turns on
    """

    brokers: Annotated[str, Field(min_length=1)]
    alerts: Topic = ALERTS
    analytics: Topic = ANALYTICS
    interval_ms: Annotated[DurationMs, Field(alias="interval", ge=1_000, le=3_600_000)] = 60_000
    kept: Annotated[Whole, Field(ge=1_000, le=10_000_000)] = 200_000
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def client(self) -> dict[str, Any]:
        """For librdkafka."""
        tls = {"ssl.ca.location": self.ca, "ssl.certificate.location": self.certificate, "ssl.key.location": self.key}
        secure = {"security.protocol": "ssl", **{key: value for key, value in tls.items() if value}} if self.ca else {}
        return {"bootstrap.servers": self.brokers, **secure}


class EventBus:
    """Implements `nf.contracts.service.Service`."""

    @property
    def name(self) -> str:
        return "event-bus"

    @property
    def settings(self) -> type[DocumentModel]:
        return EventBusSettings

    async def run(self, context: ServiceContext) -> None:
        """Raises InputError (settings that Kafka's library does not take), StorageError and IntegrityError (outbox)."""
        settings = context.settings
        if not isinstance(settings, EventBusSettings):
            raise InputError("these are no settings of it", where=self.name)
        outbox = await asyncio.to_thread(Outbox, context.state_dir / FILE, settings.kept)
        try:
            topics = {ALERTS: settings.alerts, ANALYTICS: settings.analytics}
            publisher = Publisher(outbox, settings.client(), topics, context.clock)
            exporting = _Exporting(context, settings, outbox, publisher)
            try:
                await exporting.run()
            finally:
                await asyncio.to_thread(publisher.close)
        finally:
            await asyncio.to_thread(outbox.close)


class _Exporting:
    def __init__(
        self, context: ServiceContext, settings: EventBusSettings, outbox: Outbox, publisher: Publisher
    ) -> None:
        self._context = context
        self._outbox = outbox
        self._publisher = publisher
        noc = context.identity().spiffe_id.domain
        self._alerts = Alerts(noc, outbox.memory(ALARM))
        self._analytics = Analytics(
            noc,
            settings.interval_ms / 1000,
            marks=outbox.memory(MARK),
            readings=outbox.memory(READING),
            seen=outbox.memory(SEEN),
        )
        self._changes: list[AlarmState | AlarmsListed] = []
        self._changed = asyncio.Event()
        self._some = asyncio.Event()
        self._dropped = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_alarms(), name="alarms")
            group.create_task(self._write_alarms(), name="alerts")
            group.create_task(self._settle(), name="alerts that nobody says")
            group.create_task(self._measure(), name="analytics of intervals")
            group.create_task(self._look(), name="analytics of what has ended")
            group.create_task(self._publish(), name="event bus")
            self._context.ready(waiting=self._outbox.waiting())

    # ---- making ----

    async def _follow_alarms(self) -> None:
        async for change in self._context.telemetry.alarm_changes():
            self._changes.append(change)
            self._changed.set()

    async def _write_alarms(self) -> None:
        """What comes while the disk is busy is written together."""
        telemetry = self._context.telemetry
        while True:
            await self._changed.wait()
            self._changed.clear()
            changes, self._changes = self._changes, []
            events: list[Event] = []
            remember: list[Remember] = []
            for change in changes:
                found = self._alerts.take(change, telemetry.alarms, self._context.clock.now())
                events += found[0]
                remember += found[1]
            await self._add(events, remember)

    async def _settle(self) -> None:
        clock, telemetry = self._context.clock, self._context.telemetry
        while True:
            await clock.sleep(GRACE_S)
            fleet = frozenset(one.appliance for one in telemetry.appliances())
            await self._add(*self._alerts.settle(telemetry.alarms(), fleet, clock.now()))

    async def _measure(self) -> None:
        context = self._context
        while True:
            await context.clock.sleep(self._analytics.due_s(context.clock.now()))
            paths, now = context.paths, context.clock.now()
            found = self._analytics.interval(now, context.telemetry.samples(), paths.health(), paths.rankings())
            await self._add(*found)

    async def _look(self) -> None:
        context = self._context
        while True:
            telemetry = context.telemetry
            await self._add(*self._analytics.ended(context.clock.now(), telemetry.switches(), telemetry.orders()))
            await context.clock.sleep(_LOOK_S)

    async def _add(self, events: list[Event], remember: Iterable[Remember]) -> None:
        remember = list(remember)
        if not events and not remember:
            return
        self._dropped += await asyncio.to_thread(self._outbox.add, events, remember)
        if events:
            self._some.set()

    # ---- sending ----

    async def _publish(self) -> None:
        clock = self._context.clock
        good_at = clock.monotonic()
        away, dropped = False, 0
        while True:
            self._some.clear()
            turn = await asyncio.to_thread(self._publisher.turn)
            if turn.delivered or not turn.waiting:
                good_at = clock.monotonic()
            now_away = clock.monotonic() - good_at > AWAY_S
            if now_away is not away:
                away = now_away
                self._tell_away(turn if away else None)
            if self._dropped != dropped and turn.waiting:
                dropped = self._dropped
                self._tell_full(dropped)
            elif dropped and not turn.waiting:
                self._context.alarm(FULL, SUBJECT, Severity.CLEARED)
                dropped = self._dropped = 0
            if not turn.waiting:
                await self._wait()

    async def _wait(self) -> None:
        """Until there is something to send, or for a moment: the library wants to be asked now and then."""
        try:
            await asyncio.wait_for(self._some.wait(), _IDLE_S)
        except TimeoutError:
            return

    def _tell_away(self, turn: Turn | None) -> None:
        if turn is None:
            self._context.alarm(AWAY, SUBJECT, Severity.CLEARED)
            return
        text = f"Kafka takes no events{': ' if turn.fault else ''}{turn.fault}"
        remedy = "see that the brokers run, have the topics, and a route leads there; what waits is sent then"
        self._context.alarm(AWAY, SUBJECT, Severity.MAJOR, text, remedy)

    def _tell_full(self, dropped: int) -> None:
        text = f"{dropped} events were given up for newer ones while Kafka was away"
        remedy = "mend Kafka; a greater `kept` of the service event-bus holds more"
        self._context.alarm(FULL, SUBJECT, Severity.CRITICAL, text, remedy)
