"""From the outbox to Kafka: each event is taken out when the broker has acknowledged it.

The producer is idempotent and waits for as long as it takes, so that while this process lives Kafka gets an event once,
however often the connection breaks. After a restart the events whose acknowledgement was not seen are sent again, with
the keys that they had.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nf.clock import Clock, RealClock
from nf.errors import InputError, UnavailableError
from nf.media.export.outbox import Outbox, Waiting

_log = logging.getLogger(__name__)

IN_FLIGHT: Final = 2_000
_POLL_S: Final = 0.25
_METADATA_S: Final = 5.0
STALLED_S: Final = 30.0
"""So long a broker answers and acknowledges nothing that is under way before the producer is made anew: one that has
forgotten a producer's id may refuse it for ever, and the library goes on trying."""
_LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Turn:
    """`delivered` events in this turn; `waiting`: in the outbox; `fault`: why the bus takes none, if it is known."""

    delivered: int
    waiting: int
    fault: str = ""


class Publisher:
    """`turn` is called again and again, from one thread at a time."""

    def __init__(
        self, outbox: Outbox, client: Mapping[str, Any], topics: Mapping[str, str], clock: Clock | None = None
    ) -> None:
        """`client`: settings for librdkafka; `topics`: of an event -> its name at the broker.

        Raises InputError (settings that the library does not take), UnavailableError (there is no library).
        """
        self._outbox = outbox
        self._client = dict(client)
        self._topics = dict(topics)
        self._clock = clock or RealClock()
        self._answers_since: float | None = None
        self._looked_at = 0.0
        self._lock = threading.Lock()
        self._partitions: dict[str, int] = {}
        self._in_flight: set[int] = set()
        self._sent = 0
        self._acknowledged: list[int] = []
        self._fault = ""
        self._lame = False
        self._producer = self._make()

    def turn(self) -> Turn:
        """Send what may be sent, and hear what was acknowledged: at most some seconds. Raises what the outbox does."""
        with self._lock:
            if self._lame:
                self._begin_anew()
            if self._know_partitions():
                self._send()
            self._producer.poll(_POLL_S)
            done, self._acknowledged = self._acknowledged, []
            if done:
                self._outbox.delivered(done)
                self._in_flight.difference_update(done)
                self._fault = "" if not self._lame else self._fault
            self._look(progress=bool(done) or not self._in_flight)
            return Turn(len(done), self._outbox.waiting(), self._fault)

    def close(self) -> None:
        """What was acknowledged so far is taken out; the rest waits for the next life."""
        with self._lock:
            self._producer.poll(0)
            if self._acknowledged:
                self._outbox.delivered(self._acknowledged)
            self._producer.purge()
            self._producer.poll(0)

    def _make(self) -> Any:
        try:
            from confluent_kafka import KafkaException, Producer
        except ImportError as error:
            remedy = "install confluent-kafka"
            raise UnavailableError(f"Kafka's library is missing: {error}", where="event-bus", remedy=remedy) from error
        settings = {
            "enable.idempotence": True,
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": IN_FLIGHT,
            "linger.ms": 20,
            "compression.type": "lz4",
            "reconnect.backoff.max.ms": 5_000,
            "error_cb": self._heard,
            **self._client,
        }
        try:
            return Producer(settings, logger=_log)
        except (KafkaException, TypeError, ValueError) as error:
            remedy = "see nf noc service show event-bus"
            text = f"Kafka's library does not take these settings: {error}"
            raise InputError(text, where="event-bus", remedy=remedy) from error

    def _begin_anew(self) -> None:
        """After a fault that the producer does not survive, or that left an event out: from the oldest on."""
        self._producer.purge()
        self._producer.poll(0)
        self._outbox.delivered(self._acknowledged)
        self._acknowledged = []
        self._in_flight.clear()
        self._partitions.clear()
        self._sent = 0
        self._lame = False
        self._producer = self._make()

    def _look(self, *, progress: bool) -> None:
        """Whether it has stalled, at a broker that answers."""
        from confluent_kafka import KafkaException

        now = self._clock.monotonic()
        if progress:
            self._answers_since = None
            self._looked_at = now
            return
        if now - self._looked_at < min(_LOOK_S, STALLED_S):
            return
        self._looked_at = now
        try:
            self._producer.list_topics(timeout=_POLL_S)
        except KafkaException:
            self._answers_since = None
            return
        if self._answers_since is None:
            self._answers_since = now
        elif now - self._answers_since >= STALLED_S:
            _log.warning("the broker answers and has acknowledged nothing for %.0f s: a new producer", STALLED_S)
            self._answers_since = None
            self._lame = True

    def _know_partitions(self) -> bool:
        from confluent_kafka import KafkaException

        for topic in self._topics.values():
            if topic in self._partitions:
                continue
            try:
                found = self._producer.list_topics(topic, timeout=_METADATA_S).topics[topic]
            except KafkaException as error:
                self._fault = f"no broker answers: {error.args[0].str()}"
                return False
            if found.error is not None or not found.partitions:
                self._fault = f"the topic {topic} cannot be used: {found.error}"
                return False
            self._partitions[topic] = len(found.partitions)
        return True

    def _send(self) -> None:
        room = IN_FLIGHT - len(self._in_flight)
        for waiting in self._outbox.after(self._sent, room) if room > 0 and not self._lame else ():
            try:
                self._produce(waiting)
            except BufferError:
                return
            self._in_flight.add(waiting.seq)
            self._sent = waiting.seq

    def _produce(self, waiting: Waiting) -> None:
        event, producer = waiting.event, self._producer
        topic = self._topics[event.topic]

        def heard(error: Any, _message: Any) -> None:
            if producer is not self._producer:
                return
            if error is None:
                self._acknowledged.append(waiting.seq)
            else:
                self._fault = f"{topic} does not take an event: {error.str()}"
                self._lame = True

        producer.produce(
            topic,
            value=event.value,
            key=event.id.encode(),
            partition=zlib.crc32(event.subject.encode()) % self._partitions[topic],
            timestamp=max(1, int(event.at * 1000)),
            headers=[("content-type", b"application/json")],
            on_delivery=heard,
        )

    def _heard(self, error: Any) -> None:
        self._fault = str(error.str())
        if error.fatal():
            self._lame = True
