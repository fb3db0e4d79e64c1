"""How many refusals of strangers are written to the audit: enough to see them, too few to fill the disk."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from nf.clock import Clock

REFUSALS_PER_NAME = 10
WINDOW_S = 600.0
_MAX_NAMES = 10_000


@dataclass(slots=True)
class _Window:
    begins: float
    admitted: int = 0
    left_out: int = 0


class Allowance:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def admit(self, name: str) -> int | None:
        """None: leave this one out. Else how many of this name were left out since the last one that was let in."""
        now = self._clock.monotonic()
        window = self._windows.get(name)
        if window is None:
            while len(self._windows) >= _MAX_NAMES:
                self._windows.popitem(last=False)
            window = self._windows[name] = _Window(now)
        elif now - window.begins >= WINDOW_S:
            window.begins, window.admitted = now, 0
        if window.admitted >= REFUSALS_PER_NAME:
            window.left_out += 1
            return None
        window.admitted += 1
        left_out, window.left_out = window.left_out, 0
        return left_out
