"""A host for the services of players and partners without a NOC: what it knows of paths is set by the test."""

from __future__ import annotations

import asyncio
import copy
import http.client
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nf.clock import RealClock
from nf.contracts.json import JsonObject
from nf.contracts.paths import PathHealth, Ranking, Verdict
from nf.contracts.service import Committed, Note, Service
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from nf.documents.model import DocumentModel
from nf.errors import StorageError
from nf.telemetry.alarms import Severity

DOCUMENTS = Path(__file__).parents[3] / "lab" / "documents"


def lab_fleet() -> Fleet:
    return load_fleet((DOCUMENTS / "fleet.yaml").read_bytes(), file="fleet.yaml").document


def lab_lineup(text: str | None = None, *, steered: bool = True) -> LineUp:
    """The lab's; `steered`: its CDN paths have a steering server."""
    text = text or (DOCUMENTS / "lineup.yaml").read_text()
    text = re.sub(r"^ *steering: \{server: .*\n", "", text, flags=re.MULTILINE)
    line = '          steering: {server: "https://steer.test"}\n' if steered else ""
    text = re.sub(r"^( *origin: \{endpoint)", rf"{line}\1", text, flags=re.MULTILINE)
    return load_lineup(text, file="lineup.yaml").document


class FakePaths:
    """Implements `nf.contracts.paths.Paths`."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str, str], PathHealth] = {}
        self.ranked: dict[tuple[str, str], Ranking] = {}
        self._waiting: list[asyncio.Queue[Ranking]] = []

    def health(self) -> tuple[PathHealth, ...]:
        return tuple(self.known.values())

    def rankings(self) -> tuple[Ranking, ...]:
        return tuple(self.ranked.values())

    async def changes(self) -> AsyncIterator[Ranking]:
        queue: asyncio.Queue[Ranking] = asyncio.Queue()
        self._waiting.append(queue)
        for ranking in self.rankings():
            yield ranking
        while True:
            yield await queue.get()

    def set(self, channel: str, path: str, site: str, verdict: Verdict, kind: str = "cdn") -> None:
        self.known[channel, path, site] = PathHealth(channel, path, kind, site, verdict, "as the test says", 0.0)

    def rank(self, channel: str, site: str, *paths: str, alert: bool = False, active: str | None = None) -> None:
        before = self.ranked.get((channel, site))
        number = 1 if before is None else before.number + 1
        ranking = Ranking(channel, site, paths, paths[0] if active is None else active, alert, number)
        self.ranked[channel, site] = ranking
        for queue in self._waiting:
            queue.put_nowait(ranking)


class MemoryRecords:
    """`full`: nothing more can be written."""

    def __init__(self) -> None:
        self.kept: dict[str, JsonObject] = {}
        self.full = False

    async def all(self) -> Mapping[str, JsonObject]:
        return copy.deepcopy(self.kept)

    async def put(self, key: str, value: JsonObject, note: Note | None = None) -> None:
        if self.full:
            raise StorageError("no room")
        self.kept[key] = copy.deepcopy(value)

    async def remove(self, key: str, note: Note | None = None) -> None:
        self.kept.pop(key, None)


class Host:
    """Implements what these services use of `nf.contracts.service.ServiceContext`."""

    def __init__(self, settings: DocumentModel, lineup: LineUp | None = None, fleet: Fleet | None = None) -> None:
        self.settings = settings
        self.clock = RealClock()
        self.paths = FakePaths()
        self.records = MemoryRecords()
        self.alarms: dict[tuple[str, str], str] = {}
        self.port = 0
        self._committed = Committed(1, lineup or lab_lineup(), fleet or lab_fleet())

    def committed(self) -> Committed:
        return self._committed

    def commit(self, lineup: LineUp) -> None:
        self._committed = Committed(self._committed.revision + 1, lineup, self._committed.fleet)

    def alarm(self, cause: str, subject: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        if severity is Severity.CLEARED:
            self.alarms.pop((cause, subject), None)
        else:
            self.alarms[cause, subject] = text

    def ready(self, **facts: Any) -> None:
        self.port = facts["port"]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def ask(host: Host, target: str, method: str = "GET", **headers: str) -> Answer:
    """By the standard library's client, which knows nothing of the server's."""

    def exchange() -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=90)
        try:
            connection.request(
                method, target, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


@asynccontextmanager
async def serving(service: Service, host: Any) -> AsyncIterator[asyncio.Task[None]]:
    host.port = 0
    task = asyncio.create_task(service.run(host))
    try:
        async with asyncio.timeout(90):
            while host.port == 0 and not task.done():  # noqa: ASYNC110 - the service tells its host
                await asyncio.sleep(0.01)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
