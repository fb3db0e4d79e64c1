"""RTCP (RFC 3550 section 6): sender and receiver reports, by which the far end says what it hears. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nf.errors import InputError

SR, RR, SDES = 200, 201, 202
_NTP_EPOCH: Final = 2_208_988_800
_BLOCK: Final = struct.Struct(">IIIIII")
_WORD: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Block:
    """A report block (section 6.4.1). `lost`: since the beginning, negative where packets came twice.

    `last_sr`, `delay`: the middle of the last sender report's NTP time, and 1/65536 s since it came.
    """

    ssrc: int
    fraction: float
    lost: int
    highest: int
    jitter: int
    last_sr: int
    delay: int

    def to_bytes(self) -> bytes:
        lost = max(-0x800000, min(0x7FFFFF, self.lost)) & 0xFFFFFF
        share = max(0, min(255, int(self.fraction * 256)))
        return _BLOCK.pack(
            self.ssrc, share << 24 | lost, self.highest % _WORD, self.jitter % _WORD, self.last_sr, self.delay % _WORD
        )

    def round_trip_s(self, now: float) -> float | None:
        """At the sender of the report that it answers, when it comes back; `now`: wall clock. None: it answers none."""
        if not self.last_sr:
            return None
        elapsed = (middle(ntp(now)) - self.last_sr - self.delay) % _WORD
        return elapsed / 65_536 if elapsed < _WORD // 2 else 0.0


@dataclass(frozen=True, slots=True)
class SenderInfo:
    """`ntp`: 32.32 fixed point, of the instant when it was sent."""

    ntp: int
    timestamp: int
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class ReportPacket:
    ssrc: int
    sender: SenderInfo | None
    blocks: tuple[Block, ...]

    def to_bytes(self, cname: str) -> bytes:
        """With the SDES that a compound packet must have (section 6.1)."""
        body = struct.pack(">I", self.ssrc)
        if self.sender is not None:
            one = self.sender
            body += struct.pack(">QIII", one.ntp, one.timestamp, one.packets % _WORD, one.octets % _WORD)
        body += b"".join(block.to_bytes() for block in self.blocks)
        kind = RR if self.sender is None else SR
        item = struct.pack(">IBB", self.ssrc, 1, len(cname)) + cname.encode() + b"\0"
        item += bytes(-len(item) % 4)
        return _packet(kind, len(self.blocks), body) + _packet(SDES, 1, item)


def ntp(wall: float) -> int:
    """Seconds since 1970 as an NTP timestamp."""
    return int((wall + _NTP_EPOCH) * _WORD) % (1 << 64)


def middle(timestamp: int) -> int:
    return timestamp >> 16 & 0xFFFFFFFF


def parse(data: bytes) -> tuple[ReportPacket, ...]:
    """The reports of a compound packet; other packets in it are passed over. Raises InputError."""
    return tuple(_reports(data))


def _reports(data: bytes) -> Iterator[ReportPacket]:
    at = 0
    while at < len(data):
        if len(data) - at < 8 or data[at] >> 6 != 2:
            raise InputError("not a packet of RTCP version 2")
        count, kind = data[at] & 0x1F, data[at + 1]
        end = at + 4 * (int.from_bytes(data[at + 2 : at + 4], "big") + 1)
        if end > len(data):
            raise InputError("the packet is shorter than it says")
        if kind in {SR, RR}:
            yield _report(data[at + 4 : end], count, kind)
        at = end


def _report(body: bytes, count: int, kind: int) -> ReportPacket:
    begin = 24 if kind == SR else 4
    if len(body) < begin + count * _BLOCK.size:
        raise InputError("the report is shorter than it says")
    (ssrc,) = struct.unpack_from(">I", body)
    sender = SenderInfo(*struct.unpack_from(">QIII", body, 4)) if kind == SR else None
    return ReportPacket(ssrc, sender, tuple(_block(body, begin + at * _BLOCK.size) for at in range(count)))


def _block(body: bytes, at: int) -> Block:
    ssrc, loss, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, at)
    lost = loss & 0xFFFFFF
    return Block(
        ssrc, (loss >> 24) / 256, lost - (0x1000000 if lost & 0x800000 else 0), highest, jitter, last_sr, delay
    )


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0x80 | count, kind, len(body) // 4) + body
