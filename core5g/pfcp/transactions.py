"""Reliable delivery of our own PFCP requests (TS 29.244, 6.4): sent until they are answered, or given up.

Nothing here does I/O: time comes as a parameter (seconds, of any steady clock), datagrams leave by `data_to_send`.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Sent:
    """A request that waits for its answer."""

    request: Message
    data: bytes
    peer: Peer
    repeats: int = 0


class Transactions:
    """The requests of one UDP endpoint to any number of peers.

    t1_s       seconds until a request is repeated
    n1         how often at most
    first_seq  the first sequence number given out (1 to 2^24 - 1); a relay takes a high one so that its own requests
               stay apart from those it relays
    """

    def __init__(self, t1_s: float, n1: int, first_seq: int) -> None:
        self._t1_s = t1_s
        self._n1 = n1
        self._first_seq = first_seq
        self._seq = first_seq
        self._sent: dict[int, _Sent] = {}
        self._timers: list[tuple[float, int, int]] = []
        self._out: deque[tuple[bytes, Peer]] = deque()

    def send(self, message: Message, peer: Peer, now: float) -> Message:
        """Send a request under a sequence number that no other outstanding request has; returned with that number.

        Raises PfcpError for what is no request or cannot be encoded, BusyError when all numbers are in use.
        """
        if message.type not in RESPONSES:
            raise PfcpError("type", f"{message.type.name} is no request")
        request = message._replace(seq=self._next_seq())
        data = encode(request)
        self._sent[request.seq] = _Sent(request, data, peer)
        heapq.heappush(self._timers, (now + self._t1_s, request.seq, 0))
        self._out.append((data, peer))
        return request

    def receive(self, data: bytes, peer: Peer) -> Answered | None:
        """Take a datagram of one message; None when it answers nothing. Whatever the octets, nothing is raised."""
        try:
            message = decode(data)
        except PfcpError:
            return None
        sent = self._sent.get(message.seq)
        if sent is None or sent.peer != peer:
            return None
        if message.type not in (RESPONSES[sent.request.type], MessageType.VERSION_NOT_SUPPORTED_RESPONSE):
            return None
        del self._sent[message.seq]
        return Answered(sent.request, message, peer)

    def tick(self, now: float) -> tuple[TimedOut, ...]:
        """Repeat what is due and give up what was repeated enough."""
        lost = []
        while self._timers and self._timers[0][0] <= now:
            _, seq, repeats = heapq.heappop(self._timers)
            sent = self._sent.get(seq)
            if sent is None or sent.repeats != repeats:
                continue
            if sent.repeats >= self._n1:
                del self._sent[seq]
                lost.append(TimedOut(sent.request, sent.peer))
                continue
            sent.repeats += 1
            heapq.heappush(self._timers, (now + self._t1_s, seq, sent.repeats))
            self._out.append((sent.data, sent.peer))
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
