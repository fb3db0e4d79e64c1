"""Requests of the proxy's own: repeated every T1 until answered, N1 times (TS 29.244 6.4). No I/O."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core5g.pfcp.proxy.exchanges import AFTER_LAST, FIRST_OWN, Outgoing, Peer


@dataclass(slots=True, eq=False)
class Request:
    """`tag`: what it is for. `left`: how often it is still repeated."""

    seq: int
    to: Peer
    data: bytes
    tag: object
    t1_s: float
    left: int


class Requests:
    """`first`: where numbers begin; it should differ from one life to the next, since receivers remember them."""

    def __init__(self, first: int = 0) -> None:
        self._next = FIRST_OWN + first % (AFTER_LAST - FIRST_OWN)
        self._open: dict[tuple[str, int], Request] = {}
        self._due: list[tuple[float, int, Request]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._open)

    def send(
        self, build: Callable[[int], bytes], to: Peer, tag: object, now: float, *, t1_s: float = 3.0, n1: int = 3
    ) -> Outgoing:
        """`build`: the message with this sequence number."""
        seq = self._next
        self._next = seq + 1 if seq + 1 < AFTER_LAST else FIRST_OWN
        request = Request(seq, to, build(seq), tag, t1_s, n1)
        self._open[to[0], seq] = request
        heapq.heappush(self._due, (now + t1_s, next(self._order), request))
        return Outgoing(request.data, to)

    def answered(self, sender: Peer, seq: int) -> Request | None:
        """None: nobody waits for it any more."""
        return self._open.pop((sender[0], seq), None)

    def next_timeout(self) -> float | None:
        self._forget_answered()
        return self._due[0][0] if self._due else None

    def tick(self, now: float) -> Iterator[Outgoing | Request]:
        """What is to be sent again, and the requests that are given up."""
        while self._due and self._due[0][0] <= now:
            _, _, request = heapq.heappop(self._due)
            if self._open.get((request.to[0], request.seq)) is not request:
                continue
            if request.left == 0:
                del self._open[request.to[0], request.seq]
                yield request
                continue
            request.left -= 1
            heapq.heappush(self._due, (now + request.t1_s, next(self._order), request))
            yield Outgoing(request.data, request.to)

    def _forget_answered(self) -> None:
        while self._due and self._open.get((self._due[0][2].to[0], self._due[0][2].seq)) is not self._due[0][2]:
            heapq.heappop(self._due)
