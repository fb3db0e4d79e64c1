"""The input of a modulator: a queue of at most 100 ms in front of a carrier of constant rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from lab.devices.ts import DATAGRAM_PACKETS, NULL_PACKET, NULL_PID, PACKET_BITS, pid_of

QUEUE_S = 0.1
# An input of the carrier's own rate has another clock, and comes in bursts: its null packets may be deleted to follow
# it, up to this share of the rate, while more than this is queued. What is above that is too much, and is dropped.
_FOLLOW_SHARE = 0.05
_FOLLOW_ABOVE_S = 0.01
_STALL_S = 5.0


class Shaper:
    """Constant coding and modulation: what goes out has exactly the net rate, with null packets where nothing waits."""

    def __init__(self, rate_bps: float, now: float) -> None:
        self.rate_bps = rate_bps
        self.dropped = 0
        self.stuffed = 0
        self._queue: deque[bytes] = deque()
        self._at = now
        self._credit = 0.0
        self._deletable = 0.0

    def carry(self, arrived: Iterable[bytes], now: float) -> list[bytes]:
        """The packets that go out until `now`, whole datagrams of them; `arrived` came in since the last call."""
        passed = min(_STALL_S, max(0.0, now - self._at)) * self.rate_bps / PACKET_BITS
        self._at = now
        self._credit += passed
        self._deletable = min(self._deletable + passed * _FOLLOW_SHARE, QUEUE_S * self.rate_bps / PACKET_BITS)
        count = int(self._credit) // DATAGRAM_PACKETS * DATAGRAM_PACKETS
        self._credit -= count
        self._accept(arrived, count)
        sent = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
        self.stuffed += count - len(sent)
        sent.extend([NULL_PACKET] * (count - len(sent)))
        self._drop()
        return sent

    def delay_s(self) -> float:
        return len(self._queue) * PACKET_BITS / self.rate_bps

    def _accept(self, arrived: Iterable[bytes], leaving: int) -> None:
        enough = leaving + _FOLLOW_ABOVE_S * self.rate_bps / PACKET_BITS
        for packet in arrived:
            if len(self._queue) > enough and self._deletable >= 1 and pid_of(packet) == NULL_PID:
                self._deletable -= 1
            else:
                self._queue.append(packet)

    def _drop(self) -> None:
        room = int(QUEUE_S * self.rate_bps / PACKET_BITS)
        while len(self._queue) > room:
            self._queue.pop()
            self.dropped += 1
