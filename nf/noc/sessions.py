"""One session per appliance: who is there, what it says of itself, and questions that wait for their answer.

The newest session of an appliance wins. Each has a bounded queue of its own, so nobody waits for a stuck reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from nf.clock import Clock
from nf.contracts.json import Json, JsonObject, canonical
from nf.control.convert import image_from_proto
from nf.control.errors import from_info
from nf.control.queue import CoalescingQueue, QueueClosed
from nf.control.v1 import fleet_pb2 as pb
from nf.errors import DeadlineError, UnavailableError

_QUEUE_LIMIT: Final = 256
RETURN_S: Final = 2.0
"""Who was seen that short ago is changing its connection (they end with age, and with the certificate), not offline."""

K = TypeVar("K")
R = TypeVar("R")


class SessionLost(UnavailableError):  # noqa: N818 - named for what happened, as its base is
    """The session ended before the answer came; the appliance may still have done what was asked."""


@dataclass(frozen=True, slots=True)
class PhaseKey:
    """Names one answer: phase is validate, prepare, apply, verify, hold, confirm, undo or abort."""

    transaction: str
    phase: str
    stage: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an appliance says it stands."""

    confirmed_revision: int = 0
    confirmed_digest: str = ""
    in_flight: str = ""  # transaction, empty = none
    in_flight_state: pb.TransactionState.ValueType = pb.TRANSACTION_STATE_UNSPECIFIED
    last_transaction: str = ""
    last_outcome: pb.TransactionState.ValueType = pb.TRANSACTION_STATE_UNSPECIFIED

    @classmethod
    def of(cls, message: pb.Hello | pb.StateNotice) -> Standing:
        return cls(
            message.confirmed_revision,
            message.confirmed_digest,
            message.in_flight.transaction,
            message.in_flight.state,
            message.last_transaction,
            message.last_outcome,
        )


class Session:
    """One connected appliance."""

    def __init__(self, hello: pb.Hello) -> None:
        self.appliance = hello.appliance
        self.hello = hello
        self.standing = Standing.of(hello)
        self.image = image_from_proto(hello.image) if hello.HasField("image") else None
        self.closed = asyncio.Event()
        self._queue: CoalescingQueue[pb.NocMessage] = CoalescingQueue(_QUEUE_LIMIT)
        self._phases: dict[PhaseKey, asyncio.Future[pb.PhaseResult]] = {}
        self._requests: dict[str, asyncio.Future[pb.Reply]] = {}
        self._sequence = 0

    def send(self, message: pb.NocMessage) -> None:
        """Queue a message; never waits. A peer that does not read loses its session and resyncs with a new hello."""
        if not self._queue.put(message):
            self.close()

    def close(self) -> None:
        """Everybody who waits for an answer gets SessionLost."""
        self.closed.set()
        self._queue.close()
        for phase in tuple(self._phases.values()):
            _lose(phase, self.appliance)
        for request in tuple(self._requests.values()):
            _lose(request, self.appliance)

    async def outgoing(self) -> AsyncIterator[pb.NocMessage]:
        """What to write, numbered, until the session is closed."""
        with contextlib.suppress(QueueClosed):
            while not self.closed.is_set():
                for message in (await self._queue.take()).items:
                    self._sequence += 1
                    message.sequence = self._sequence
                    yield message

    def take(self, message: pb.AgentMessage) -> bool:
        """One message of the appliance. True when its standing changed, or what it runs from."""
        body = message.WhichOneof("body")
        if body == "result":
            result = message.result
            future = self._phases.get(PhaseKey(result.transaction, result.phase, result.stage))
            if future is not None and not future.done():
                future.set_result(result)
        elif body == "reply":
            waiting = self._requests.get(message.reply.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(message.reply)
        elif body == "state":
            self.standing = Standing.of(message.state)
            return True
        elif body == "image":
            self.image = image_from_proto(message.image)
            return True
        return False

    async def phase(self, message: pb.NocMessage, key: PhaseKey, timeout_s: float) -> pb.PhaseResult:
        """Send a phase command and wait. Raises SessionLost, DeadlineError, or what the appliance raised."""
        result = await self._ask(self._phases, key, message, timeout_s, key.phase)
        if not result.ok:
            raise from_info(result.error)
        return result

    async def request(self, method: str, arguments: JsonObject, timeout_s: float = 10.0) -> Json:
        """Everything outside transactions. Raises SessionLost, DeadlineError, or what the appliance raised."""
        request_id = uuid.uuid4().hex
        message = pb.NocMessage(
            request=pb.Request(id=request_id, method=method, arguments_json=canonical(arguments).encode())
        )
        reply = await self._ask(self._requests, request_id, message, timeout_s, method)
        if reply.HasField("error"):
            raise from_info(reply.error)
        return cast(Json, json.loads(reply.result_json or b"null"))

    async def _ask(
        self, waiting: dict[K, asyncio.Future[R]], key: K, message: pb.NocMessage, timeout_s: float, what: str
    ) -> R:
        if self.closed.is_set():
            raise SessionLost("the session ended", where=self.appliance)
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        waiting[key] = future
        try:
            self.send(message)
            async with asyncio.timeout(max(0.0, timeout_s)):
                return await future
        except TimeoutError:
            raise DeadlineError(
                f"no answer to {what} in {timeout_s:.1f} s", where=self.appliance, remedy="see the appliance's log"
            ) from None
        finally:
            if waiting.get(key) is future:
                del waiting[key]
            if future.done() and not future.cancelled():
                future.exception()  # retrieved here, so that an answer nobody waits for any more warns nobody


def _lose(future: asyncio.Future[R], appliance: str) -> None:
    if not future.done():
        future.set_exception(SessionLost("the session ended", where=appliance))


AWAY: Final = "see that it has power, a way to the NOC and its agent running"


def enrol_it(appliance: str) -> str:
    """The remedy where a machine has no identity, as after it was replaced."""
    return f"its machine has no identity: nf appliance enroll {appliance}, and carry the file there"


class Sessions:
    """Every appliance that is there now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._changed = asyncio.Event()
        self._listeners: dict[str, Callable[[str, pb.Progress], None]] = {}
        self.last_seen: dict[str, float] = {}
        self.unenrolled: set[str] = set()
        """Of those that are away, who has no identity to come back with."""

    def offline(self, appliance: str) -> UnavailableError:
        """The error where it is needed, and away."""
        remedy = enrol_it(appliance) if appliance in self.unenrolled else AWAY
        return UnavailableError("is offline", where=appliance, remedy=remedy)

    def get(self, appliance: str) -> Session | None:
        return self._sessions.get(appliance)

    def online(self) -> frozenset[str]:
        return frozenset(self._sessions)

    def all(self) -> tuple[Session, ...]:
        return tuple(self._sessions.values())

    def attach(self, session: Session) -> None:
        """The newest wins: an older session of the same appliance is closed."""
        older = self._sessions.get(session.appliance)
        self._sessions[session.appliance] = session
        self.unenrolled.discard(session.appliance)
        if older is not None:
            older.close()
        self.seen(session.appliance)
        self._notify()

    def detach(self, session: Session) -> bool:
        """True when the appliance is gone now, False when a newer session of it stands."""
        session.close()
        self.seen(session.appliance)
        if self._sessions.get(session.appliance) is not session:
            return False
        del self._sessions[session.appliance]
        self._notify()
        return True

    def seen(self, appliance: str) -> None:
        self.last_seen[appliance] = self._clock.now()

    @contextlib.contextmanager
    def listening(self, transaction: str, hear: Callable[[str, pb.Progress], None]) -> Iterator[None]:
        """Inside, `hear` gets (appliance, progress) of the steps of `transaction`, whatever session brings it."""
        self._listeners[transaction] = hear
        try:
            yield
        finally:
            if self._listeners.get(transaction) is hear:
                del self._listeners[transaction]

    def progressed(self, appliance: str, progress: pb.Progress) -> None:
        """A step went on. Nobody listens to a transaction that is over, or unknown: nothing happens."""
        if (hear := self._listeners.get(progress.transaction)) is not None:
            hear(appliance, progress)

    def close(self) -> None:
        for session in self.all():
            session.close()

    async def wait_online(self, appliance: str, timeout_s: float) -> Session:
        """Raises UnavailableError when it does not come in time."""
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                while (session := self._sessions.get(appliance)) is None or session.closed.is_set():
                    changed = self._changed
                    await changed.wait()
        except TimeoutError:
            raise self.offline(appliance) from None
        return session

    async def wait_returned(self, appliance: str) -> bool:
        """Whether it is there; one that was there just now gets the rest of `RETURN_S` to come back."""
        left_s = RETURN_S - (self._clock.now() - self.last_seen.get(appliance, 0.0))
        try:
            await self.wait_online(appliance, min(left_s, RETURN_S))
        except UnavailableError:
            return False
        return True

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
