"""A transport stream that comes in bursts goes out steadily, at the pace of its own clock. Sans-IO.

Packets between two PCRs are spread evenly between them (ISO/IEC 13818-1, 2.4.2.2), seven to a datagram. What follows a
`begin` is another run of the multiplexer: its counters go on where those of the run before ended, and its first PCR is
marked as of another clock (2.4.3.3, 2.4.3.5), so that who takes the stream sees one stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

PACKET_SIZE = 188
DATAGRAM_PACKETS = 7
PCR_HZ = 27_000_000
_PCR_MODULUS = (1 << 33) * 300
_SYNC, _NULL_PID = 0x47, 0x1FFF
_DISCONTINUITY, _PCR_FLAG = 0x80, 0x10
_LONGEST_STEP_S = 2.0
"""PCRs that are farther apart are no clock: the step is passed over at once."""
_LATE_S = 0.1
_STOOD_STILL_S = 1.0
_GAIN_PER_S = 1e-5
_MOST_OFF = 30e-6
"""The clock that is sent may be as far off as 27 MHz +/- 810 Hz (ISO/IEC 13818-1, 2.4.2.1)."""


@dataclass(slots=True)
class _Lane:
    """Continuity of one PID. `offset` None: nothing of this run has gone out on it."""

    last: int = 15
    offset: int | None = None


class Pacer:
    """`reserve_s`: the least that lay ready over the last `window_s`; the pace is trimmed to hold it at `target_s`."""

    def __init__(self, *, target_s: float, window_s: float) -> None:
        self.packets = 0
        self.underruns = 0
        self.sync_errors = 0
        self.reserve_s: float | None = None
        self._target_s = target_s
        self._window_s = window_s
        self._rest = b""
        self._waiting: list[bytes] = []
        self._group: list[bytes] = []
        self._queue: deque[tuple[float, bytes]] = deque()
        self._lanes: dict[int, _Lane] = {}
        self._pcr_pid: int | None = None
        self._pcr: int | None = None
        self._media_s = 0.0
        self._mark = False
        self._anchor: tuple[float, float] | None = None
        self._speed = 1.0
        self._dry = False
        self._lowest = float("inf")
        self._judged_at: float | None = None

    def begin(self, *, afresh: bool) -> None:
        """Another run of the multiplexer follows. `afresh`: in place of what lies ready, not after it."""
        if afresh:
            self._give_up()
            self.reserve_s, self._lowest, self._judged_at = None, float("inf"), None
        for packet in self._waiting:
            self._enqueue(packet, self._media_s)
        self._waiting, self._rest, self._pcr_pid, self._pcr = [], b"", None, None
        self._mark = self._media_s > 0
        for lane in self._lanes.values():
            lane.offset = None

    def _give_up(self) -> None:
        """What lies ready is not sent: the counters are again where those who take the stream have seen them."""
        ready = b"".join((*(datagram for _, datagram in self._queue), *self._group, *self._waiting))
        for start in range(len(ready) - PACKET_SIZE, -1, -PACKET_SIZE):
            packet = ready[start : start + PACKET_SIZE]
            lane = self._lanes[_pid_of(packet)]
            lane.last = (packet[3] - (1 if packet[3] & 0x10 else 0)) & 0x0F
        self._queue.clear()
        self._group, self._waiting, self._anchor = [], [], None

    def push(self, data: bytes) -> None:
        """Octets of the stream, cut anywhere. Null packets are left out."""
        data = self._rest + data
        whole = len(data) - len(data) % PACKET_SIZE
        self._rest = data[whole:]
        for start in range(0, whole, PACKET_SIZE):
            packet = data[start : start + PACKET_SIZE]
            if packet[0] != _SYNC:
                self.sync_errors += 1
                continue
            pid = _pid_of(packet)
            if pid != _NULL_PID:
                self._take(pid, packet)

    def _take(self, pid: int, packet: bytes) -> None:
        pcr = _pcr_of(packet)
        if pcr is None or self._pcr_pid not in (None, pid):
            self._waiting.append(self._joined(pid, packet))
            return
        if self._mark:
            packet = packet[:5] + bytes([packet[5] | _DISCONTINUITY]) + packet[6:]
            self._mark = False
        step_s = 0.0 if self._pcr is None else (pcr - self._pcr) % _PCR_MODULUS / PCR_HZ
        step_s = step_s if step_s <= _LONGEST_STEP_S else 0.0
        for number, before in enumerate(self._waiting):
            self._enqueue(before, self._media_s + step_s * (number + 1) / (len(self._waiting) + 1))
        self._waiting = []
        self._media_s += step_s
        self._pcr_pid, self._pcr = pid, pcr
        self._enqueue(self._joined(pid, packet), self._media_s)

    def _joined(self, pid: int, packet: bytes) -> bytes:
        lane = self._lanes.setdefault(pid, _Lane())
        counter = packet[3] & 0x0F
        if lane.offset is None:
            step = 1 if packet[3] & 0x10 else 0
            lane.offset = (lane.last + step - counter) & 0x0F
        lane.last = (counter + lane.offset) & 0x0F
        return packet[:3] + bytes([packet[3] & 0xF0 | lane.last]) + packet[4:]

    def _enqueue(self, packet: bytes, media_s: float) -> None:
        self._group.append(packet)
        if len(self._group) == DATAGRAM_PACKETS:
            self._queue.append((media_s, b"".join(self._group)))
            self._group = []

    def due(self, now: float) -> Iterator[bytes]:
        """The datagrams whose time has come.

        What came in too late moves all that follows, since nobody has been sent it yet; what only this process is late
        with does not, or every delay of its turns would add up.
        """
        self._judge(now)
        while self._queue:
            media_s, datagram = self._queue[0]
            at = self._at(media_s, now)
            if at > now:
                break
            if now - at > (_LATE_S if self._dry else _STOOD_STILL_S):
                self._anchor = (media_s, now)
                self.underruns += 1
            self._dry = False
            self._queue.popleft()
            self.packets += len(datagram) // PACKET_SIZE
            yield datagram
        self._dry = self._dry or not self._queue

    def next_at(self, now: float) -> float | None:
        """When `due` has something; None: not before more comes in."""
        return self._at(self._queue[0][0], now) if self._queue else None

    def _at(self, media_s: float, now: float) -> float:
        if self._anchor is None:
            self._anchor = (media_s, now)
        return self._anchor[1] + (media_s - self._anchor[0]) / self._speed

    def level_s(self, now: float) -> float:
        """How much of the programme lies ready."""
        if self._anchor is None or not self._queue:
            return 0.0
        return max(0.0, self._at(self._queue[-1][0], now) - now)

    def _judge(self, now: float) -> None:
        if self._anchor is None:
            return
        self._lowest = min(self._lowest, self.level_s(now))
        if self._judged_at is None:
            self._judged_at = now
        elif now - self._judged_at >= self._window_s:
            self.reserve_s, self._lowest, self._judged_at = self._lowest, float("inf"), now
            media_s = self._anchor[0] + (now - self._anchor[1]) * self._speed
            self._anchor = (media_s, now)
            trim = (self.reserve_s - self._target_s) * _GAIN_PER_S
            self._speed = 1 + max(-_MOST_OFF, min(_MOST_OFF, trim))


def _pid_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def _pcr_of(packet: bytes) -> int | None:
    """In 27 MHz ticks (ISO/IEC 13818-1, 2.4.3.5)."""
    if not packet[3] & 0x20 or packet[4] < 7 or not packet[5] & _PCR_FLAG:
        return None
    base = int.from_bytes(packet[6:10], "big") << 1 | packet[10] >> 7
    return base * 300 + ((packet[10] & 1) << 8 | packet[11])
