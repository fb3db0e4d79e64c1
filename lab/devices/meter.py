"""Rates of what flows, as a device shows them."""

from __future__ import annotations

from collections import deque


class Meter:
    """Mean rate over a sliding window. `add` counts, `per_second` tells; both take the time in seconds."""

    def __init__(self, window_s: float) -> None:
        self.total = 0
        self._window_s = window_s
        self._slots: deque[tuple[float, int]] = deque()
        self._since: float | None = None

    def add(self, now: float, amount: int) -> None:
        self.total += amount
        if self._since is None:
            self._since = now
        slot = now // (self._window_s / 10)
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1] = slot, self._slots[-1][1] + amount
        else:
            self._slots.append((slot, amount))

    def per_second(self, now: float) -> float:
        """0 before anything was counted; while the window is not full, over what there is of it."""
        if self._since is None:
            return 0.0
        width = self._window_s / 10
        current = now // width
        # The slot that is being filled does not count, the ten before it do.
        while self._slots and self._slots[0][0] < current - 10:
            self._slots.popleft()
        counted = sum(amount for slot, amount in self._slots if slot < current)
        span = min(self._window_s, (current - self._since // width) * width)
        return counted / span if span > 0 else 0.0
