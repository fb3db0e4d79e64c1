"""Purges from a topic: a real broker, and a ledger that counts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nf.clock import RealClock
from nf.contracts.json import JsonObject
from nf.errors import StorageError
from nf.media.purge import consumer as module
from nf.media.purge.consumer import POISONED, SILENT, Intake, PurgeConsumer, PurgeConsumerSettings
from nf.telemetry.alarms import Severity
from tests.support.kafka import Broker, broker

TOPIC, GROUP = "cdn-purges", "noc"


class Ledger:
    """Implements what the service uses of `ServiceContext`; an id that is known is no second order."""

    def __init__(self, directory: Path, brokers: str) -> None:
        self.settings = PurgeConsumerSettings(brokers=brokers, topic=TOPIC, group=GROUP)
        self.state_dir = directory
        self.clock = RealClock()
        self.orders: dict[tuple[str, str], JsonObject] = {}
        self.given: list[str] = []
        self.alarms: dict[tuple[str, str], str] = {}
        self.fail = False
        self.news = asyncio.Event()

    def identity(self) -> Any:
        return SimpleNamespace(spiffe_id="spiffe://lab.example/noc/noc")

    async def operation_objects(self, name: str) -> frozenset[str]:
        return frozenset({"ch1", "ch2"}) if name == "purge" else frozenset()

    async def submit_operations(
        self, name: str, target: str, several: Sequence[JsonObject], *, author: str
    ) -> tuple[int, ...]:
        assert name == "purge"
        assert author.startswith("spiffe://")
        self.news.set()
        if self.fail:
            raise StorageError("the disk is full")
        for one in several:
            self.given.append(str(one["id"]))
            self.orders.setdefault((target, str(one["id"])), one)
        return tuple(range(len(several)))

    def alarm(self, cause: str, subject: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        if severity is Severity.CLEARED:
            self.alarms.pop((cause, subject), None)
        else:
            self.alarms[cause, subject] = text
        self.news.set()

    def ready(self, **facts: Any) -> None:
        self.news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(90):
            while len(self.orders) < count:
                self.news.clear()
                await self.news.wait()

    async def alarmed(self, cause: str, *, raised: bool = True) -> None:
        async with asyncio.timeout(90):
            while any(one == cause for one, _ in self.alarms) is not raised:
                self.news.clear()
                await self.news.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tansu lets who joins a group wait for half a session, every time."""
    monkeypatch.setattr(module, "SESSION_MS", 1_500)
    monkeypatch.setattr(module, "_AWAY_S", 0.5)
    monkeypatch.setattr(module, "_ASK_S", 0.2)
    monkeypatch.setattr(module, "_POLL_S", 0.2)


@pytest.fixture
def kafka() -> Iterator[Broker]:
    with broker() as made:
        made.create(TOPIC)
        yield made


@contextlib.asynccontextmanager
async def consuming(ledger: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(PurgeConsumer().run(ledger))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def purge(number: int, channel: str = "ch1") -> JsonObject:
    return {"id": f"p{number}", "scope": "tag", "match": f"{channel}/r{number}"}


async def test_ten_thousand_at_once_each_once_and_poison_stops_none(kafka: Broker, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, kafka.address)
    poison = [b"\xff\x00", b"[]", b'{"scope": "all", "match": "ch9"}', b'{"scope": "regex", "match": ".*"}']
    sent: list[Any] = [purge(number) for number in range(10_000)]
    sent[5_000:5_000] = poison
    await asyncio.to_thread(kafka.send, TOPIC, sent)
    async with consuming(ledger):
        await ledger.until(10_000)
        await asyncio.to_thread(kafka.send, TOPIC, [purge(7), purge(10_000, "ch2")])  # the first is known
        await ledger.until(10_001)
    assert len(ledger.orders) == 10_001
    assert {subject for cause, subject in ledger.alarms if cause == POISONED} == {
        f"{TOPIC}/0/{5_000 + number}" for number in range(4)
    }
    assert any("no such channel: ch9" in text for text in ledger.alarms.values())


async def test_what_the_ledger_does_not_take_is_read_again(kafka: Broker, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, kafka.address)
    await asyncio.to_thread(kafka.send, TOPIC, [purge(number) for number in range(3)])
    ledger.fail = True
    async with consuming(ledger) as task:
        with pytest.raises(StorageError):
            await task
    assert await asyncio.to_thread(kafka.committed, TOPIC, GROUP) <= 0
    ledger.fail = False
    async with consuming(ledger):
        await ledger.until(3)
    assert sorted(ledger.given) == ["p0", "p1", "p2"]


async def test_a_broker_that_comes_back_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    kafka = Broker()
    ledger = Ledger(tmp_path, kafka.address)
    try:
        async with consuming(ledger):
            await ledger.alarmed(SILENT)
            await asyncio.to_thread(kafka.start)
            await asyncio.to_thread(kafka.create, TOPIC)
            await asyncio.to_thread(kafka.send, TOPIC, [purge(1), purge(2)])
            await ledger.until(2)
            await ledger.alarmed(SILENT, raised=False)
    finally:
        kafka.stop()


async def test_a_broker_that_dies_in_the_middle_loses_and_doubles_nothing(
    kafka: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It forgets topic and group, and whoever sends does not know what it took: the last ones come again."""
    caplog.set_level(logging.CRITICAL)
    ledger = Ledger(tmp_path, kafka.address)
    async with consuming(ledger):
        await asyncio.to_thread(kafka.send, TOPIC, [purge(number) for number in range(100)])
        await ledger.until(100)
        kafka.stop()
        await ledger.alarmed(SILENT)
        await asyncio.to_thread(kafka.start)
        await asyncio.to_thread(kafka.create, TOPIC)
        await asyncio.to_thread(kafka.send, TOPIC, [purge(number) for number in range(80, 200)])
        await ledger.until(200)
        await ledger.alarmed(SILENT, raised=False)
    assert sorted(ledger.orders) == sorted(("ch1", f"p{number}") for number in range(200))
    assert not ledger.alarms


async def test_a_message_without_an_id_is_known_by_its_place(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "127.0.0.1:1")

    def message(offset: int) -> Any:
        parts = {"topic": TOPIC, "partition": 0, "offset": offset, "value": b'{"scope": "all", "match": "ch1"}'}
        return SimpleNamespace(**{name: (lambda value=value: value) for name, value in parts.items()})

    intake = Intake(ledger)  # type: ignore[arg-type]
    await intake.take([message(1), message(2)])
    await intake.take([message(2)])
    assert len(ledger.orders) == 2
