"""Reliable delivery of PFCP messages (TS 29.244, 6.4): requests are sent until they are answered, and what a peer
repeats is answered once more without being done once more.

Nothing here does I/O: time comes as a parameter (seconds, of any steady clock), datagrams leave by `data_to_send`.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from core5g.pfcp.names import RESPONSES, MessageType
from core5g.pfcp.wire import Message, PfcpError, VersionError, decode, encode
from nf.errors import BusyError

T1_S = 3.0
"""How long an answer is waited for; Open5GS waits as long."""
N1 = 3
"""How often an unanswered request is repeated, after the first time it was sent."""
MAX_CACHED = 20_000
"""Answers kept for repeated requests; beyond, the oldest go first."""
_MAX_SEQ = (1 << 24) - 1


class Peer(NamedTuple):
    """Where datagrams come from and go to; `port` is UDP's."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Received:
    """A request that was not seen before. It is answered by `Transactions.answer`."""

    request: Message
    peer: Peer


@dataclass(frozen=True, slots=True)
class Answered:
    """The first answer to a request of ours; `after` seconds from the first time it was sent."""

    request: Message
    response: Message
    peer: Peer
    after: float


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A request that was sent 1 + N1 times without an answer."""

    request: Message
    peer: Peer


Event = Received | Answered | TimedOut


class State(Enum):
    """Of a request of ours."""

    SENT = "sent"
    ANSWERED = "answered"
    LOST = "lost"


class Input(Enum):
    RESPONSE = "response"
    TIMER = "timer"
    LAST_TIMER = "timer, and it was repeated N1 times"
    ABANDON = "abandoned by its sender"


TABLE: Mapping[tuple[State, Input], State] = {
    (State.SENT, Input.RESPONSE): State.ANSWERED,
    (State.SENT, Input.TIMER): State.SENT,
    (State.SENT, Input.LAST_TIMER): State.LOST,
    (State.SENT, Input.ABANDON): State.LOST,
}
"""What is final is forgotten at once, so no final state has an entry."""


class _Sent:
    """A request of ours that waits."""

    __slots__ = ("at", "data", "peer", "repeats", "request", "state")

    def __init__(self, request: Message, data: bytes, peer: Peer, at: float) -> None:
        self.request = request
        self.data = data
        self.peer = peer
        self.at = at
        self.repeats = 0
        self.state = State.SENT

    def take(self, given: Input) -> State:
        self.state = TABLE[self.state, given]
        return self.state


class _Done:
    """A peer's request, and its answer once there is one."""

    __slots__ = ("answer", "request", "until")

    def __init__(self, request: bytes, until: float) -> None:
        self.request = request
        self.answer = b""
        self.until = until


class Transactions:
    """All transactions of one UDP endpoint, with any number of peers.

    t1_s       seconds until a request is repeated
    n1         how often at most
    first_seq  the first sequence number given out (1 to 2^24 - 1); a relay takes a high one so that its own requests
               stay apart from those it relays
    counters   what was seen: sent, repeated, received, duplicate, stray, lost, and `malformed-REASON`
               for datagrams that are no PFCP
    """

    def __init__(self, t1_s: float = T1_S, n1: int = N1, first_seq: int = 1) -> None:
        self.counters: Counter[str] = Counter()
        self._t1_s = t1_s
        self._n1 = n1
        self._first_seq = first_seq
        self._seq = first_seq
        self._sent: dict[int, _Sent] = {}
        self._timers: list[tuple[float, int, int]] = []
        self._done: OrderedDict[tuple[Peer, int], _Done] = OrderedDict()
        self._out: deque[tuple[bytes, Peer]] = deque()

    @property
    def waiting(self) -> int:
        """Requests of ours without an answer yet."""
        return len(self._sent)

    def send(self, message: Message, peer: Peer, now: float) -> Message:
        """Send a request under a sequence number that no other outstanding request has; returned with that number.

        Raises PfcpError for what is no request or cannot be encoded, BusyError when all numbers are in use.
        """
        if message.type not in RESPONSES:
            raise PfcpError("type", f"{message.type.name} is no request")
        request = message._replace(seq=self._next_seq())
        data = encode(request)
        self._sent[request.seq] = _Sent(request, data, peer, now)
        heapq.heappush(self._timers, (now + self._t1_s, request.seq, 0))
        self._transmit("sent", data, peer)
        return request

    def abandon(self, seq: int) -> None:
        """Stop repeating a request of ours, whose answer would mean nothing any more."""
        sent = self._sent.pop(seq, None)
        if sent is not None:
            sent.take(Input.ABANDON)

    def answer(self, received: Received, response: Message, now: float) -> None:
        """Answer a peer's request, and its repetitions for as long as the peer may repeat it.

        Raises PfcpError when `response` is not what answers the request, or cannot be encoded.
        """
        request, peer = received.request, received.peer
        if response.type not in (RESPONSES[request.type], MessageType.VERSION_NOT_SUPPORTED_RESPONSE):
            raise PfcpError("type", f"{response.type.name} does not answer {request.type.name}")
        data = encode(response._replace(seq=request.seq))
        done = self._done.get((peer, request.seq))
        # The peer may have used the number for another request in the meantime.
        if done is not None and done.request == encode(request):
            done.answer = data
            done.until = now + self._keep_s
            self._done.move_to_end((peer, request.seq))
        self._transmit("sent", data, peer)

    def receive(self, data: bytes, peer: Peer, now: float) -> tuple[Event, ...]:
        """Take a datagram. Whatever the octets, nothing is raised: what is malformed is counted and dropped, but for
        messages of another version, whose sender is told so (7.4.6)."""
        events: list[Event] = []
        while data:
            self.counters["received"] += 1
            try:
                message = decode(data)
            except VersionError:
                self.counters["malformed-version"] += 1
                self._refuse_version(data, peer)
                break
            except PfcpError as error:
                self.counters[f"malformed-{error.reason}"] += 1
                break
            octets = data[: len(data) - len(message.trailing)]
            data = message.trailing
            message = message._replace(trailing=b"")
            if message.type in RESPONSES:
                events += self._request(message, octets, peer, now)
            else:
                events += self._response(message, peer, now)
        return tuple(events)

    def tick(self, now: float) -> tuple[TimedOut, ...]:
        """Repeat what is due and give up what was repeated enough."""
        lost = []
        while self._timers and self._timers[0][0] <= now:
            _, seq, repeats = heapq.heappop(self._timers)
            sent = self._sent.get(seq)
            if sent is None or sent.repeats != repeats:
                continue
            last = sent.repeats >= self._n1
            if sent.take(Input.LAST_TIMER if last else Input.TIMER) is State.LOST:
                del self._sent[seq]
                self.counters["lost"] += 1
                lost.append(TimedOut(sent.request, sent.peer))
                continue
            sent.repeats += 1
            heapq.heappush(self._timers, (now + self._t1_s, seq, sent.repeats))
            self._transmit("repeated", sent.data, sent.peer)
        self._forget(now)
        return tuple(lost)

    def next_timeout(self) -> float | None:
        """When `tick` has something to do; None while nothing waits."""
        while self._timers:
            due, seq, repeats = self._timers[0]
            sent = self._sent.get(seq)
            if sent is not None and sent.repeats == repeats:
                return due
            heapq.heappop(self._timers)
        return None

    def data_to_send(self) -> tuple[tuple[bytes, Peer], ...]:
        """The datagrams that are to leave now, in order; each is handed out once."""
        out = tuple(self._out)
        self._out.clear()
        return out

    @property
    def _keep_s(self) -> float:
        """How long a peer with the same timers may go on repeating."""
        return self._t1_s * (self._n1 + 1)

    def _transmit(self, counted: str, data: bytes, peer: Peer) -> None:
        self.counters[counted] += 1
        self._out.append((data, peer))

    def _refuse_version(self, data: bytes, peer: Peer) -> None:
        at = 12 if data[0] & 1 else 4
        # A refusal is not refused in turn: two ends would do nothing else any more.
        if len(data) >= at + 4 and data[1] != MessageType.VERSION_NOT_SUPPORTED_RESPONSE:
            seq = int.from_bytes(data[at : at + 3], "big")
            self._transmit("sent", encode(Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, seq)), peer)

    def _next_seq(self) -> int:
        for _ in range(len(self._sent) + 1):
            seq = self._seq
            self._seq = self._first_seq if seq >= _MAX_SEQ else seq + 1
            if seq not in self._sent:
                return seq
        raise BusyError(
            f"all sequence numbers from {self._first_seq} on are in use",
            where="PFCP",
            remedy="the peers do not answer; wait for outstanding requests to time out",
        )

    def _request(self, message: Message, octets: bytes, peer: Peer, now: float) -> list[Event]:
        key = (peer, message.seq)
        done = self._done.get(key)
        # A number may be used again for another request: only the same octets are a repetition (6.4).
        if done is not None and done.until > now and done.request == octets:
            self.counters["duplicate"] += 1
            if done.answer:
                self._transmit("repeated", done.answer, peer)
            return []
        self._done[key] = _Done(octets, now + self._keep_s)
        self._done.move_to_end(key)
        if len(self._done) > MAX_CACHED:
            self._done.popitem(last=False)
        return [Received(message, peer)]

    def _response(self, message: Message, peer: Peer, now: float) -> list[Event]:
        sent = self._sent.get(message.seq)
        expected = sent is not None and (
            message.type is RESPONSES[sent.request.type] or message.type is MessageType.VERSION_NOT_SUPPORTED_RESPONSE
        )
        if sent is None or not expected or sent.peer != peer:
            self.counters["stray"] += 1
            return []
        sent.take(Input.RESPONSE)
        del self._sent[message.seq]
        return [Answered(sent.request, message, peer, now - sent.at)]

    def _forget(self, now: float) -> None:
        while self._done:
            key, done = next(iter(self._done.items()))
            if done.until > now:
                return
            del self._done[key]
