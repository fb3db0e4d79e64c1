"""Kafka away for five minutes, in both directions: no purge and no event is lost, and none is there twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from nf.media.export.bus import AWAY, EventBus
from nf.media.purge.consumer import SILENT
from nf.telemetry.alarms import Severity
from tests.nf.media.export.host import Host, serving, until
from tests.nf.media.export.test_bus_live import check, create, host_of, reading, waiting
from tests.nf.media.test_purge_consumer import TOPIC, Ledger, consuming, purge
from tests.support.kafka import Broker, broker

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900, func_only=True)]

AWAY_S = 300


class Sender:
    """A system that sends purges, and keeps each until a broker has it."""

    def __init__(self, kafka: Broker) -> None:
        from confluent_kafka import Producer

        self._producer = Producer({"bootstrap.servers": kafka.address, "acks": "all", "message.timeout.ms": 0})
        self.sent = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            self._producer.produce(TOPIC, json.dumps(purge(self.sent)).encode(), key="ch1")
            self.sent += 1
        self._producer.poll(0)

    def close(self) -> None:
        self._producer.purge()
        self._producer.poll(0)


@contextlib.asynccontextmanager
async def running(kafka: Broker, directory: Path) -> AsyncIterator[tuple[Ledger, Host]]:
    ledger, host = Ledger(directory, kafka.address), host_of(kafka, directory)
    async with consuming(ledger), serving(EventBus(), host):
        yield ledger, host


async def test_five_minutes_without_kafka(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    told = 0

    def alarms(count: int) -> None:
        nonlocal told
        for _ in range(count):
            host.telemetry.alarm("edge1", "path-down", f"ch{told}", Severity.MAJOR)
            told += 1

    with broker() as kafka:
        kafka.create(TOPIC)
        create(kafka)
        sender = Sender(kafka)
        async with running(kafka, tmp_path) as (ledger, host):
            sender.send(100)
            alarms(100)
            with reading(kafka) as before:
                await before.until(lambda: len(before.read) >= 100)
            await ledger.until(100)
            kafka.stop()
            for _ in range(AWAY_S):
                sender.send(3)
                alarms(3)
                await asyncio.sleep(1.0)
            assert waiting(tmp_path) == 3 * AWAY_S
            assert AWAY in host.alarms
            assert any(cause == SILENT for cause, _ in ledger.alarms)
            await asyncio.to_thread(kafka.start)
            with contextlib.suppress(KafkaException):  # the sender asked for it before
                await asyncio.to_thread(kafka.create, TOPIC)
            await asyncio.to_thread(create, kafka)
            await ledger.until(sender.sent)
            with reading(kafka) as after:
                await after.until(lambda: len(after.read) >= 3 * AWAY_S)
            await until(lambda: AWAY not in host.alarms)
            await ledger.alarmed(SILENT, raised=False)
            assert waiting(tmp_path) == 0
            sender.close()
    assert set(ledger.orders) == {("ch1", f"p{number}") for number in range(sender.sent)}
    read = [*before.read, *after.read]
    check("alerts", read)
    assert {one.json["object"] for one in read} == {f"ch{number}" for number in range(told)}
    assert len(read) == told
