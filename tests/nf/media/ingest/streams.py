"""Transport streams of a test's own: a clock of 25 pictures a second, a random access point each second."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from headend.transport.packet import PACKET_SIZE, PCR_MODULUS, build_packet
from headend.transport.psi import PmtStream, build_pat, build_pmt, packetise

PMT_PID, VIDEO_PID, AUDIO_PID = 0x1000, 0x100, 0x101
PICTURE_S = 0.04


def stamp(prefix: int, ticks: int) -> bytes:
    value = ticks % (1 << 33)
    return bytes(
        [
            prefix << 4 | (value >> 30) << 1 | 1,
            value >> 22 & 0xFF,
            (value >> 15 & 0x7F) << 1 | 1,
            value >> 7 & 0xFF,
            (value & 0x7F) << 1 | 1,
        ]
    )


def pes(stream_id: int, pts: int) -> bytes:
    return b"\x00\x00\x01" + bytes([stream_id, 0, 0, 0x80, 0x80, 5]) + stamp(2, pts) + b"x" * 60


def with_random_access(packet: bytes) -> bytes:
    return packet[:5] + bytes([packet[5] | 0x40]) + packet[6:]


def datagrams(start_s: float, *, group: int = 25) -> Iterator[bytes]:
    """One for each picture. `start_s`: where its clock begins."""
    counters = {pid: count() for pid in (0, PMT_PID, VIDEO_PID, AUDIO_PID)}
    streams = (PmtStream(0x1B, VIDEO_PID), PmtStream(0x0F, AUDIO_PID))
    for picture in count():
        at_s = start_s + picture * PICTURE_S
        out = []
        if picture % 5 == 0:
            out += packetise(0, build_pat(1, 0, {1: PMT_PID}), next(counters[0]) & 15)
            out += packetise(PMT_PID, build_pmt(1, 0, VIDEO_PID, streams), next(counters[PMT_PID]) & 15)
        pts = round((at_s + 0.2) * 90_000)
        pcr = round(at_s * 27_000_000) % PCR_MODULUS
        head = build_packet(VIDEO_PID, next(counters[VIDEO_PID]) & 15, pes(0xE0, pts), pcr=pcr)
        head = head[:1] + bytes([head[1] | 0x40]) + head[2:]
        out.append(with_random_access(head) if picture % group == 0 else head)
        out.append(build_packet(VIDEO_PID, next(counters[VIDEO_PID]) & 15, b"y" * (PACKET_SIZE - 4)))
        sound = build_packet(AUDIO_PID, next(counters[AUDIO_PID]) & 15, pes(0xC0, pts))
        out.append(sound[:1] + bytes([sound[1] | 0x40]) + sound[2:])
        yield b"".join(out)
