"""The service `cdn-purges` of the NOC: purges from a Kafka topic into the ledger, each once.

An offset is committed only when its message is in the ledger, which knows a message by its id: so nothing is lost when
the NOC or the broker stops in between, and nothing is done twice. A message that is none stands under an alarm, by its
place in the topic, and stops no other.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import Field

from nf.contracts.json import JsonObject
from nf.contracts.service import ServiceContext
from nf.documents.model import DocumentModel
from nf.errors import InputError, NotFoundError, UnavailableError
from nf.media.purge.message import PURGE, PurgeMessage, by_channel, lifetime, parse_message
from nf.telemetry.alarms import Severity

_log = logging.getLogger(__name__)

POISONED: Final = "purge-message-refused"
SILENT: Final = "purge-broker-away"
BATCH: Final = 1_000
_POLL_S: Final = 0.5
_AWAY_S: Final = 10.0
"""So long without a broker before it is an alarm."""
_ASK_S: Final = 3.0
"""After so long without a message the broker is asked whether it is there."""
_CLOSE_S: Final = 3.0
SESSION_MS: Final = 10_000
"""So long a group waits for a member that died; a broker may also let one that joins wait for half of it."""
_STANDING: Final = 50
"""So many refused messages stand as alarms; the oldest ends then."""


class PurgeConsumerSettings(DocumentModel):
    """`brokers`: HOST:PORT, by commas. `ca`, `certificate`, `key`: files in PEM, for TLS, which `ca` turns on."""

    brokers: Annotated[str, Field(min_length=1)]
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = "cdn-purges"
    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = "streamverse-noc"
    start: Literal["earliest", "latest"] = "earliest"
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def client(self) -> dict[str, Any]:
        """For librdkafka."""
        tls = {"ssl.ca.location": self.ca, "ssl.certificate.location": self.certificate, "ssl.key.location": self.key}
        secure = {"security.protocol": "ssl", **{key: value for key, value in tls.items() if value}} if self.ca else {}
        return {
            "bootstrap.servers": self.brokers,
            "group.id": self.group,
            "auto.offset.reset": self.start,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": SESSION_MS // 3,
            "reconnect.backoff.max.ms": 5_000,
            "topic.metadata.refresh.interval.ms": 30_000,
            **secure,
        }


class Received(Protocol):
    """What is used of `confluent_kafka.Message`."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def value(self) -> bytes | str | None: ...
    def error(self) -> Any: ...


class PurgeConsumer:
    """Implements `nf.contracts.service.Service`."""

    @property
    def name(self) -> str:
        return "cdn-purges"

    @property
    def settings(self) -> type[DocumentModel]:
        return PurgeConsumerSettings

    async def run(self, context: ServiceContext) -> None:
        """Raises InputError (settings that Kafka's library does not take), and what the store raises."""
        settings = context.settings
        if not isinstance(settings, PurgeConsumerSettings):
            raise InputError("these are no settings of it", where=self.name)
        consumer = _consumer(settings)
        intake = Intake(context)
        try:
            consumer.subscribe([settings.topic])
            context.ready(topic=settings.topic)
            await _consume(consumer, intake, context)
        finally:
            await _close(consumer)


class Intake:
    """Messages into the ledger."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._refused: list[str] = []

    async def take(self, messages: Iterable[Received]) -> None:
        """All that are purges are durable when it returns. Raises what the store raises; then they are read again."""
        known = await self._context.operation_objects(PURGE)
        wanted: dict[str, list[JsonObject]] = {}
        for message in messages:
            where = f"{message.topic()}/{message.partition()}/{message.offset()}"
            try:
                parsed = _parse(message, where)
                lifetime(parsed, self._context.clock.now())
                for channel, part in by_channel(parsed, known).items():
                    wanted.setdefault(channel, []).append(part.to_json())
            except InputError as error:
                self._refuse(where, error)
        author = str(self._context.identity().spiffe_id)
        for channel, several in wanted.items():
            try:
                await self._context.submit_operations(PURGE, channel, several, author=author)
            except (InputError, NotFoundError) as error:  # the line-up has changed meanwhile
                for one in several:
                    self._refuse(str(one["id"]), error)

    def _refuse(self, where: str, error: InputError | NotFoundError) -> None:
        told = "; ".join([str(error), *map(str, error.problems[:3])])
        _log.warning("%s is no purge: %s", where, told)
        remedy = "mend what sends it, and send it anew; it is passed over"
        self._context.alarm(POISONED, where, Severity.WARNING, told[:1000], remedy)
        self._refused.append(where)
        if len(self._refused) > _STANDING:
            self._context.alarm(POISONED, self._refused.pop(0), Severity.CLEARED)


def _parse(message: Received, where: str) -> PurgeMessage:
    """A message without an id is known by its place in the topic: read twice, it is the same purge.

    Raises InputError.
    """
    value = message.value()
    parsed = parse_message(b"" if value is None else value, where)
    if "id" not in parsed.model_fields_set:
        place = hashlib.sha256(where.encode()).hexdigest()[:32]
        parsed = parsed.model_copy(update={"id": f"kafka-{place}"})
    return parsed


async def _consume(consumer: Any, intake: Intake, context: ServiceContext) -> None:
    heard = asked = context.clock.monotonic()
    told = False
    while True:
        several = await asyncio.to_thread(consumer.consume, BATCH, _POLL_S)
        good = [message for message in several if message.error() is None]
        if good:
            await intake.take(good)
            _commit(consumer, good)
        now = context.clock.monotonic()
        if good:
            heard = now
        elif now - max(asked, heard) > _ASK_S:
            asked = now
            heard = now if await asyncio.to_thread(_answers, consumer) else heard
        away = now - heard > _AWAY_S
        if away is not told:
            severity = Severity.MAJOR if away else Severity.CLEARED
            remedy = "see that the broker runs and a route leads there; what was sent meanwhile is done then"
            context.alarm(SILENT, "broker", severity, "no broker of the topic answers" if away else "", remedy)
            told = away


async def _close(consumer: Any) -> None:
    """In a thread that nobody waits for longer than this: without a broker Kafka's library never comes back."""
    closing = threading.Thread(target=consumer.close, name="purge-consumer-close", daemon=True)
    closing.start()
    await asyncio.to_thread(closing.join, _CLOSE_S)


def _commit(consumer: Any, messages: list[Any]) -> None:
    """A commit that fails is made good by the next: until then messages come again, and are known.

    It is not waited for: without a broker that would be for ever.
    """
    from confluent_kafka import KafkaException, TopicPartition

    ends: dict[tuple[str, int], int] = {}
    for message in messages:
        place = (message.topic(), message.partition())
        ends[place] = max(ends.get(place, 0), message.offset() + 1)
    offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in ends.items()]
    try:
        consumer.commit(offsets=offsets, asynchronous=True)
    except KafkaException as error:
        _log.warning("offsets are not committed: %s", error)


def _answers(consumer: Any) -> bool:
    from confluent_kafka import KafkaException

    try:
        consumer.list_topics(timeout=_POLL_S)
    except KafkaException:
        return False
    return True


def _consumer(settings: PurgeConsumerSettings) -> Any:
    try:
        from confluent_kafka import Consumer, KafkaException
    except ImportError as error:
        raise UnavailableError(
            f"Kafka's library is missing: {error}", where="cdn-purges", remedy="install confluent-kafka"
        ) from error
    try:
        return Consumer(settings.client(), logger=_log)
    except (KafkaException, TypeError, ValueError) as error:
        raise InputError(
            f"Kafka's library does not take these settings: {error}",
            where="cdn-purges",
            remedy="see nf noc service show cdn-purges",
        ) from error
