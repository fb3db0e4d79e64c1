"""What is played: WAV files, tone_stream://, silence_stream://, file_string://; and WAV files that are written."""

from __future__ import annotations

import asyncio
import re
import wave
from pathlib import Path

import numpy as np

from lab.voice.g711 import FRAME, RATE, Pcm, decode, encode
from lab.voice.tones import tone

_TONE = re.compile(r"%\(([^)]*)\)")
_LONGEST = 3600
"""Seconds of one sound that are made at most."""


class NotFoundError(Exception):
    """File Not Found: the application goes on."""


class Sound:
    """Frames of 20 ms; loops -1: for ever."""

    def __init__(self, samples: Pcm, loops: int = 1) -> None:
        padded = -len(samples) % FRAME
        self._samples = np.concatenate([samples, np.zeros(padded, np.int16)]) if padded else samples
        self._at, self._loops = 0, loops

    def read(self) -> Pcm | None:
        """None at the end."""
        if self._at >= len(self._samples):
            self._loops -= 1 if self._loops > 0 else 0
            if not self._loops or not len(self._samples):
                return None
            self._at = 0
        self._at += FRAME
        return self._samples[self._at - FRAME : self._at]


def opened(path: str, directory: Path) -> list[Sound]:
    """What a playback path names, one after another; relative files are of `directory`. Raises NotFoundError."""
    kind, parted, rest = path.partition("://")
    if not parted:
        return [Sound(_wav(path if path.startswith("/") else str(directory / path)))]
    if kind == "file_string":
        return [sound for one in rest.split("!") for sound in opened(one, directory)]
    if kind == "tone_stream":
        return [_tones(rest)]
    if kind == "silence_stream":
        length = rest.partition(",")[0]
        if length == "-1":
            return [Sound(np.zeros(RATE, np.int16), -1)]
        if length.isdecimal():
            return [Sound(np.zeros(min(int(length), _LONGEST * 1000) * RATE // 1000, np.int16))]
    if kind == "local_stream":  # music on hold: two tones
        return [Sound(tone([349.0, 440.0], 1.0, 0.1), -1)]
    raise NotFoundError(path)


def _tones(text: str) -> Sound:
    """TGML: `v=-7;%(on,off,hz,hz);loops=3`, times in milliseconds, volume in dB."""
    volume, loops, parts = 0.2, 1, []
    for piece in text.split(";"):
        name, _, value = piece.strip().partition("=")
        if name == "v" and re.fullmatch(r"-?\d+(\.\d+)?", value):
            volume = min(0.5, float(10 ** (float(value) / 20)) / 2)
        elif name.lower() in ("l", "loops") and re.fullmatch(r"-?\d+", value):
            loops = int(value)
        for found in _TONE.findall(piece):
            numbers = [float(one) for one in found.split(",") if re.fullmatch(r"\d+(\.\d+)?", one.strip())]
            if len(numbers) >= 2:
                parts.append(tone(numbers[2:], min(numbers[0] / 1000, _LONGEST), volume))
                parts.append(np.zeros(int(min(numbers[1] / 1000, _LONGEST) * RATE), np.int16))
    if not parts:
        raise NotFoundError(f"tone_stream://{text}")
    return Sound(np.concatenate(parts), loops)


def _wav(path: str) -> Pcm:
    try:
        with wave.open(path, "rb") as file:
            if file.getsampwidth() != 2:
                raise NotFoundError(f"{path}: 16 bits are modelled")
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            samples = samples[:: file.getnchannels()]
            rate = file.getframerate()
    except (OSError, wave.Error, EOFError) as error:
        raise NotFoundError(f"{path}: {error}") from error
    if rate != RATE:
        at = np.arange(0, len(samples), rate / RATE)
        samples = np.interp(at, np.arange(len(samples)), samples).astype(np.int16)
    return samples.astype(np.int16)


class Player:
    """A source of a media, of sounds one after another; `finished` when all were played."""

    def __init__(self, sounds: list[Sound]) -> None:
        self._sounds = list(sounds)
        self.finished = asyncio.Event()

    def frame(self, codec: int) -> bytes | None:
        while self._sounds:
            samples = self._sounds[0].read()
            if samples is not None:
                return encode(codec, samples)
            self._sounds.pop(0)
        self.finished.set()
        return None


class Recorder:
    """Writes what is heard to a WAV file. `seconds`: how long it is; `quiet`: seconds of silence at its end."""

    def __init__(self, path: Path, threshold: int = 200) -> None:
        """Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.frames, self._quiet, self._threshold = path, 0, 0, threshold
        self._file = wave.open(str(path), "wb")  # noqa: SIM115 - it stays open while the call lasts
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(RATE)

    def heard(self, codec: int, payload: bytes) -> None:
        self.write(decode(codec, payload))

    def write(self, samples: Pcm) -> None:
        self._file.writeframes(samples.astype("<i2").tobytes())
        self.frames += len(samples)
        self._quiet = (
            self._quiet + len(samples) if int(np.abs(samples.astype(np.int32)).mean()) < self._threshold else 0
        )

    @property
    def seconds(self) -> float:
        return self.frames / RATE

    @property
    def quiet(self) -> float:
        return self._quiet / RATE

    def close(self) -> None:
        self._file.close()
