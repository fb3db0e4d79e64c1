"""What the lab has for radio frequency: frames over UDP, each with what a receiver would measure of the carrier.

A frame is a head of 40 octets and up to seven transport stream packets. `relative_db` is how much above or below clear
sky the carrier arrives at the satellite: the modulator knows its own level and the rain over it, and nobody else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = b"NFRF"
VERSION = 1
_HEAD = struct.Struct("!4sBBBBIIIhh8s8x")
_NO_ID = bytes(8)


@dataclass(frozen=True, slots=True)
class Carrier:
    """What is set of a carrier. `modcod`, `roll_off`, `pilot` as NF-LAB-MIB numbers them; `carrier_id` may be empty."""

    modcod: int
    symbol_rate: int
    roll_off: int
    pilot: int
    frequency_100khz: int
    carrier_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Frame:
    carrier: Carrier
    sequence: int
    eirp_db10: int
    relative_db10: int


HEAD_OCTETS = _HEAD.size


def pack(frame: Frame) -> bytes:
    """The head; the packets follow it in the same datagram."""
    c = frame.carrier
    identity = c.carrier_id or _NO_ID
    fixed = (MAGIC, VERSION, c.modcod, c.roll_off, c.pilot, c.symbol_rate, c.frequency_100khz)
    return _HEAD.pack(*fixed, frame.sequence & 0xFFFFFFFF, frame.eirp_db10, frame.relative_db10, identity)


def unpack(datagram: bytes) -> Frame | None:
    """None for what is no frame of this version."""
    if len(datagram) < HEAD_OCTETS:
        return None
    magic, version, modcod, roll_off, pilot, rate, frequency, sequence, eirp, relative, identity = _HEAD.unpack_from(
        datagram
    )
    if magic != MAGIC or version != VERSION:
        return None
    carrier = Carrier(modcod, rate, roll_off, pilot, frequency, b"" if identity == _NO_ID else identity)
    return Frame(carrier, sequence, eirp, relative)
