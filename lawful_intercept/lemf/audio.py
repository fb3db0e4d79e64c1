"""A call's RTP as WAV: one file for each direction, on one time line, and one of both.

What is missing is silence, and told. Files are written as packets are read: memory does not grow with a call.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np

from lawful_intercept.handover.decoder import Content
from lawful_intercept.handover.values import DataType, Direction
from lawful_intercept.lemf.codecs import Encoding, Packet, Samples, decoder, encodings, read_rtp, resampled
from lawful_intercept.lemf.sessions import Archive
from nf.contracts.json import JsonObject
from nf.errors import NotFoundError

NS: Final = 1_000_000_000
LONGEST_S: Final = 6 * 3600
"""Of a file; what is later is counted and left out."""
JUMP_NS: Final = 2 * NS
"""RTP time and time of interception differ by more: the sender's clock began anew."""
_HEADER: Final = 44
_REMEMBERED: Final = 512
_CHUNK: Final = 1 << 18
_STREAMS: Final = 256
_NAMES: Final = {Direction.FROM_TARGET: "from-target", Direction.TO_TARGET: "to-target"}


@dataclass(slots=True)
class Told:
    """Of one RTP stream."""

    direction: str
    stream: str
    ssrc: int
    encoding: str
    packets: int = 0
    lost: int = 0
    again: int = 0
    jumps: int = 0
    late_s: int = 0
    decoded: bool = True

    def to_json(self) -> JsonObject:
        return {
            "direction": self.direction,
            "stream": self.stream,
            "ssrc": f"{self.ssrc:08x}",
            "encoding": self.encoding,
            "packets": self.packets,
            "lost": self.lost,
            "again": self.again,
            "jumps": self.jumps,
            "beyond_the_longest": self.late_s,
            "decoded": self.decoded,
        }


@dataclass(frozen=True, slots=True)
class Recording:
    """`files`: those that were written, mixed.wav last. `not_rtp`: CC that is no RTP packet, or of too many streams."""

    files: tuple[Path, ...]
    streams: tuple[Told, ...]
    start_ns: int
    not_rtp: int

    def to_json(self) -> JsonObject:
        return {
            "files": [path.name for path in self.files],
            "start_ns": self.start_ns,
            "streams": [one.to_json() for one in self.streams],
            "not_rtp": self.not_rtp,
        }


class _Wav:
    """PCM, 16 bit, mono (RIFF). Samples are added where they belong; between them is silence."""

    def __init__(self, path: Path, rate: int) -> None:
        self.path, self.rate, self.samples = path, rate, 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        size = self.samples * 2
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, self.rate, self.rate * 2, 2, 16)
        head = struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)
        os.pwrite(self._descriptor, head, 0)
        os.ftruncate(self._descriptor, _HEADER + size)
        os.close(self._descriptor)

    def read(self, place: int, count: int) -> Samples:
        octets = os.pread(self._descriptor, count * 2, _HEADER + place * 2)
        found = np.zeros(count, np.int16)
        found[: len(octets) // 2] = np.frombuffer(octets[: len(octets) // 2 * 2], "<i2")
        return found

    def add(self, place: int, samples: Samples) -> None:
        if place < 0:
            samples, place = samples[-place:], 0
        there = self.read(place, len(samples))
        mixed = np.clip(there.astype(np.int32) + samples, -32768, 32767).astype("<i2")
        os.pwrite(self._descriptor, mixed.tobytes(), _HEADER + place * 2)
        self.samples = max(self.samples, place + len(samples))


@dataclass(slots=True)
class _Track:
    """One RTP stream on the time line."""

    told: Told
    encoding: Encoding
    decode: Callable[[bytes], Samples] | None
    base_ns: int
    base_timestamp: int
    first: int
    highest: int
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    counted: int = 0

    def is_new(self, packet: Packet) -> bool:
        """Enters its number; False for one that was here."""
        number = self.highest + ((packet.sequence - self.highest + 0x8000) & 0xFFFF) - 0x8000
        if number in self.recent:
            self.told.again += 1
            return False
        self.recent.append(number)
        self.counted += 1
        self.highest, self.first = max(self.highest, number), min(self.first, number)
        self.told.packets = self.counted
        self.told.lost = max(0, self.highest - self.first + 1 - self.counted)
        return True

    def place_ns(self, packet: Packet, after_ns: int) -> int:
        """From the recording's start. `after_ns`: when it was intercepted, from there too."""
        ticks = ((packet.timestamp - self.base_timestamp + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
        place = self.base_ns + ticks * NS // self.encoding.clock
        if abs(place - after_ns) > JUMP_NS:
            self.told.jumps += 1
            self.base_ns, self.base_timestamp, place = after_ns, packet.timestamp, after_ns
        return place


def record(archive: Archive, session: int, into: Path, *, longest_s: int = LONGEST_S) -> Recording:
    """Write a session's WAV files into the directory `into`.

    Raises NotFoundError when there is no audio in it that can be decoded here, IntegrityError.
    """
    known = encodings(one.octets for pdu in archive.pdus(session, DataType.IRI) for one in pdu.iri)
    with ExitStack() as closing:
        maker = _Recorder(known, into, longest_s, closing)
        for pdu in archive.pdus(session, DataType.CC):
            for cc in pdu.cc:
                at_ns = cc.at_ns if cc.at_ns is not None else pdu.at_ns
                packet = read_rtp(cc.octets) if cc.content is Content.RTP else None
                if packet is None or at_ns is None:
                    maker.not_rtp += 1
                    continue
                maker.take(packet, at_ns, cc.direction, cc.stream)
        if not any(file.samples for file in maker.files.values()):
            raise NotFoundError("there is no audio in this session that can be decoded here", remedy="export it")
        maker.mix()
    paths = tuple(one.path for one in maker.files.values())
    streams = tuple(one.told for one in maker.tracks.values())
    return Recording((*paths, into / "mixed.wav"), streams, maker.start_ns or 0, maker.not_rtp)


class _Recorder:
    def __init__(self, known: dict[int, Encoding], into: Path, longest_s: int, closing: ExitStack) -> None:
        self._known, self._into, self._longest_ns, self._closing = known, into, longest_s * NS, closing
        self.files: dict[str, _Wav] = {}
        self.tracks: dict[tuple[str, bytes, int, int], _Track] = {}
        self.start_ns: int | None = None
        self.not_rtp = 0

    def take(self, packet: Packet, at_ns: int, direction: int | None, stream: bytes) -> None:
        if self.start_ns is None:
            self.start_ns = at_ns
        name = _NAMES.get(Direction(direction), "other") if direction in tuple(Direction) else "other"
        after_ns = at_ns - self.start_ns
        track = self._track(packet, after_ns, name, stream)
        if track is None:
            self.not_rtp += 1
            return
        if not track.is_new(packet) or track.decode is None or not packet.payload:
            return
        place_ns = track.place_ns(packet, after_ns)
        if place_ns >= self._longest_ns:
            track.told.late_s += 1
            return
        samples, rate = track.decode(packet.payload), track.encoding.rate
        file = self.files.get(name)
        if file is None:
            file = self.files[name] = self._closing.enter_context(_Wav(self._into / f"{name}.wav", rate))
        file.add(round(place_ns * file.rate / NS), resampled(samples, rate, file.rate))

    def mix(self) -> None:
        """Both directions in one file, of the higher rate."""
        rate = max(file.rate for file in self.files.values())
        with _Wav(self._into / "mixed.wav", rate) as mixed:
            for file in self.files.values():
                for place in range(0, file.samples, _CHUNK):
                    samples = file.read(place, min(_CHUNK, file.samples - place))
                    mixed.add(place * rate // file.rate, resampled(samples, file.rate, rate))

    def _track(self, packet: Packet, after_ns: int, name: str, stream: bytes) -> _Track | None:
        key = (name, stream, packet.ssrc, packet.kind)
        track = self.tracks.get(key)
        if track is None and len(self.tracks) < _STREAMS:
            encoding = self._known.get(packet.kind, Encoding(f"payload type {packet.kind}", 8000))
            decode = decoder(encoding)
            told = Told(name, stream.hex(), packet.ssrc, encoding.name, decoded=decode is not None)
            track = self.tracks[key] = _Track(
                told, encoding, decode, after_ns, packet.timestamp, packet.sequence, packet.sequence
            )
        return track
