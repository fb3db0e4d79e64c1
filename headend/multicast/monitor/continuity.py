"""Continuity counters of many flows and PIDs at once: ISO/IEC 13818-1 clause 2.4.3.3, TR 101 290 check 1.4. Pure.

As `headend.transport.continuity` judges packet by packet, but that a repeated counter is taken for the one repeat that
is allowed without comparing the content.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headend.multicast.monitor.arrays import Flags, Ints

Slots = npt.NDArray[np.uint16]
_PIDS, _NULL = 8192, 0x1FFF
_UNKNOWN = 0xFFFF
_MOST = 0xFFFF


@dataclass(frozen=True, slots=True)
class Breaks:
    """By flow. `errors`: packets whose counter is not the expected one. `missing`: packets that the counters say are
    missing, at most 15 for an error."""

    errors: Ints
    missing: Ints


class ContinuityBank:
    """`take` every batch in the order of arrival within each flow. PIDs beyond 65,535 in all are not judged."""

    def __init__(self, flows: int) -> None:
        self._flows = flows
        self._slots = np.full(flows * _PIDS, _UNKNOWN, np.uint16)
        self._owner = np.empty(0, np.int64)  # slot -> flow
        self._counter = np.empty(0, np.int64)  # slot -> last counter, -1 before the first
        self._repeats = np.empty(0, np.int64)  # slot -> how often the last counter has been repeated

    def take(self, flow: Ints, pid: Ints, counter: Ints, payload: Flags, discontinuity: Flags) -> Breaks:
        judged = pid != _NULL
        if not judged.all():
            flow, pid, counter = flow[judged], pid[judged], counter[judged]
            payload, discontinuity = payload[judged], discontinuity[judged]
        slot = self._slot(flow * _PIDS + pid)
        known = slot != _UNKNOWN
        if not known.all():
            slot, counter, payload, discontinuity = slot[known], counter[known], payload[known], discontinuity[known]
        none = np.zeros(self._flows, np.int64)
        if not len(slot):
            return Breaks(none, none)
        if (slot != slot[0]).any():
            order = np.argsort(slot, kind="stable")  # a radix sort, since it has 16 bits
            slot, counter, payload, discontinuity = slot[order], counter[order], payload[order], discontinuity[order]
        begins = np.empty(len(slot), np.bool_)
        begins[0] = True
        np.not_equal(slot[1:], slot[:-1], out=begins[1:])
        before = np.empty(len(slot), np.int64)
        before[1:] = counter[:-1]
        before[begins] = self._counter[slot[begins]]
        expected = np.where(before < 0, counter, (before + payload) & 0x0F)
        wrong = (counter != expected) & ~discontinuity
        repeats = self._count_repeats(slot, begins, (counter == before) & payload & ~discontinuity)
        # The first repeat is allowed; after an error it may be repeated once again.
        bad = wrong & (repeats & 1 == 0)
        ends = np.append(begins[1:], True)
        self._counter[slot[ends]] = counter[ends]
        self._repeats[slot[ends]] = repeats[ends]
        at = np.flatnonzero(bad)
        if not len(at):
            return Breaks(none, none)
        owner = self._owner[slot[at]]
        gap = (counter[at] - before[at] - payload[at]) & 0x0F
        missing = np.bincount(owner, weights=gap, minlength=self._flows).astype(np.int64)
        return Breaks(np.bincount(owner, minlength=self._flows).astype(np.int64), missing)

    def _count_repeats(self, slot: Slots, begins: Flags, same: Flags) -> Ints:
        """For each packet how many in a row, itself the last, repeat a counter."""
        if not same.any():
            return np.zeros(len(slot), np.int64)
        number = np.arange(len(slot))
        anchor = np.maximum.accumulate(np.where(~same | begins, number, -1))
        earlier = np.where(same[anchor], self._repeats[slot[anchor]] + 1, 0)
        repeats: Ints = number - anchor + earlier
        return repeats

    def _slot(self, key: Ints) -> Slots:
        slot = self._slots[key]
        if (slot == _UNKNOWN).any():
            new = np.unique(key[slot == _UNKNOWN])[: _MOST - len(self._owner)]
            self._slots[new] = np.arange(len(self._owner), len(self._owner) + len(new), dtype=np.uint16)
            self._owner = np.append(self._owner, new // _PIDS)
            self._counter = np.append(self._counter, np.full(len(new), -1))
            self._repeats = np.append(self._repeats, np.zeros(len(new), np.int64))
            slot = self._slots[key]
        return slot
