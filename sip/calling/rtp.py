"""RTP (RFC 3550): packets, and what their receiver knows of the way that they came. Pure.

Loss is what the sequence numbers say (appendix A.3), jitter is appendix A.8's. A call's packets are few enough to keep
each one's arrival, so that loss in bursts and packets that come too late to be heard are known too.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from nf.errors import InputError

CLOCK_HZ: Final = 8000
PACKET_MS: Final = 20
SAMPLES: Final = CLOCK_HZ * PACKET_MS // 1000
MAX_PACKETS: Final = 360_000
"""Two hours."""
_HEADER: Final = struct.Struct(">BBHII")
_MODULO: Final = 1 << 16
_MAX_DROPOUT: Final = 3000  # appendix A.1


@dataclass(frozen=True, slots=True)
class Packet:
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes = field(default=b"", repr=False)
    marker: bool = False

    def to_bytes(self) -> bytes:
        second = (0x80 if self.marker else 0) | self.payload_type
        return _HEADER.pack(0x80, second, self.sequence, self.timestamp, self.ssrc) + self.payload

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Section 5.1, with contributors, extension and padding taken off. Raises InputError."""
        if len(data) < _HEADER.size or data[0] >> 6 != 2:
            raise InputError("not a packet of RTP version 2")
        first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        begin = _HEADER.size + 4 * (first & 0x0F)
        if first & 0x10:
            if len(data) < begin + 4:
                raise InputError("the packet ends in its extension")
            begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
        end = len(data)
        if first & 0x20:
            end -= data[-1] or end + 1
        if begin > end:
            raise InputError("the packet is shorter than it says")
        return cls(second & 0x7F, sequence, timestamp, ssrc, data[begin:end], bool(second & 0x80))


@dataclass(frozen=True, slots=True)
class Report:
    """What a receiver says of a stream.

    expected        packets that were sent to it, as far as known; received: without those that came twice
    jitter_ms       RFC 3550's at the end; `late`: came, but after the jitter buffer had played on
    burst_ratio     of loss and lateness (G.107 clause 7.5): 1 when random, more in bursts
    """

    expected: int
    received: int
    duplicates: int
    late: int
    jitter_ms: float
    burst_ratio: float

    @property
    def lost(self) -> int:
        return max(0, self.expected - self.received)

    @property
    def loss(self) -> float:
        """0 to 1, of the network."""
        return self.lost / self.expected if self.expected else 0.0

    @property
    def unheard(self) -> float:
        """0 to 1: lost, or too late."""
        return min(1.0, (self.lost + self.late) / self.expected) if self.expected else 0.0


class Receiver:
    """One stream: the first SSRC that comes; others are counted as strays."""

    def __init__(self, *, clock_hz: int = CLOCK_HZ) -> None:
        self.ssrc: int | None = None
        self.strays = 0
        self.jitter = 0.0
        self.duplicates = 0
        self.arrivals: dict[int, tuple[float, int]] = {}
        """Extended sequence number -> (arrival in seconds, timestamp)."""
        self._clock_hz = clock_hz
        self._base = 0
        self._highest = 0
        self._transit: float | None = None

    @property
    def highest(self) -> int:
        """Extended highest sequence number (section 6.4.1)."""
        return self._highest

    @property
    def base(self) -> int:
        return self._base

    def receive(self, packet: Packet, arrival: float) -> None:
        """`arrival`: seconds, on any clock that does not jump."""
        if self.ssrc is None:
            self.ssrc = packet.ssrc
            self._base = self._highest = packet.sequence + _MODULO  # room for one that overtook it
        if packet.ssrc != self.ssrc or len(self.arrivals) >= MAX_PACKETS:
            self.strays += 1
            return
        delta = (packet.sequence - self._highest) % _MODULO
        number = self._highest + (delta if delta < _MODULO - _MAX_DROPOUT else delta - _MODULO)
        if number in self.arrivals:
            self.duplicates += 1
            return
        if number > self._highest + _MAX_DROPOUT:
            self.strays += 1  # no sender leaps so far: not of this call
            return
        self._highest, self._base = max(self._highest, number), min(self._base, number)
        self.arrivals[number] = (arrival, packet.timestamp)
        transit = arrival * self._clock_hz - packet.timestamp
        if self._transit is not None:
            difference = abs(transit - self._transit)
            if difference < self._clock_hz * 600:  # a timestamp that wrapped says nothing
                self.jitter += (difference - self.jitter) / 16
        self._transit = transit

    @property
    def jitter_ms(self) -> float:
        return self.jitter * 1000 / self._clock_hz

    def report(self, *, buffer_ms: float, expected: int | None = None) -> Report:
        """`expected`: what is known to have been sent; None: what the sequence numbers say, which do not tell of
        packets that were lost before the first and after the last. `buffer_ms`: depth of the listener's jitter buffer.
        """
        spanned = self._highest - self._base + 1 if self.arrivals else 0
        sent = max(spanned, expected or 0)
        late = self._late(buffer_ms)
        missing = [one not in self.arrivals or one in late for one in range(self._base, self._highest + 1)]
        missing = (missing if self.arrivals else []) + [True] * (sent - spanned)
        return Report(sent, len(self.arrivals), self.duplicates, len(late), self.jitter_ms, burst_ratio(missing))

    def _late(self, buffer_ms: float) -> set[int]:
        """Against the quickest one, which the buffer is filled by."""
        if not self.arrivals:
            return set()
        first = min(self.arrivals)
        origin = self.arrivals[first][1]
        transits = {
            number: arrival - _since(timestamp, origin) / self._clock_hz
            for number, (arrival, timestamp) in self.arrivals.items()
        }
        quickest = min(transits.values())
        return {number for number, transit in transits.items() if transit - quickest > buffer_ms / 1000}


def burst_ratio(missing: Sequence[bool]) -> float:
    """Mean length of bursts over that of random loss of the same share, 1 / (1 - p): G.107 clause 7.5. 1 at the least:
    loss that is spread better than by chance is no merit that a call this short could prove."""
    lost = sum(missing)
    bursts = sum(one and not (at and missing[at - 1]) for at, one in enumerate(missing))
    if not bursts or lost == len(missing):
        return 1.0
    return max(1.0, lost / bursts * (1 - lost / len(missing)))


def _since(timestamp: int, origin: int) -> int:
    """Signed difference of timestamps, which wrap at 2^32."""
    return (timestamp - origin + (1 << 31)) % (1 << 32) - (1 << 31)


class Sender:
    """A tone of 1004 Hz in PCMU, in packets of 20 ms. `sent`: extended sequence number -> when, as the caller told."""

    def __init__(self, *, ssrc: int, sequence: int, timestamp: int, payload_type: int = 0) -> None:
        self.ssrc = ssrc
        self.count = 0
        self.octets = 0
        self.timestamp = timestamp
        self.sent: list[float] = []
        self._sequence = sequence
        self._payload_type = payload_type

    def next(self, now: float) -> bytes:
        payload = _TONE[self.count % len(_TONE)]
        packet = Packet(self._payload_type, self._sequence, self.timestamp, self.ssrc, payload, marker=self.count == 0)
        self.count += 1
        self.octets += len(payload)
        self._sequence = (self._sequence + 1) % _MODULO
        self.timestamp = (self.timestamp + SAMPLES) % (1 << 32)
        self.sent.append(now)
        return packet.to_bytes()


def encode_ulaw(sample: int) -> int:
    """One 16-bit sample (ITU-T G.711 clause 2, table 2a)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32_635) + 132
    exponent = max(0, magnitude.bit_length() - 8)
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3)) & 0x0F) & 0xFF


def _tone() -> tuple[bytes, ...]:
    """251 periods in 8000 samples: 50 packets, then it begins anew without a break. At -16 dBm0, as test tones are."""
    import math

    wave = [encode_ulaw(round(5100 * math.sin(2 * math.pi * 1004 * at / CLOCK_HZ))) for at in range(CLOCK_HZ)]
    return tuple(bytes(wave[at : at + SAMPLES]) for at in range(0, CLOCK_HZ, SAMPLES))


_TONE: Final = _tone()
