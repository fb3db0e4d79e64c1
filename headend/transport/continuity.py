"""Continuity, sync and bit rate of a transport stream as it passes: TR 101 290 checks 1.1, 1.2, 1.4 and 2.1.

Sans-IO: datagrams and their times go in, counters come out. ISO/IEC 13818-1 clause 2.4.3.3 on the counter.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from headend.transport.packet import NULL_PID, PACKET_SIZE, SYNC_BYTE

_SYNC_LOST_AFTER = 2
_SYNC_FOUND_AFTER = 5
_MIN_SPAN_S = 0.1


@dataclass(frozen=True, slots=True)
class StreamCounters:
    """What a monitor has seen, at one instant.

    continuity_errors   packets whose counter is not the expected one, or the same packet more than twice (1.4)
    sync_errors         places where a packet should begin and 0x47 does not stand (1.2)
    transport_errors    packets that an earlier device marked as damaged (2.1)
    in_sync             lost after 2 bad sync bytes in a row, found again after 5 good ones (1.1)
    bitrate_bps         of whole datagrams' content, over the monitor's window
    age_s               since the last datagram; None = nothing has come
    """

    packets: int
    bytes: int
    continuity_errors: int
    sync_errors: int
    transport_errors: int
    in_sync: bool
    bitrate_bps: float
    age_s: float | None


class _Pid:
    """The last packet of one PID, kept where it came: a copy for each packet would cost more than the check."""

    __slots__ = ("counter", "datagram", "offset", "repeated")

    def __init__(self, counter: int, datagram: bytes, offset: int) -> None:
        self.counter = counter
        self.datagram = datagram
        self.offset = offset
        self.repeated = False


class CounterCheck:
    """The continuity counters of any number of PIDs (clause 2.4.3.3): `errors` that were seen."""

    __slots__ = ("_pids", "errors")

    def __init__(self) -> None:
        self.errors = 0
        self._pids: dict[int, _Pid] = {}

    def check(self, pid: int, datagram: bytes, offset: int) -> bool:
        """Whether the packet at `offset`, of a PID other than the null packets', is the one expected."""
        control = datagram[offset + 3]
        if not control & 0x30:
            return True  # reserved: decoders discard it (table 2-5)
        counter = control & 0x0F
        known = self._pids.get(pid)
        if known is None:
            self._pids[pid] = _Pid(counter, datagram, offset)
            return True
        if not control & 0x10:
            good = counter == known.counter or _discontinuity(datagram, offset)
            known.counter = counter
            self.errors += not good
            return good
        good = True
        if counter == (known.counter + 1) & 0x0F or _discontinuity(datagram, offset):
            known.repeated = False
        elif counter == known.counter and not known.repeated and _same_packet(known, datagram, offset):
            known.repeated = True
        else:
            good = False
            self.errors += 1
            known.repeated = False
        known.counter, known.datagram, known.offset = counter, datagram, offset
        return good


class ContinuityMonitor:
    """Feed it every datagram in order: `receive(datagram, now)`. Times are seconds on any clock that goes forward."""

    def __init__(self, window_s: float = 1.0) -> None:
        self.packets = 0
        self.bytes = 0
        self.sync_errors = 0
        self.transport_errors = 0
        self.in_sync = True
        self._bad_in_row = 0
        self._good_in_row = 0
        self._counters = CounterCheck()
        self._window_s = window_s
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_bytes = 0
        self._first_at: float | None = None
        self._last_at: float | None = None

    @property
    def continuity_errors(self) -> int:
        return self._counters.errors

    def receive(self, datagram: bytes, now: float) -> int:
        """Count what one datagram carries; the number of continuity errors in it."""
        size = len(datagram)
        self.bytes += size
        self._arrived(size, now)
        errors_before, check = self._counters.errors, self._counters.check
        for offset in range(0, size - PACKET_SIZE + 1, PACKET_SIZE):
            if datagram[offset] != SYNC_BYTE:
                self._bad_sync()
                continue
            if self._bad_in_row or not self.in_sync:
                self._good_sync()
            self.packets += 1
            flags = datagram[offset + 1]
            if flags & 0x80:
                self.transport_errors += 1
                continue
            pid = (flags & 0x1F) << 8 | datagram[offset + 2]
            if pid != NULL_PID:
                check(pid, datagram, offset)
        if size % PACKET_SIZE or not size:
            self._bad_sync()
        return self._counters.errors - errors_before

    def counters(self, now: float) -> StreamCounters:
        return StreamCounters(
            self.packets,
            self.bytes,
            self.continuity_errors,
            self.sync_errors,
            self.transport_errors,
            self.in_sync,
            self.bitrate_bps(now),
            self.age_s(now),
        )

    def age_s(self, now: float) -> float | None:
        """Seconds since the last datagram; None when nothing has come."""
        return None if self._last_at is None else max(0.0, now - self._last_at)

    def bitrate_bps(self, now: float) -> float:
        """Over the window that ends `now`; 0 when nothing came in it."""
        self._forget(now)
        if self._first_at is None or not self._recent:
            return 0.0
        return self._recent_bytes * 8 / max(_MIN_SPAN_S, min(self._window_s, now - self._first_at))

    def _arrived(self, size: int, now: float) -> None:
        if self._first_at is None:
            self._first_at = now
        self._last_at = now
        self._recent.append((now, size))
        self._recent_bytes += size
        self._forget(now)

    def _forget(self, now: float) -> None:
        recent, since = self._recent, now - self._window_s
        while recent and recent[0][0] <= since:
            self._recent_bytes -= recent.popleft()[1]

    def _bad_sync(self) -> None:
        self.sync_errors += 1
        self._bad_in_row += 1
        self._good_in_row = 0
        if self._bad_in_row >= _SYNC_LOST_AFTER:
            self.in_sync = False

    def _good_sync(self) -> None:
        self._bad_in_row = 0
        self._good_in_row += 1
        if self._good_in_row >= _SYNC_FOUND_AFTER:
            self.in_sync = True
            self._good_in_row = 0


def _discontinuity(datagram: bytes, offset: int) -> bool:
    return bool(datagram[offset + 3] & 0x20 and datagram[offset + 4] and datagram[offset + 5] & 0x80)


def _same_packet(known: _Pid, datagram: bytes, offset: int) -> bool:
    """A duplicate equals its original in every byte but the PCR; otherwise fifteen packets are missing."""
    first = known.datagram[known.offset + 4 : known.offset + PACKET_SIZE]
    second = datagram[offset + 4 : offset + PACKET_SIZE]
    if first == second:
        return True
    has_pcr = datagram[offset + 3] & 0x20 and second[0] >= 7 and second[1] & 0x10
    return bool(has_pcr) and first[:2] == second[:2] and first[8:] == second[8:]
