"""Tones: made, and found by Goertzel's algorithm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from lab.voice.g711 import FRAME, RATE, Pcm, encode

LEVEL = 0.2
"""Of full scale: five together do not clip."""

PRESENT = 0.05
"""Amplitude, of full scale, from which a tone counts as heard."""


def tone(frequencies: Sequence[float], seconds: float, level: float = LEVEL) -> Pcm:
    """Hz; silence when there are none."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = sum((np.sin(2 * np.pi * one * time) for one in frequencies), np.zeros(len(time)))
    return np.clip(wave * level * 32767, -32768, 32767).astype(np.int16)


@lru_cache(maxsize=256)
def tone_frames(frequency: int, codec: int, level: float = LEVEL) -> tuple[bytes, ...]:
    """A second of payloads that may be sent round and round; whole Hz only, so that no phase jumps."""
    samples = tone([frequency], 1.0, level)
    return tuple(encode(codec, samples[at : at + FRAME]) for at in range(0, RATE, FRAME))


def amplitude(samples: Pcm, frequency: float) -> float:
    """Of that frequency, 0..1 of full scale."""
    if not len(samples):
        return 0.0
    turns = np.exp(-2j * np.pi * frequency * np.arange(len(samples)) / RATE)
    window = np.hanning(len(samples))
    total = float(window.sum()) or 1.0
    return float(2 * abs(np.dot(samples * window, turns)) / total / 32768)


def heard(samples: Pcm, frequencies: Iterable[float], threshold: float = PRESENT) -> list[float]:
    """Those of `frequencies` that are in `samples`."""
    return [one for one in frequencies if amplitude(samples, one) >= threshold]
