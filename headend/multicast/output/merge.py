"""Two legs that carry one RTP stream, merged without a gap: SMPTE ST 2022-7. Sans-IO, explicit time.

Every packet goes out once and in order: at once when it is the next one, else when those before it have come, or when
it has waited for the window. A packet that one leg loses is thus hidden by the other, as long as the other is not
later than the window.

The source keeps its SSRC when it starts anew and continues at a random sequence number, in a first packet that is
marked (RFC 2250 clause 2). That is told from a straggler by the mark; or by the silence of two windows before it and a
time stamp that is none of the last seconds'.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from headend.multicast.output.ring import Buffer
from headend.multicast.rtp import CLOCK_HZ, HEADER_BYTES, MP2T, PLAIN, PLAIN_FIRST, TIMESTAMP_MODULUS, parse

WINDOW_S = 0.05
"""The class of moderate skew (ST 2022-7 class B) for paths within a country."""

_STRAGGLER_S, _REORDERED_S = 10, 1
"""So old a straggler may be, and so much younger than the last packet one that was overtaken."""
_AHEAD = _BEHIND = 8192
"""A packet further away than so many is none of this life of the stream; 50 ms at 200 Mb/s are 950."""
_SKEW_EVERY = 0x1F
_SKEW_KEPT = 64
_unpack = PLAIN.unpack_from


@dataclass(frozen=True, slots=True)
class LegCounters:
    """lost        packets that this leg did not bring, though it brought later ones
    used        that went out as this leg brought them
    duplicate   that the other leg had brought before, or this one
    late        that came when the output had already gone on without them
    foreign     datagrams that are none of this stream: no RTP, another SSRC, out of all proportion
    skew_ms     how much later than the other leg it brings the same packet; 0 for the earlier one
    age_ms      since its last packet; None: nothing has come
    """

    received: int
    lost: int
    used: int
    duplicate: int
    late: int
    foreign: int
    skew_ms: float
    age_ms: float | None


class Leg:
    """Extended sequence numbers are the merge's own, so both legs count in the same numbers."""

    def __init__(self) -> None:
        self.received = self.used = self.duplicate = self.late = self.foreign = 0
        self.skew_s = 0.0
        self.last_at: float | None = None
        self.base: int | None = None
        self.highest = 0
        self.lost_before = self.received_before = 0

    @property
    def lost(self) -> int:
        """RFC 3550 appendix A.3: expected less received, over every life of the stream."""
        if self.base is None:
            return self.lost_before
        return self.lost_before + max(0, self.highest - self.base + 1 - (self.received - self.received_before))

    def begin(self) -> None:
        """The stream starts anew: what was lost before stays counted."""
        self.lost_before, self.received_before, self.base = self.lost, self.received, None

    def counters(self, now: float) -> LegCounters:
        age_ms = None if self.last_at is None else max(0.0, now - self.last_at) * 1000
        counts = (self.received, self.lost, self.used, self.duplicate, self.late, self.foreign)
        return LegCounters(*counts, self.skew_s * 1000, age_ms)


class Merge:
    """`emit` gets every payload. `last_at`: arrival of what was last taken; `lost`: packets that went out from neither
    leg; `resets`: new lives of the stream after the first. Times are seconds on a clock that goes forward."""

    def __init__(self, legs: int, emit: Callable[[bytes], object], window_s: float = WINDOW_S) -> None:
        self.legs = tuple(Leg() for _ in range(legs))
        self.packets = 0
        self.lost = 0
        self.resets = 0
        self.last_at: float | None = None
        self._emit = emit
        self._window_s = window_s
        self._ssrc: int | None = None
        self._next = 0
        self._stamp = 0
        self._held: dict[int, tuple[bytes, float]] = {}
        self._skipped: deque[tuple[int, int]] = deque(maxlen=64)
        self._marked: deque[int] = deque(maxlen=4)
        self._skews: dict[int, tuple[int, float]] = {}

    def take(self, leg: int, data: Buffer, start: int, end: int, at: float) -> None:
        """The datagram `data[start:end]` has arrived by a leg."""
        one = self.legs[leg]
        if end - start <= HEADER_BYTES:
            one.foreign += 1
            return
        first, kind, sequence, stamp, ssrc = _unpack(data, start)
        if first == PLAIN_FIRST and kind & 0x7F == MP2T:
            start += HEADER_BYTES
        else:
            try:
                packet = parse(memoryview(data)[start:end])
            except ValueError:
                one.foreign += 1
                return
            if packet.header.payload_type != MP2T:
                one.foreign += 1
                return
            start, end = start + packet.start, start + packet.end
        ahead = ((sequence - self._next + 0x8000) & 0xFFFF) - 0x8000
        if ssrc != self._ssrc or kind & 0x80 or not -_BEHIND <= ahead <= _AHEAD or (ahead < 0 and self._quiet(at)):
            if self._begins(ahead, sequence, stamp, ssrc, marked=bool(kind & 0x80), quiet=self._quiet(at)):
                self._reset(sequence, ssrc)
                ahead = 0
            elif ssrc != self._ssrc or not -_BEHIND <= ahead <= _AHEAD:
                one.foreign += 1
                return
        if ahead >= 0:
            self._stamp = stamp
        self._take(leg, self._next + ahead, data, start, end, at)

    def _take(self, leg: int, number: int, data: Buffer, start: int, end: int, at: float) -> None:  # noqa: PLR0917 - hot
        one = self.legs[leg]
        one.received += 1
        one.last_at = at
        if one.base is None:
            one.base = one.highest = number
        elif number > one.highest:
            one.highest = number
        if not number & _SKEW_EVERY:
            self._measure(leg, number, at)
        held = self._held
        if number == self._next:
            one.used += 1
            self._emit(bytes(data[start:end]))
            self.packets += 1
            self._next = number + 1
            self.last_at = at
            if held:
                self._follow()
        elif number < self._next:
            if self._skipped and any(low <= number < high for low, high in self._skipped):
                one.late += 1
            else:
                one.duplicate += 1
        elif number in held:
            one.duplicate += 1
        else:
            one.used += 1
            held[number] = (bytes(data[start:end]), at)
            self.last_at = at

    def _follow(self) -> None:
        """Send what waited for the packet that was just sent."""
        held, number = self._held, self._next
        while (waiting := held.pop(number, None)) is not None:
            self._emit(waiting[0])
            self.packets += 1
            number += 1
        self._next = number

    def tick(self, now: float) -> None:
        """Go on without what is missing before a packet that has waited for longer than the window. Call it after
        everything that arrived until `now` was taken."""
        held = self._held
        while held and now - next(iter(held.values()))[1] > self._window_s:
            self._skip(min(held))

    def _skip(self, number: int) -> None:
        self.lost += number - self._next
        self._skipped.append((self._next, number))
        self._next = number
        self._follow()

    def flush(self) -> None:
        """Send whatever waits."""
        while self._held:
            self._skip(min(self._held))

    def _quiet(self, at: float) -> bool:
        return self.last_at is None or at - self.last_at > 2 * self._window_s

    def _begins(self, ahead: int, sequence: int, stamp: int, ssrc: int, *, marked: bool, quiet: bool) -> bool:
        """Whether this packet is of a new life of the stream."""
        if self._ssrc is None:
            begins = True
        elif marked and ssrc == self._ssrc and sequence in self._marked:
            begins = False  # the other leg's copy
        elif quiet:
            begins = marked or ssrc != self._ssrc or ahead > _AHEAD or (ahead < 0 and not self._recent(stamp))
        else:
            begins = marked and ssrc == self._ssrc and not 0 <= ahead <= _AHEAD
        if marked and (begins or ssrc == self._ssrc):
            self._marked.append(sequence)
        return begins

    def _recent(self, stamp: int) -> bool:
        age = (self._stamp - stamp + _REORDERED_S * CLOCK_HZ) % TIMESTAMP_MODULUS
        return age <= (_STRAGGLER_S + _REORDERED_S) * CLOCK_HZ

    def _reset(self, sequence: int, ssrc: int) -> None:
        if self._ssrc is not None:
            self.resets += 1
            self.flush()
        self._ssrc, self._next = ssrc, sequence
        self._skipped.clear()
        self._skews.clear()
        for leg in self.legs:
            leg.begin()

    def _measure(self, leg: int, number: int, at: float) -> None:
        seen = self._skews.pop(number, None)
        if seen is None:
            self._skews[number] = (leg, at)
            if len(self._skews) > _SKEW_KEPT:
                del self._skews[next(iter(self._skews))]
        elif seen[0] != leg:
            self.legs[leg].skew_s = max(0.0, at - seen[1])
            self.legs[seen[0]].skew_s = 0.0
