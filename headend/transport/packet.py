"""One MPEG-TS packet: ISO/IEC 13818-1 clauses 2.4.3.2 (header) to 2.4.3.5 (adaptation field)."""

from __future__ import annotations

from dataclasses import dataclass

PACKET_SIZE = 188
SYNC_BYTE = 0x47
NULL_PID = 0x1FFF
PCR_HZ = 27_000_000
PCR_MODULUS = (1 << 33) * 300
"""A PCR counts 27 MHz ticks and wraps here (clause 2.4.3.5)."""


@dataclass(frozen=True, slots=True)
class PacketHeader:
    """`pcr`: 27 MHz ticks, None when the packet carries none. `payload_offset` is 188 without payload."""

    transport_error: bool
    payload_unit_start: bool
    pid: int
    scrambling_control: int
    has_adaptation: bool
    has_payload: bool
    continuity_counter: int
    discontinuity: bool
    random_access: bool
    pcr: int | None
    payload_offset: int


def parse_packet(packet: bytes) -> PacketHeader:
    """Raises ValueError when it is no TS packet, or its adaptation field does not fit into it."""
    if len(packet) != PACKET_SIZE or packet[0] != SYNC_BYTE:
        raise ValueError("a TS packet has 188 bytes and begins with 0x47")
    control = packet[3]
    has_adaptation = bool(control & 0x20)
    length = packet[4] if has_adaptation else 0
    if length > PACKET_SIZE - 5:
        raise ValueError(f"an adaptation field of {length} bytes does not fit into a TS packet")
    flags = packet[5] if length else 0
    return PacketHeader(
        transport_error=bool(packet[1] & 0x80),
        payload_unit_start=bool(packet[1] & 0x40),
        pid=(packet[1] & 0x1F) << 8 | packet[2],
        scrambling_control=control >> 6,
        has_adaptation=has_adaptation,
        has_payload=bool(control & 0x10),
        continuity_counter=control & 0x0F,
        discontinuity=bool(flags & 0x80),
        random_access=bool(flags & 0x40),
        pcr=_read_pcr(packet) if flags & 0x10 and length >= 7 else None,
        payload_offset=(5 + length if has_adaptation else 4) if control & 0x10 else PACKET_SIZE,
    )


def _read_pcr(packet: bytes) -> int:
    field = int.from_bytes(packet[6:12], "big")  # 33 bits base, 6 reserved, 9 bits extension
    return (field >> 15) * 300 + (field & 0x1FF)


def build_packet(
    pid: int, continuity_counter: int, payload: bytes, *, discontinuity: bool = False, pcr: int | None = None
) -> bytes:
    """A packet with `payload` (stuffed by an adaptation field when short); none at all when it is empty.

    Raises ValueError when a value does not fit.
    """
    if not 0 <= pid <= NULL_PID or not 0 <= continuity_counter <= 15:
        raise ValueError("a PID has 13 bits, a continuity counter 4")
    if pcr is not None and not 0 <= pcr < PCR_MODULUS:
        raise ValueError("a PCR is below 2^33 x 300")
    flags = (0x80 if discontinuity else 0) | (0x10 if pcr is not None else 0)
    content = bytearray()
    if pcr is not None:
        content += ((pcr // 300) << 15 | 0x3F << 9 | pcr % 300).to_bytes(6, "big")
    room = PACKET_SIZE - 4 - len(payload)
    adaptation = b""
    if flags or room:
        if room < 2 + len(content) and (flags or room < 1):
            raise ValueError(f"{len(payload)} bytes of payload do not fit into the packet")
        body = bytes([flags]) + bytes(content) if room > 1 else b""
        adaptation = bytes([room - 1]) + body + b"\xff" * (room - 1 - len(body))
    elif room < 0:
        raise ValueError(f"{len(payload)} bytes of payload do not fit into the packet")
    control = (0x20 if adaptation else 0) | (0x10 if payload else 0) | continuity_counter
    return bytes([SYNC_BYTE, pid >> 8, pid & 0xFF, control]) + adaptation + payload
