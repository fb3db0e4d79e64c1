"""Events and alerts at a real broker of Kafka's protocol, which goes away, hangs, forgets; read by another client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from nf.contracts.paths import Verdict
from nf.contracts.telemetry import PathSwitch
from nf.errors import InputError, StorageError
from nf.media.export import bus as module
from nf.media.export import publisher
from nf.media.export.bus import AWAY, FILE, FULL, EventBus, EventBusSettings
from nf.media.export.outbox import Event, Outbox
from nf.media.export.publisher import Publisher
from nf.telemetry.alarms import Severity
from tests.nf.media.export.host import Host, serving, until
from tests.support.kafka import Broker, broker

TOPICS = ("alerts", "analytics-events")
PARTITIONS = 4
"""As many as the broker gives a topic that it makes by itself."""
SCHEMAS = Path(__file__).parents[4] / "docs" / "schema"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AWAY_S", 0.5)
    monkeypatch.setattr(module, "_LOOK_S", 0.1)


@pytest.fixture
def kafka() -> Iterator[Broker]:
    with broker() as made:
        create(made)
        yield made


def create(made: Broker) -> None:
    """The broker may have made a topic by itself, when somebody asked for it."""
    from confluent_kafka import KafkaException

    for topic in TOPICS:
        with contextlib.suppress(KafkaException):
            made.create(topic, PARTITIONS)


def host_of(kafka: Broker, directory: Path, **more: Any) -> Host:
    return Host(EventBusSettings.model_validate({"brokers": kafka.address, **more}), directory)


@dataclass(frozen=True)
class Read:
    topic: str
    partition: int
    offset: int
    key: str
    value: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.value)


class Reader:
    """Reads both topics from their beginning."""

    def __init__(self, kafka: Broker) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self._consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "test", "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(topic, number, 0) for topic in TOPICS for number in range(PARTITIONS)])
        self.read: list[Read] = []

    def close(self) -> None:
        """It may be closed already."""
        self._consumer.close()

    def _take(self) -> None:
        for message in self._consumer.consume(500, 0.2):
            if message.error() is None:
                where = (message.topic(), message.partition(), message.offset())
                self.read.append(Read(*where, message.key().decode(), message.value()))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(90):
            while not condition():
                await asyncio.to_thread(self._take)

    def of(self, topic: str) -> list[Read]:
        return [one for one in self.read if one.topic == topic]


def waiting(directory: Path) -> int:
    """Events in the outbox, by another reader of its file."""
    with contextlib.closing(sqlite3.connect(f"file:{directory / FILE}?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT COUNT(*) FROM events").fetchone()
        return int(count)


@contextlib.contextmanager
def reading(kafka: Broker) -> Iterator[Reader]:
    reader = Reader(kafka)
    try:
        yield reader
    finally:
        reader.close()


def check(topic: str, read: list[Read]) -> None:
    """Each once, its key its id, as its schema has it."""
    file = {"alerts": "alert.json", "analytics-events": "analytics-event.json"}[topic]
    schema = json.loads((SCHEMAS / file).read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    for one in read:
        validator.validate(one.json)
        assert one.key == one.json["id"]
    assert len({one.key for one in read}) == len(read)


async def test_alerts_and_events_as_their_schemas_have_them(kafka: Broker, tmp_path: Path) -> None:
    host = host_of(kafka, tmp_path, interval="1s")
    host.paths.set("ch1", "ott", "pop1", Verdict.UP)
    labels = {"channel": "ch1", "path": "ott", "point": "edge"}
    with reading(kafka) as reader:
        async with serving(EventBus(), host):
            host.telemetry.alarm("edge1", "edge-silent", "edge1", Severity.MAJOR, text="it does not answer")
            host.telemetry.alarm("edge1", "edge-silent", "edge1", Severity.CLEARED)
            now = host.clock.now() + 1.0
            host.telemetry.switched.append(PathSwitch(3, now, "ch1", "pop1", "sat", "ott", "failover", "T1", "no lock"))

            def all_there() -> bool:
                now = host.clock.now()
                host.telemetry.sample("path.hop", now, labels, {"packets": now, "hits": 1.0})
                kinds = {one.json["type"] for one in reader.of("analytics-events")}
                return len(reader.of("alerts")) == 2 and kinds == {"delivery", "path-state", "path-switched"}

            await reader.until(all_there)
    for topic in TOPICS:
        check(topic, reader.of(topic))
    assert [one.json["change"] for one in reader.of("alerts")] == ["raised", "cleared"]
    assert host.alarms == {}


async def test_kafka_away_loses_nothing_and_doubles_nothing(kafka: Broker, tmp_path: Path) -> None:
    """It forgets all it had, and the service starts anew meanwhile: what was read before and after is all there was."""
    host = host_of(kafka, tmp_path)
    told = 0

    def alarms(count: int) -> None:
        nonlocal told
        for number in range(told, told + count):
            severity = (Severity.MAJOR, Severity.CRITICAL, Severity.CLEARED)[number % 3]
            host.telemetry.alarm("edge1", "path-down", f"ch{number // 3}", severity, 1000.0 + number)
        told += count

    with reading(kafka) as before:
        async with serving(EventBus(), host):
            alarms(30)
            await before.until(lambda: len(before.read) == 30)
            before.close()
            kafka.stop()
            alarms(300)
            await until(lambda: AWAY in host.alarms and waiting(tmp_path) == 300)
        host.alarms.clear()
        async with serving(EventBus(), host):
            alarms(300)
            await until(lambda: AWAY in host.alarms and waiting(tmp_path) == 600)
            kafka.start()
            create(kafka)
            with reading(kafka) as after:
                await after.until(lambda: len(after.read) >= 600)
                await until(lambda: AWAY not in host.alarms)
    read = [*before.read, *after.read]
    check("alerts", read)
    assert len(read) == told
    numbers: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in read:
        numbers[one.json["alarm"]].append((one.partition, one.json["number"]))
    assert len(numbers) == told // 3
    for found in numbers.values():
        assert [number for _, number in found] == [1, 2, 3]
        assert len({partition for partition, _ in found}) == 1


async def test_a_broker_that_has_forgotten_the_producer_gets_each_event_once(
    kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tansu refuses the id of a producer that it does not know, for ever."""
    monkeypatch.setattr(publisher, "STALLED_S", 1.0)
    host = host_of(kafka, tmp_path)
    async with serving(EventBus(), host):
        host.telemetry.alarm("edge1", "path-down", "before", Severity.MAJOR)
        with reading(kafka) as before:
            await before.until(lambda: len(before.read) == 1)
        kafka.stop()
        for number in range(100):
            host.telemetry.alarm("edge1", "path-down", f"ch{number}", Severity.MAJOR)
        await until(lambda: AWAY in host.alarms)
        kafka.start()
        create(kafka)
        with reading(kafka) as after:
            await after.until(lambda: len(after.read) >= 100)
            await until(lambda: AWAY not in host.alarms)
    check("alerts", after.read)
    assert {one.json["object"] for one in after.read} == {f"ch{number}" for number in range(100)}


async def test_a_broker_that_hangs_gets_each_event_once(kafka: Broker, tmp_path: Path) -> None:
    host = host_of(kafka, tmp_path)
    process = kafka._process
    assert process is not None
    with reading(kafka) as reader:
        async with serving(EventBus(), host):
            host.telemetry.alarm("edge1", "path-down", "ch", Severity.MAJOR)
            await reader.until(lambda: len(reader.read) == 1)
            process.send_signal(signal.SIGSTOP)
            try:
                for number in range(500):
                    host.telemetry.alarm("edge1", "path-down", f"ch{number}", Severity.MAJOR)
                await until(lambda: AWAY in host.alarms)
            finally:
                process.send_signal(signal.SIGCONT)
            await reader.until(lambda: len(reader.read) >= 501)
            await until(lambda: AWAY not in host.alarms)
    check("alerts", reader.read)
    assert len(reader.read) == 501


async def test_a_crash_before_the_note_on_disk_repeats_with_the_same_key_and_value(
    kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path / "o", 1000)
    outbox.add([Event("alerts", f"id-{number}", "s", 1.0, b'{"n": %d}' % number) for number in range(20)])
    topics = dict(zip(TOPICS, TOPICS, strict=True))

    def crash(_seqs: object) -> None:
        raise StorageError("the power is gone")

    def run(one: Publisher) -> None:
        while one.turn().waiting:
            pass

    with monkeypatch.context() as patch, reading(kafka) as reader:
        patch.setattr(outbox, "delivered", crash)
        with pytest.raises(StorageError):
            await asyncio.to_thread(run, Publisher(outbox, {"bootstrap.servers": kafka.address}, topics))
        patch.undo()
        assert outbox.waiting() == 20
        again = Publisher(outbox, {"bootstrap.servers": kafka.address}, topics)
        await asyncio.to_thread(run, again)
        await reader.until(lambda: len(reader.read) >= 40)
        again.close()
    by_key: dict[str, set[bytes]] = defaultdict(set)
    for one in reader.read:
        by_key[one.key].add(one.value)
    assert len(by_key) == 20
    assert {len(values) for values in by_key.values()} == {1}
    outbox.close()


async def test_what_does_not_fit_is_counted(kafka: Broker, tmp_path: Path) -> None:
    host = host_of(kafka, tmp_path, kept=1000)
    kafka.stop()
    async with serving(EventBus(), host):
        for number in range(1500):
            host.telemetry.alarm("edge1", "path-down", f"ch{number}", Severity.MAJOR)
        await until(lambda: host.alarms.get(FULL, "").startswith("500 events"))
        kafka.start()
        create(kafka)
        with reading(kafka) as reader:
            await reader.until(lambda: len(reader.read) >= 1000)
            await until(lambda: FULL not in host.alarms)
    assert {one.json["object"] for one in reader.read} == {f"ch{number}" for number in range(500, 1500)}


async def test_settings_that_the_library_does_not_take(kafka: Broker, tmp_path: Path) -> None:
    host = host_of(kafka, tmp_path, ca=str(tmp_path / "missing.pem"))
    with pytest.raises(InputError, match="does not take"):
        async with serving(EventBus(), host):
            pass
