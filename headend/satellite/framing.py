"""Framing arithmetic: how many bits of payload a symbol carries (EN 302 307-1 clause 5, EN 302 307-2 clause 5).

All of it is exact: whole numbers and fractions, rounded down once at the end.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction

from headend.satellite.modcod import NORMAL_FECFRAME_BITS, SHORT_FECFRAME_BITS, Modcod
from nf.errors import InputError

SLOT_SYMBOLS = 90
PLHEADER_SYMBOLS = 90
PILOT_BLOCK_SYMBOLS = 36
SLOTS_BETWEEN_PILOTS = 16
BBHEADER_BITS = 80
TS_PACKET_BYTES = 188

GSE_HEADER_BYTES = 4
GSE_FIRST_FRAGMENT_BYTES = 7
GSE_LAST_FRAGMENT_BYTES = 3 + 4
GSE_MAX_BYTES = 4095
GSE_LABEL_BYTES = frozenset({0, 3, 6})


class FrameSize(Enum):
    """Length of the FECFRAME in bits."""

    NORMAL = NORMAL_FECFRAME_BITS
    SHORT = SHORT_FECFRAME_BITS


def bbframe_bits(modcod: Modcod, frame: FrameSize = FrameSize.NORMAL) -> int:
    """Kbch: bits of a BBFRAME with its header. Raises InputError where the MODCOD has no code of that length."""
    if frame is FrameSize.NORMAL:
        return modcod.kbch
    if modcod.kbch_short is None:
        raise InputError(f"{modcod} has no short FECFRAME", remedy="use normal FECFRAMEs")
    return modcod.kbch_short


def slots(modcod: Modcod, frame: FrameSize = FrameSize.NORMAL) -> int:
    """Slots of 90 symbols that an XFECFRAME fills, padded to a whole one (128APSK: 103)."""
    return -(-frame.value // (modcod.bits * SLOT_SYMBOLS))


def plframe_symbols(modcod: Modcod, *, pilots: bool, frame: FrameSize = FrameSize.NORMAL) -> int:
    """Symbols of a PLFRAME: header, slots, and a block of 36 pilots after every 16 slots but the last."""
    count = slots(modcod, frame)
    pilot_symbols = PILOT_BLOCK_SYMBOLS * ((count - 1) // SLOTS_BETWEEN_PILOTS) if pilots else 0
    return PLHEADER_SYMBOLS + SLOT_SYMBOLS * count + pilot_symbols


def plframe_duration_s(
    modcod: Modcod, symbol_rate_baud: int, *, pilots: bool, frame: FrameSize = FrameSize.NORMAL
) -> float:
    """Seconds on air of one PLFRAME."""
    return plframe_symbols(modcod, pilots=pilots, frame=frame) / symbol_rate_baud


def efficiency(modcod: Modcod, *, pilots: bool, frame: FrameSize = FrameSize.NORMAL) -> Fraction:
    """Bits of the data field for each symbol, headers and pilots counted (EN 302 307-1 table 13)."""
    return Fraction(bbframe_bits(modcod, frame) - BBHEADER_BITS, plframe_symbols(modcod, pilots=pilots, frame=frame))


def net_bitrate_bps(modcod: Modcod, symbol_rate_baud: int, *, pilots: bool, frame: FrameSize = FrameSize.NORMAL) -> int:
    """Net bit rate of a constant carrier in TS mode, null packets included, rounded down.

    A TS packet costs its own 188 bytes: the sync byte carries the CRC-8 of the packet before (clause 5.1.4).
    """
    return int(symbol_rate_baud * efficiency(modcod, pilots=pilots, frame=frame))


def ts_net_bitrate_bps(
    modcod: Modcod,
    symbol_rate_baud: int,
    *,
    pilots: bool,
    null_packet_deletion: bool = False,
    issy_bytes: int = 0,
    frame: FrameSize = FrameSize.NORMAL,
) -> int:
    """Rate of the TS packets that are sent, with what ACM adds to each: the count of deleted null packets (1 byte,
    clause 5.1.3) and the input stream synchronizer (`issy_bytes` 0, 2 or 3, annex D).
    """
    if issy_bytes not in {0, 2, 3}:
        raise InputError(f"ISSY of {issy_bytes} bytes", remedy="ISSY is absent (0) or has 2 or 3 bytes")
    data = symbol_rate_baud * efficiency(modcod, pilots=pilots, frame=frame)
    return int(data * Fraction(TS_PACKET_BYTES, TS_PACKET_BYTES + int(null_packet_deletion) + issy_bytes))


def gse_net_bitrate_bps(
    modcod: Modcod,
    symbol_rate_baud: int,
    *,
    pilots: bool,
    pdu_bytes: int,
    label_bytes: int = 0,
    frame: FrameSize = FrameSize.NORMAL,
) -> int:
    """Rate that PDUs of `pdu_bytes` have at least over Generic Stream Encapsulation (TS 102 606-1 clause 4.2).

    A PDU costs a header of 4 bytes and its label. Each BBFRAME ends inside a PDU at worst: a first and a last fragment
    with CRC-32 in place of one header, or padding too short for a first fragment.
    """
    if label_bytes not in GSE_LABEL_BYTES:
        raise InputError(f"a GSE label of {label_bytes} bytes", remedy="a label has 0, 3 or 6 bytes")
    whole = GSE_HEADER_BYTES + label_bytes + pdu_bytes
    if pdu_bytes < 1 or whole - 2 > GSE_MAX_BYTES:
        raise InputError(f"a PDU of {pdu_bytes} bytes does not fit one GSE packet", remedy="keep PDUs below 4 kbyte")
    data_bytes = (bbframe_bits(modcod, frame) - BBHEADER_BITS) // 8
    cut = GSE_FIRST_FRAGMENT_BYTES + GSE_LAST_FRAGMENT_BYTES - GSE_HEADER_BYTES
    usable = data_bytes - max(cut, GSE_FIRST_FRAGMENT_BYTES + label_bytes)
    frames_per_s = Fraction(symbol_rate_baud, plframe_symbols(modcod, pilots=pilots, frame=frame))
    return int(frames_per_s * usable * 8 * Fraction(pdu_bytes, whole))
