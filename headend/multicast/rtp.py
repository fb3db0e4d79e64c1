"""RTP for transport streams: the header of RFC 3550 clause 5.1, the payload of RFC 2250 clause 2, sequence arithmetic.

Pure. A stream may be sent twice, each copy with the same header (SMPTE ST 2022-7); who receives both tells a packet by
its sequence number.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

MP2T = 33
"""Payload type of MPEG-2 transport streams (RFC 3551 table 5)."""
CLOCK_HZ = 90_000
HEADER_BYTES = 12
SEQUENCE_MODULUS = 1 << 16
TIMESTAMP_MODULUS = 1 << 32

PLAIN = struct.Struct("!BBHII")
"""The fixed header: first octet, marker and payload type, sequence number, timestamp, SSRC."""
PLAIN_FIRST = 0x80
"""The first octet of a header that is only that: version 2, no padding, no extension, no contributing source."""

_VERSION, _PADDING, _EXTENSION, _COUNT, _MARKER = 0xC0, 0x20, 0x10, 0x0F, 0x80
_MAX_CSRC = 15


@dataclass(frozen=True, slots=True)
class Header:
    """`timestamp` counts `CLOCK_HZ`. `extension`: the profile's 16 bits and its content, whole 32-bit words."""

    sequence: int
    timestamp: int
    ssrc: int
    payload_type: int = MP2T
    marker: bool = False
    csrc: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """A header, and where in its datagram the payload lies, without padding."""

    header: Header
    start: int
    end: int


def parse(datagram: bytes | memoryview) -> Packet:
    """Raises ValueError when the datagram is no RTP packet (RFC 3550 appendix A.1)."""
    size = len(datagram)
    if size < HEADER_BYTES:
        raise ValueError("shorter than an RTP header")
    first, second, sequence, timestamp, ssrc = PLAIN.unpack_from(datagram)
    if first & _VERSION != PLAIN_FIRST:
        raise ValueError("not of RTP's version 2")
    start = HEADER_BYTES + 4 * (first & _COUNT)
    if start > size:
        raise ValueError("contributing sources do not fit")
    csrc = struct.unpack_from(f"!{first & _COUNT}I", datagram, HEADER_BYTES)
    extension = None
    if first & _EXTENSION:
        if start + 4 > size:
            raise ValueError("the header extension does not fit")
        profile, words = struct.unpack_from("!HH", datagram, start)
        if start + 4 + 4 * words > size:
            raise ValueError("the header extension does not fit")
        extension = (profile, bytes(datagram[start + 4 : start + 4 + 4 * words]))
        start += 4 + 4 * words
    end = size
    if first & _PADDING:
        padding = datagram[-1]
        if padding == 0 or start + padding > size:
            raise ValueError("the padding does not fit")
        end -= padding
    header = Header(sequence, timestamp, ssrc, second & ~_MARKER, bool(second & _MARKER), csrc, extension)
    return Packet(header, start, end)


def build(header: Header, payload: bytes, padding: int = 0) -> bytes:
    """`padding`: octets to add, the last of which tells their number. Raises ValueError when a value does not fit."""
    if len(header.csrc) > _MAX_CSRC or not 0 <= header.payload_type < _MARKER or not 0 <= padding < 256:
        raise ValueError("at most 15 contributing sources; a payload type has 7 bits, padding at most 255 octets")
    first = PLAIN_FIRST | len(header.csrc) | _EXTENSION * (header.extension is not None) | _PADDING * (padding > 0)
    second = header.payload_type | _MARKER * header.marker
    try:
        parts = [PLAIN.pack(first, second, header.sequence, header.timestamp, header.ssrc)]
        parts.append(struct.pack(f"!{len(header.csrc)}I", *header.csrc))
        if header.extension is not None:
            profile, content = header.extension
            if len(content) % 4:
                raise ValueError("a header extension has whole 32-bit words")
            parts += [struct.pack("!HH", profile, len(content) // 4), content]
    except struct.error as error:
        raise ValueError(f"a value does not fit into an RTP header: {error}") from None
    parts += [payload, bytes(padding - 1) + bytes([padding]) if padding else b""]
    return b"".join(parts)


def payload_of(datagram: bytes) -> bytes | None:
    """The transport stream in an RTP datagram; None when it is no such packet."""
    if len(datagram) > HEADER_BYTES and datagram[0] == PLAIN_FIRST and datagram[1] & 0x7F == MP2T:
        return datagram[HEADER_BYTES:]
    try:
        packet = parse(datagram)
    except ValueError:
        return None
    return datagram[packet.start : packet.end] if packet.header.payload_type == MP2T else None


def extend(sequence: int, near: int) -> int:
    """The number with these 16 low bits that is nearest to `near`, which may be below 0 (RFC 3550 clause 6.4.1).

    Of two that are as near the lower one.
    """
    return near + ((sequence - near + 0x8000) & 0xFFFF) - 0x8000


def timestamp_of(seconds: float, offset: int = 0) -> int:
    """Of an instant on any clock that goes forward; `offset` is where the stream's own count began."""
    return (int(seconds * CLOCK_HZ) + offset) % TIMESTAMP_MODULUS


def stable_ssrc(identity: str) -> int:
    """The same for the same stream whenever it is started, so that receivers go on with one; as unlikely to meet
    another stream's as a random one (RFC 3550 clause 8.1)."""
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "big")
