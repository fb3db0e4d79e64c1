"""A token bucket: what a stage may send is a promise to every link of the tree."""

from __future__ import annotations

BURST_S = 0.2
_MIN_BURST_BYTES = 8 * 1316


class Policer:
    """Admits `rate_bps` (content of the datagrams: the transport stream) with a burst of 200 ms, or of eight
    datagrams of seven packets where that is more. The bucket is full at the start."""

    def __init__(self, rate_bps: int) -> None:
        self._bytes_per_s = rate_bps / 8
        self._capacity = max(float(_MIN_BURST_BYTES), self._bytes_per_s * BURST_S)
        self._tokens = self._capacity
        self._at: float | None = None

    def admit(self, size: int, now: float) -> bool:
        """May a datagram of `size` bytes leave at `now` (seconds, never going back)? Takes its tokens if so."""
        if self._at is not None:
            self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._at) * self._bytes_per_s)
        self._at = now
        if size > self._tokens:
            return False
        self._tokens -= size
        return True
