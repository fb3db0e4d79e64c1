"""G.711: PCMU and PCMA by table, numpy in and out."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]

PCMU: Final = 0
PCMA: Final = 8
RATE: Final = 8000
FRAME: Final = 160
"""Samples of 20 ms."""

SILENCE: Final = {PCMU: b"\xff" * FRAME, PCMA: b"\xd5" * FRAME}
NAMES: Final = {PCMU: "PCMU", PCMA: "PCMA"}


def _ulaw_table() -> Pcm:
    codes = ~np.arange(256, dtype=np.int32) & 0xFF
    sign, exponent, mantissa = codes & 0x80, (codes >> 4) & 7, codes & 0x0F
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(sign, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> Pcm:
    codes = np.arange(256, dtype=np.int32) ^ 0x55
    sign, exponent, mantissa = codes & 0x80, (codes >> 4) & 7, codes & 0x0F
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(sign, magnitude, -magnitude).astype(np.int16)


def _inverse(table: Pcm) -> npt.NDArray[np.uint8]:
    """The nearest code of every 16-bit sample."""
    order = np.argsort(table, kind="stable")
    levels = table[order].astype(np.int32)
    samples = np.arange(-32768, 32768, dtype=np.int32)
    after = np.clip(np.searchsorted(levels, samples), 1, 255)
    nearer = np.where(samples - levels[after - 1] <= levels[after] - samples, after - 1, after)
    return order[nearer].astype(np.uint8)


_DECODE: Final = {PCMU: _ulaw_table(), PCMA: _alaw_table()}
_ENCODE: Final = {codec: _inverse(table) for codec, table in _DECODE.items()}


def decode(codec: int, payload: bytes) -> Pcm:
    return _DECODE[codec][np.frombuffer(payload, dtype=np.uint8)]


def encode(codec: int, samples: Pcm) -> bytes:
    return _ENCODE[codec][samples.astype(np.int32) + 32768].tobytes()
