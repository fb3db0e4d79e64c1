"""RTP sequence numbers of one flow: RFC 3550 section 6.4.1 and appendix A.1. Pure; by the batch."""

from __future__ import annotations

import numpy as np

from headend.multicast.monitor.arrays import Ints

_WINDOW = 4096
_MAX_DROPOUT = 3000
"""A jump further ahead than this is a stream that began anew (appendix A.1)."""
_MAX_MISORDER = 1000
_MODULUS = 1 << 16


class SequenceMeter:
    """Counters since the meter was made.

    lost        expected less those that came once; a late one makes it less again, so that it may go back
    reordered   came after one with a higher number, for the first time
    duplicates  came before
    restarts    jumps beyond 3,000 ahead or 1,000 back: the sender began anew, and nothing is counted lost
    """

    def __init__(self) -> None:
        self.lost = self.reordered = self.duplicates = self.restarts = 0
        self._highest = -1
        self._seen = np.zeros(_WINDOW, np.bool_)

    def take(self, sequence: Ints) -> None:
        """Sequence numbers in the order of arrival."""
        while len(sequence):
            if self._highest < 0:
                self._begin(int(sequence[0]))
            steps = np.diff(sequence, prepend=self._highest % _MODULUS)
            if (steps == 1).all():
                self._advance(len(sequence))
                return
            steps = (steps + _MODULUS // 2) % _MODULUS - _MODULUS // 2
            numbers = self._highest + np.cumsum(steps)
            peaks = np.maximum.accumulate(np.append(self._highest, numbers))[:-1]
            jumps = np.flatnonzero((numbers - peaks > _MAX_DROPOUT) | (peaks - numbers > _MAX_MISORDER))
            end = int(jumps[0]) if len(jumps) else len(sequence)
            self._take(numbers[:end])
            sequence = sequence[end:]
            if len(sequence):
                self.restarts += 1
                self._begin(int(sequence[0]))

    def _begin(self, sequence: int) -> None:
        """So that `sequence` comes next. Everything before counts as seen."""
        self._highest = _MODULUS + sequence - 1
        self._seen[:] = True

    def _advance(self, count: int) -> None:
        ahead = np.arange(self._highest + 1, self._highest + 1 + count)
        self._seen[ahead[-_WINDOW:] % _WINDOW] = True
        self._highest += count

    def _take(self, numbers: Ints) -> None:
        for number in numbers.tolist():
            place = number % _WINDOW
            if number > self._highest:
                gap = number - self._highest - 1
                self.lost += gap
                if gap:
                    self._seen[np.arange(self._highest + 1, number) % _WINDOW] = False
                self._highest = number
            elif self._seen[place]:
                self.duplicates += 1
            else:
                self.lost -= 1
                self.reordered += 1
            self._seen[place] = True
