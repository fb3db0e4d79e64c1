"""A host for the services that export telemetry, without a NOC: what it knows is set by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nf.clock import Clock, RealClock
from nf.contracts.paths import PathHealth, Ranking, Verdict
from nf.contracts.service import Service
from nf.contracts.telemetry import AlarmsListed, AlarmState, Measured, OrderState, PathSwitch, Presence
from nf.documents.model import DocumentModel
from nf.telemetry.alarms import Alarm, Severity
from nf.telemetry.samples import Sample

DOMAIN = "lab.example"


class FakePaths:
    """Implements `nf.contracts.paths.Paths`."""

    def __init__(self) -> None:
        self.known: list[PathHealth] = []
        self.ranked: list[Ranking] = []

    def health(self) -> tuple[PathHealth, ...]:
        return tuple(self.known)

    def rankings(self) -> tuple[Ranking, ...]:
        return tuple(self.ranked)

    async def changes(self) -> AsyncIterator[Ranking]:
        for ranking in self.ranked:
            yield ranking
        await asyncio.Event().wait()

    def set(self, channel: str, path: str, site: str, verdict: Verdict) -> None:
        self.known.append(PathHealth(channel, path, "cdn", site, verdict, "as the test says", 1000.0))


class FakeTelemetry:
    """Implements `nf.contracts.telemetry.Telemetry`."""

    def __init__(self) -> None:
        self.fleet: list[Presence] = [Presence("edge1", "pop1", online=True), Presence("head", "hq", online=False)]
        self.measured: dict[tuple[object, ...], Measured] = {}
        self.standing: dict[tuple[str, str, str], AlarmState] = {}
        self.switched: list[PathSwitch] = []
        self.ordered: list[OrderState] = []
        self._readers: list[asyncio.Queue[AlarmState | AlarmsListed]] = []

    def appliances(self) -> tuple[Presence, ...]:
        return tuple(self.fleet)

    def samples(self) -> tuple[Measured, ...]:
        return tuple(self.measured.values())

    def alarms(self) -> tuple[AlarmState, ...]:
        return tuple(self.standing.values())

    def switches(self) -> tuple[PathSwitch, ...]:
        return tuple(self.switched)

    def orders(self) -> tuple[OrderState, ...]:
        return tuple(self.ordered)

    async def alarm_changes(self) -> AsyncIterator[AlarmState | AlarmsListed]:
        queue: asyncio.Queue[AlarmState | AlarmsListed] = asyncio.Queue()
        self._readers.append(queue)
        for state in self.alarms():
            queue.put_nowait(state)
        try:
            while True:
                yield await queue.get()
        finally:
            self._readers.remove(queue)

    # ---- what the test does ----

    def sample(
        self, kind: str, at: float, labels: dict[str, str], values: dict[str, float], node: str = "edge1"
    ) -> None:
        key = (node, kind, *sorted(labels.items()))
        self.measured[key] = Measured(node, "pop1", Sample(kind, at, labels, values))

    def alarm(
        self, node: str, cause: str, subject: str, severity: Severity, at: float = 1000.0, *, text: str = ""
    ) -> AlarmState:
        key = (node, cause, subject)
        first = self.standing[key].alarm.first_at if key in self.standing else at
        state = AlarmState(node, "pop1" if node else "", Alarm(cause, subject, severity, text, "mend it", first, at, 1))
        if severity is Severity.CLEARED:
            self.standing.pop(key, None)
        else:
            self.standing[key] = state
        self.tell(state)
        return state

    def tell(self, change: AlarmState | AlarmsListed) -> None:
        for reader in self._readers:
            reader.put_nowait(change)


class Host:
    """Implements what these services use of `nf.contracts.service.ServiceContext`."""

    def __init__(self, settings: DocumentModel, directory: Path, clock: Clock | None = None) -> None:
        self.settings = settings
        self.state_dir = directory
        self.clock = clock or RealClock()
        self.paths = FakePaths()
        self.telemetry = FakeTelemetry()
        self.alarms: dict[str, str] = {}
        self.facts: dict[str, Any] = {}

    def identity(self) -> Any:
        return SimpleNamespace(spiffe_id=SimpleNamespace(domain=DOMAIN))

    def alarm(self, cause: str, subject: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        self.alarms.pop(cause, None)
        if severity is not Severity.CLEARED:
            self.alarms[cause] = text

    def ready(self, **facts: Any) -> None:
        self.facts = facts


async def until(condition: Callable[[], bool], task: asyncio.Task[None] | None = None) -> None:
    async with asyncio.timeout(90):
        while not condition():
            if task is not None and task.done():
                await task
            await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(service: Service, host: Any) -> AsyncIterator[asyncio.Task[None]]:
    host.facts = {}
    task = asyncio.create_task(service.run(host))
    try:
        await until(lambda: bool(host.facts), task)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
