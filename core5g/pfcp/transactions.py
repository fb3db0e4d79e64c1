"""Reliable delivery of our own PFCP requests (TS 29.244, 6.4): sent until they are answered, or given up.

A table says what an answer and the timer mean to a request in each of its states. Nothing here does I/O: time comes as
a parameter (seconds, of any steady clock), datagrams leave by `data_to_send`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

from core5g.pfcp.names import RESPONSES, MessageType
from core5g.pfcp.wire import Message, PfcpError, decode, encode
from nf.errors import BusyError

_MAX_SEQ = (1 << 24) - 1


class Peer(NamedTuple):
    """Where datagrams come from and go to; `port` is UDP's."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The first answer to a request of ours."""

    request: Message
    response: Message
    peer: Peer


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A request that was sent 1 + N1 times without an answer."""

    request: Message
    peer: Peer


class State(StrEnum):
    """Of a request of ours. `LOST`: it was sent 1 + N1 times without an answer."""

    WAITING = "waiting"
    DONE = "done"
    LOST = "lost"


class Input(StrEnum):
    """`TIMER`: T1 is over; `TIMER_LAST`: it is over after the last repetition."""

    ANSWER = "answer"
    TIMER = "timer"
    TIMER_LAST = "last timer"


class Do(Enum):
    """What a transition asks for."""

    NOTHING = "nothing"
    HAND_OUT = "hand the answer out"
    REPEAT = "send it again"
    GIVE_UP = "tell that nobody answered"


class Step(NamedTuple):
    state: State
    do: Do = Do.NOTHING


_WAITING, _DONE, _LOST = State

TABLE: Mapping[tuple[State, Input], Step] = {
    (_WAITING, Input.ANSWER): Step(_DONE, Do.HAND_OUT),
    (_WAITING, Input.TIMER): Step(_WAITING, Do.REPEAT),
    (_WAITING, Input.TIMER_LAST): Step(_LOST, Do.GIVE_UP),
    # The timer that ran when the answer came.
    (_DONE, Input.TIMER): Step(_DONE),
    (_DONE, Input.TIMER_LAST): Step(_DONE),
}
"""A second answer is not in it: with the first one, and when it is lost, a request gives its number back."""


@dataclass(slots=True, eq=False)
class _Sent:
    """A request and how far it has come."""

    request: Message
    data: bytes
    peer: Peer
    repeats: int = 0
    state: State = State.WAITING


class Transactions:
    """The requests of one UDP endpoint to any number of peers.

    t1_s       seconds until a request is repeated
    n1         how often at most
    first_seq  the first sequence number given out (1 to 2^24 - 1); a relay takes a high one so that its own requests
               stay apart from those it relays
    counters   where malformed answers are counted, as `malformed-REASON`
    """

    def __init__(self, t1_s: float, n1: int, first_seq: int, counters: Counter[str] | None = None) -> None:
        self._t1_s = t1_s
        self._n1 = n1
        self._first_seq = first_seq
        self._counters: Counter[str] = Counter() if counters is None else counters
        self._seq = first_seq
        self._sent: dict[int, _Sent] = {}
        self._timers: list[tuple[float, int, _Sent]] = []
        self._order = itertools.count()
        self._out: deque[tuple[bytes, Peer]] = deque()

    def send(self, message: Message, peer: Peer, now: float) -> Message:
        """Send a request under a sequence number that no other outstanding request has; returned with that number.

        Raises PfcpError for what is no request or cannot be encoded, BusyError when all numbers are in use.
        """
        if message.type not in RESPONSES:
            raise PfcpError("type", f"{message.type.name} is no request")
        request = message._replace(seq=self._next_seq())
        data = encode(request)
        sent = self._sent[request.seq] = _Sent(request, data, peer)
        self._wait(sent, now)
        self._out.append((data, peer))
        return request

    def receive(self, data: bytes, peer: Peer) -> Answered | None:
        """Take a datagram of one message; None when it answers nothing. Whatever the octets, nothing is raised."""
        try:
            message = decode(data)
        except PfcpError as error:
            self._counters[f"malformed-{error.reason}"] += 1
            return None
        sent = self._sent.get(message.seq)
        if sent is None or sent.peer != peer:
            return None
        if message.type not in (RESPONSES[sent.request.type], MessageType.VERSION_NOT_SUPPORTED_RESPONSE):
            return None
        self._take(sent, Input.ANSWER)
        return Answered(sent.request, message, peer)

    def tick(self, now: float) -> tuple[TimedOut, ...]:
        """Repeat what is due and give up what was repeated enough."""
        lost = []
        while self._timers and self._timers[0][0] <= now:
            _, _, sent = heapq.heappop(self._timers)
            match self._take(sent, Input.TIMER if sent.repeats < self._n1 else Input.TIMER_LAST):
                case Do.REPEAT:
                    sent.repeats += 1
                    self._wait(sent, now)
                    self._out.append((sent.data, sent.peer))
                case Do.GIVE_UP:
                    lost.append(TimedOut(sent.request, sent.peer))
        return tuple(lost)

    def next_timeout(self) -> float | None:
        """When `tick` has something to do; None while nothing waits."""
        while self._timers and self._timers[0][2].state is not State.WAITING:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _take(self, sent: _Sent, given: Input) -> Do:
        sent.state, do = TABLE[sent.state, given]
        if do in (Do.HAND_OUT, Do.GIVE_UP):
            del self._sent[sent.request.seq]
        return do

    def _wait(self, sent: _Sent, now: float) -> None:
        heapq.heappush(self._timers, (now + self._t1_s, next(self._order), sent))

    def data_to_send(self) -> tuple[tuple[bytes, Peer], ...]:
        """The datagrams that are to leave now, in order; each is handed out once."""
        out = tuple(self._out)
        self._out.clear()
        return out

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
