"""What a switch between two transport streams has to read and rewrite (ISO/IEC 13818-1, 2.4.3 and 2.4.4). Sans-IO."""

from __future__ import annotations

from collections.abc import Iterator

PACKET_SIZE = 188
SYNC = 0x47
NULL_PID = 0x1FFF
CLOCK_HZ = 90_000
CLOCK_MODULUS = 1 << 33
"""PTS and PCR base count 90 kHz ticks and wrap here (2.4.3.5 and 2.4.3.7)."""

_PAT_PID = 0
_VIDEO_TYPES = frozenset({0x01, 0x02, 0x10, 0x1B, 0x24, 0x33})
"""stream_type (table 2-34): MPEG-1, MPEG-2, MPEG-4 part 2, AVC, HEVC, VVC."""

_WITHOUT_HEADER = frozenset({0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF})
"""stream_id whose PES packets have no PTS (2.4.3.7)."""

_RTP_HEADER = 12


def payload_of(datagram: bytes) -> bytes:
    """The TS packets of a datagram, with or without an RTP header (RFC 2250); empty when it carries none."""
    if datagram[:1] == b"\x80" and len(datagram) % PACKET_SIZE == _RTP_HEADER:
        datagram = datagram[_RTP_HEADER:]
    return datagram if datagram and len(datagram) % PACKET_SIZE == 0 and datagram[0] == SYNC else b""


def packets(payload: bytes) -> Iterator[bytes]:
    """Those that begin with the sync byte and are no null packets."""
    for place in range(0, len(payload), PACKET_SIZE):
        packet = payload[place : place + PACKET_SIZE]
        if packet[0] == SYNC and pid_of(packet) != NULL_PID:
            yield packet


def pid_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def _flags(packet: bytes) -> int:
    """The flags of the adaptation field; 0 when there is none."""
    return packet[5] if packet[3] & 0x20 and packet[4] else 0


def pcr_base(packet: bytes) -> int | None:
    """90 kHz; None when the packet carries no PCR."""
    if not _flags(packet) & 0x10 or packet[4] < 7:
        return None
    return int.from_bytes(packet[6:11], "big") >> 7


def is_random_access(packet: bytes) -> bool:
    """A PES packet begins here that a decoder can begin with (random_access_indicator, 2.4.3.5)."""
    return bool(packet[1] & 0x40 and _flags(packet) & 0x40)


def is_scrambled(packet: bytes) -> bool:
    return bool(packet[3] & 0xC0)


def marked(packet: bytes) -> list[bytes]:
    """With discontinuity_indicator; where the packet has no room for it, a packet without payload goes before it."""
    if packet[3] & 0x20 and packet[4]:
        return [packet[:5] + bytes([packet[5] | 0x80]) + packet[6:]]
    # The counter of a packet without payload does not move (2.4.3.3): the next one is then the expected one.
    control = 0x20 | (packet[3] - 1) & 0x0F
    head = bytes([SYNC, packet[1] & 0x1F, packet[2], control, PACKET_SIZE - 5, 0x80])
    return [head + b"\xff" * (PACKET_SIZE - len(head)), packet]


def _stamp(field: bytes, offset: int) -> bytes:
    """PTS or DTS of five octets, moved by `offset` ticks."""
    value = _read_stamp(field) + offset & CLOCK_MODULUS - 1
    return bytes([field[0] & 0xF0 | value >> 29 & 0x0E | 1]) + (
        ((value >> 15 & 0x7FFF) << 1 | 1).to_bytes(2, "big") + ((value & 0x7FFF) << 1 | 1).to_bytes(2, "big")
    )


def _read_stamp(field: bytes) -> int:
    high = (field[0] >> 1 & 7) << 30 | (int.from_bytes(field[1:3], "big") >> 1) << 15
    return high | int.from_bytes(field[3:5], "big") >> 1


def _pes_header(packet: bytes) -> tuple[int, bytes]:
    """Where the PES header with a PTS begins, and its first octets; empty when none begins here."""
    if packet[1] & 0x40 and packet[3] & 0x10 and not packet[3] & 0xC0:
        start = 5 + packet[4] if packet[3] & 0x20 else 4
        pes = packet[start : start + 19]
        if len(pes) >= 14 and pes[:3] == b"\x00\x00\x01" and pes[3] not in _WITHOUT_HEADER and pes[7] & 0x80:
            return start, pes
    return PACKET_SIZE, b""


def decoding_stamp(packet: bytes) -> int | None:
    """DTS, or PTS where there is none, of the PES packet that begins here; None when none does."""
    _, pes = _pes_header(packet)
    if not pes:
        return None
    return _read_stamp(pes[14:19] if pes[7] & 0x40 and len(pes) == 19 else pes[9:14])


def presentation_stamp(packet: bytes) -> int | None:
    """PTS of the PES packet that begins here; None when none does."""
    _, pes = _pes_header(packet)
    return _read_stamp(pes[9:14]) if pes else None


def begins_payload(packet: bytes) -> bool:
    """payload_unit_start_indicator, or no payload at all."""
    return bool(packet[1] & 0x40 or not packet[3] & 0x10)


def later(one: int, other: int) -> int:
    """How many ticks `one` is after `other`, on the shorter way around."""
    return (one - other + CLOCK_MODULUS // 2) % CLOCK_MODULUS - CLOCK_MODULUS // 2


def moved(packet: bytes, offset: int) -> bytes:
    """PCR, PTS and DTS later by `offset` 90 kHz ticks, which may be negative."""
    if not offset:
        return packet
    out = bytearray(packet)
    pcr = pcr_base(packet)
    if pcr is not None:
        rest = int.from_bytes(packet[6:12], "big") & 0x7FFF
        out[6:12] = ((pcr + offset & CLOCK_MODULUS - 1) << 15 | rest).to_bytes(6, "big")
    start, pes = _pes_header(packet)
    if pes:
        out[start + 9 : start + 14] = _stamp(pes[9:14], offset)
        if pes[7] & 0x40 and len(pes) == 19:
            out[start + 14 : start + 19] = _stamp(pes[14:19], offset)
    return bytes(out)


class Tables:
    """PAT and PMT of a stream as they pass, for its first programme: where the video is.

    A table that needs more than a packet is passed over; the video is then the PID that has random access points.
    """

    def __init__(self) -> None:
        self.pat: bytes | None = None
        self.pmt: bytes | None = None
        self.video_pid: int | None = None
        self._pmt_pid: int | None = None

    def see(self, packet: bytes) -> None:
        pid = pid_of(packet)
        if pid == _PAT_PID:
            section = _section(packet, 0x00)
            entries = [section[i : i + 4] for i in range(8, len(section) - 7, 4)]
            found = [int.from_bytes(e[2:], "big") & 0x1FFF for e in entries if e[:2] != b"\0\0"]
            if found:
                self.pat, self._pmt_pid = packet, found[0]
        elif pid == self._pmt_pid:
            section = _section(packet, 0x02)
            if len(section) > 16:
                self.pmt, self.video_pid = packet, _video_pid(section)

    @property
    def head(self) -> list[bytes]:
        return [packet for packet in (self.pat, self.pmt) if packet is not None]


def _section(packet: bytes, table_id: int) -> bytes:
    """A section that this packet carries whole; empty when it does not."""
    if packet[1] & 0x40 == 0 or packet[3] & 0x10 == 0:
        return b""
    start = 5 + packet[4] if packet[3] & 0x20 else 4
    if start >= PACKET_SIZE:
        return b""
    start += 1 + packet[start]
    if start + 3 > PACKET_SIZE or packet[start] != table_id:
        return b""
    end = start + 3 + ((packet[start + 1] & 0x0F) << 8 | packet[start + 2])
    return packet[start:end] if end <= PACKET_SIZE else b""


def _video_pid(section: bytes) -> int | None:
    place = 12 + ((section[10] & 0x0F) << 8 | section[11])
    while place + 5 <= len(section) - 4:
        if section[place] in _VIDEO_TYPES:
            return (section[place + 1] & 0x1F) << 8 | section[place + 2]
        place += 5 + ((section[place + 3] & 0x0F) << 8 | section[place + 4])
    return None
