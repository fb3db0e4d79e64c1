"""RTP packets, what is measured of them (RFC 3550), and telephone events (RFC 4733). No input or output."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct("!BBHII")
_EVENT: Final = struct.Struct("!BBH")
KEYS: Final = "0123456789*#ABCD"


class Packet(NamedTuple):
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def encode(packet: Packet) -> bytes:
    second = packet.payload_type | (0x80 if packet.marker else 0)
    return _HEADER.pack(0x80, second, packet.sequence, packet.timestamp, packet.ssrc) + packet.payload


def decode(data: bytes) -> Packet | None:
    """None: it is no RTP (RTCP, STUN and DTLS share the port: RFC 7983, RFC 5761)."""
    if len(data) < 12 or data[0] >> 6 != 2 or 192 <= data[1] <= 223:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    start = 12 + 4 * (first & 15)
    if first & 0x10:
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = len(data) - (data[-1] if first & 0x20 else 0)
    if end < start:
        return None
    return Packet(second & 0x7F, bool(second & 0x80), sequence, timestamp, ssrc, data[start:end])


def event_payload(key: str, duration: int, *, end: bool) -> bytes:
    """RFC 4733 section 2.3; duration in timestamp units."""
    return _EVENT.pack(KEYS.index(key), (0x80 if end else 0) | 10, min(duration, 0xFFFF))


class Events:
    """Keys out of telephone events: one for each timestamp, whichever packets were lost."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None

    def take(self, packet: Packet) -> str | None:
        """A key that is new."""
        if len(packet.payload) < 4 or packet.payload[0] >= len(KEYS):
            return None
        mark = (packet.ssrc, packet.timestamp)
        if mark == self._last:
            return None
        self._last = mark
        return KEYS[packet.payload[0]]


@dataclass(frozen=True, slots=True)
class Stats:
    """Of one call's media. Packets; jitter by RFC 3550 section 6.4.1, gap between two packets at most: milliseconds."""

    sent: int = 0
    received: int = 0
    expected: int = 0
    lost: int = 0
    jitter_ms: float = 0.0
    gap_ms: float = 0.0
    ssrc: int = 0
    foreign: int = 0
    codec: str = ""
    dtmf: str = ""

    @property
    def loss(self) -> float:
        """Share of what was expected, 0..1."""
        return self.lost / self.expected if self.expected else 0.0


class Receiver:
    """Counts what comes in: RFC 3550 appendix A.1, A.3 and A.8."""

    def __init__(self, rate: int = 8000) -> None:
        self.received = 0
        self.jitter = 0.0
        self.gap = 0.0
        self.ssrc = 0
        self._rate = rate
        self._base = self._highest = 0
        self._transit: float | None = None
        self._before = 0.0
        self._expected_before = 0

    def take(self, packet: Packet, now: float) -> None:
        """now: seconds, of a monotonic clock."""
        if packet.ssrc != self.ssrc or not self.received:
            self._expected_before = self.expected
            self.ssrc = packet.ssrc
            self._base = self._highest = packet.sequence
            self._transit = None
        else:
            step = (packet.sequence - self._highest) & 0xFFFF
            if step < 0x8000:
                self._highest += step
            self.gap = max(self.gap, now - self._before)
        transit = now * self._rate - packet.timestamp
        if self._transit is not None:
            self.jitter += (abs(transit - self._transit) - self.jitter) / 16
        self._transit, self._before = transit, now
        self.received += 1

    @property
    def expected(self) -> int:
        return self._expected_before + (self._highest - self._base + 1 if self.received else 0)
