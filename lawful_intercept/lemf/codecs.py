"""Samples of a call's RTP: which encoding a payload type is (RFC 3551, SDP), and decoding G.711, L16 and G.722."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lawful_intercept.lemf.g722 import Decoder

Samples = np.ndarray[Any, np.dtype[np.int16]]
_RTP: Final = struct.Struct("!BBHII")
_MAP: Final = re.compile(rb"^a=rtpmap:(\d{1,3}) +([A-Za-z0-9.-]+)/(\d{1,6})(?:/(\d))?[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Encoding:
    """`clock`: of RTP's timestamps, per second; `rate`: samples a second."""

    name: str
    clock: int
    channels: int = 1

    @property
    def rate(self) -> int:
        return 16_000 if self.name == "G722" else self.clock


STATIC: Final = {
    0: Encoding("PCMU", 8000),
    8: Encoding("PCMA", 8000),
    9: Encoding("G722", 8000),
    10: Encoding("L16", 44_100, 2),
    11: Encoding("L16", 44_100),
    13: Encoding("CN", 8000),
}
RATES: Final = range(8000, 192_001)


@dataclass(frozen=True, slots=True, repr=False)
class Packet:
    kind: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def read_rtp(octets: bytes) -> Packet | None:
    """None for what is no RTP packet (RFC 3550 clause 5.1), RTCP among it."""
    if len(octets) < _RTP.size:
        return None
    first, second, sequence, timestamp, ssrc = _RTP.unpack_from(octets)
    at, end = _RTP.size + (first & 0x0F) * 4, len(octets)
    if first >> 6 != 2 or 192 <= second <= 223:
        return None
    if first & 0x10:
        if end < at + 4:
            return None
        at += 4 + int.from_bytes(octets[at + 2 : at + 4], "big") * 4
    if first & 0x20:
        end -= octets[-1]
    if at > end:
        return None
    return Packet(second & 0x7F, sequence, timestamp, ssrc, octets[at:end])


def encodings(messages: Iterable[bytes]) -> dict[int, Encoding]:
    """By payload type: the static ones, and what the call's SDP says; what it says last counts."""
    found = dict(STATIC)
    for message in messages:
        for kind, name, clock, channels in _MAP.findall(message):
            if int(kind) < 128 and int(clock) in RATES:
                found[int(kind)] = Encoding(name.decode().upper(), int(clock), max(1, int(channels or 1)))
    return found


def _mu_law(code: int) -> int:
    code = ~code & 0xFF
    size = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return 0x84 - size if code & 0x80 else size - 0x84


def _a_law(code: int) -> int:
    code ^= 0x55
    segment = (code & 0x70) >> 4
    size = ((code & 0x0F) << 4) + (0x108 if segment else 8)
    size <<= max(0, segment - 1)
    return size if code & 0x80 else -size


_MU_TABLE: Final = np.array([_mu_law(code) for code in range(256)], np.int16)
_A_TABLE: Final = np.array([_a_law(code) for code in range(256)], np.int16)


def decoder(encoding: Encoding) -> Callable[[bytes], Samples] | None:
    """Of one stream, mono; None for an encoding that is not known here."""
    match encoding.name:
        case "PCMU":
            return lambda payload: _MU_TABLE[np.frombuffer(payload, np.uint8)]
        case "PCMA":
            return lambda payload: _A_TABLE[np.frombuffer(payload, np.uint8)]
        case "L16":
            return lambda payload: _linear(payload, encoding.channels)
        case "G722":
            state = Decoder()
            return lambda payload: np.array(state.decode(payload), np.int16)
        case _:
            return None


def _linear(payload: bytes, channels: int) -> Samples:
    whole = len(payload) // (2 * channels) * 2 * channels
    samples: Samples = np.frombuffer(payload[:whole], ">i2").reshape(-1, channels).mean(axis=1).astype(np.int16)
    return samples


def resampled(samples: Samples, before: int, after: int) -> Samples:
    """By straight lines between samples: to listen to, not to measure."""
    if before == after or not len(samples):
        return samples
    places = np.arange(len(samples) * after // before) * (before / after)
    made: Samples = np.interp(places, np.arange(len(samples)), samples).astype(np.int16)
    return made
