"""What both ends of N4 share in the models: requests that are sent again (T1, N1), duplicates that get the same answer.

Times are of a monotonic clock, in seconds. The recorded daemons wait about three seconds, four times in all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.mobile.pfcp import Message

Peer = tuple[str, int]
OnAnswer = Callable[[Message | None], None]
"""With the answer, or None when there was none after N1 repetitions."""

T1_S, N1 = 3.0, 3
_REMEMBERED, _REMEMBERED_S = 4096, 10.0
_SEQ_MODULUS = 1 << 24


@dataclass(slots=True)
class _Pending:
    data: bytes
    due: float
    left: int
    on_answer: OnAnswer


@dataclass
class Requests:
    """Of one node. `send` puts a datagram on the wire."""

    send: Callable[[bytes, Peer], None]
    t1_s: float = T1_S
    n1: int = N1
    _seq: int = 0
    _pending: dict[tuple[Peer, int], _Pending] = field(default_factory=dict)
    _answered: OrderedDict[tuple[Peer, bytes], tuple[float, bytes]] = field(default_factory=OrderedDict)

    def next_seq(self) -> int:
        self._seq = (self._seq + 1) % _SEQ_MODULUS or 1
        return self._seq

    def request(self, data: bytes, seq: int, peer: Peer, now: float, on_answer: OnAnswer) -> None:
        self._pending[(peer, seq)] = _Pending(data, now + self.t1_s, self.n1, on_answer)
        self.send(data, peer)

    def answered(self, message: Message, peer: Peer) -> None:
        """An answer; one that nothing waits for is ignored."""
        found = self._pending.pop((peer, message.seq), None)
        if found is not None:
            found.on_answer(message)

    def tick(self, now: float) -> None:
        for key, pending in list(self._pending.items()):
            if pending.due > now:
                continue
            if pending.left == 0:
                del self._pending[key]
                pending.on_answer(None)
            else:
                pending.left -= 1
                pending.due = now + self.t1_s
                self.send(pending.data, key[0])

    def answer(self, request: bytes, answer: bytes, peer: Peer, now: float) -> None:
        self._answered[(peer, request)] = (now, answer)
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
        self.send(answer, peer)

    def repeated(self, request: bytes, peer: Peer, now: float) -> bool:
        """Whether the same request was answered just now; it is answered the same way again."""
        at, answer = self._answered.get((peer, request), (0.0, b""))
        if not answer or now - at > _REMEMBERED_S:
            return False
        self.send(answer, peer)
        return True
