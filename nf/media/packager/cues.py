"""Splice information of a contribution (ANSI/SCTE 35), read from its transport stream as it passes. Sans-IO.

A PID of stream type 0x86 in a PMT carries it. Heartbeats (splice_null) and what is encrypted say nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from nf.media.ingest.ts import CLOCK_MODULUS, PACKET_SIZE, is_scrambled, packets, pid_of, presentation_stamp

_SPLICE_STREAM = 0x86
_VIDEO_STREAMS = frozenset({0x01, 0x02, 0x10, 0x1B, 0x24, 0x33})
_PAT, _PMT, _SPLICE = 0x00, 0x02, 0xFC
_INSERT, _SIGNAL = 0x05, 0x06
_REMEMBERED = 64


class Kind(Enum):
    """OUT: the network's programme is left; IN: it is come back to; CANCEL: an earlier one is taken back; OTHER: what
    its descriptors say."""

    OUT = "out"
    IN = "in"
    CANCEL = "cancel"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Cue:
    """`section`: as it came. `pts`: of the splice, 90 kHz, modulo 2^33. `duration`: of the break, 90 kHz."""

    section: bytes
    kind: Kind
    pts: int
    event: int = 0
    duration: int | None = None


def crc32(data: bytes) -> int:
    """CRC_32 (ISO/IEC 13818-1, annex A); 0 over a section with its own at the end."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _splice_time(data: bytes) -> tuple[int | None, int]:
    """The time that is specified, if one is, and how many octets say it (SCTE 35, 9.8.1). Raises IndexError."""
    if not data[0] & 0x80:
        return None, 1
    if len(data) < 5:
        raise IndexError
    return int.from_bytes(data[:5], "big") & CLOCK_MODULUS - 1, 5


def parse_cue(section: bytes, now: int) -> Cue | None:
    """A splice_info_section (SCTE 35, 9.6); `now`: the PTS of an immediate splice. None: it names no splice."""
    if len(section) < 18 or section[0] != _SPLICE or crc32(section) or section[4] & 0x80:
        return None
    adjustment = int.from_bytes(section[4:9], "big") & CLOCK_MODULUS - 1
    command, kind = section[14:-4], section[13]
    try:
        if kind == _SIGNAL:
            at, _ = _splice_time(command)
            return Cue(section, Kind.OTHER, now if at is None else (at + adjustment) % CLOCK_MODULUS)
        return _insert(section, command, adjustment, now) if kind == _INSERT else None
    except IndexError:
        return None


def _insert(section: bytes, command: bytes, adjustment: int, now: int) -> Cue | None:
    """splice_insert (9.7.3)."""
    event = int.from_bytes(command[:4], "big")
    if command[4] & 0x80:
        return Cue(section, Kind.CANCEL, now, event)
    flags = command[5]
    out, whole, timed, immediate = flags & 0x80, flags & 0x40, flags & 0x20, flags & 0x10
    place, at = 6, None
    if whole and not immediate:
        at, size = _splice_time(command[place:])
        place += size
    elif not whole:
        count, place = command[place], place + 1
        for _ in range(count):
            place += 1
            if not immediate:
                found, size = _splice_time(command[place:])
                at, place = found if at is None else at, place + size
    duration = None
    if timed:
        if len(command) < place + 5:
            raise IndexError
        duration = int.from_bytes(command[place : place + 5], "big") & CLOCK_MODULUS - 1
    pts = now if at is None else (at + adjustment) % CLOCK_MODULUS
    return Cue(section, Kind.OUT if out else Kind.IN, pts, event, duration)


class _Sections:
    """Sections of one PID, put together from its packets (ISO/IEC 13818-1, 2.4.4)."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, packet: bytes) -> Iterator[bytes]:
        if not packet[3] & 0x10 or is_scrambled(packet):
            return
        payload = packet[5 + packet[4] if packet[3] & 0x20 else 4 :]
        if packet[1] & 0x40 and payload:
            pointer = payload[0]
            yield from self._whole(payload[1 : 1 + pointer])
            self._data, payload = b"", payload[1 + pointer :]
            yield from self._whole(payload)
        elif self._data:
            yield from self._whole(payload)

    def _whole(self, more: bytes) -> Iterator[bytes]:
        self._data += more
        while len(self._data) >= 3 and self._data[0] != 0xFF:
            size = 3 + ((self._data[1] & 0x0F) << 8 | self._data[2])
            if len(self._data) < size:
                return
            yield self._data[:size]
            self._data = self._data[size:]
        if self._data[:1] == b"\xff":
            self._data = b""


class CueReader:
    """All cues of a stream, each once, however often it is sent."""

    def __init__(self) -> None:
        self._sections: dict[int, _Sections] = {0: _Sections()}
        self._tables: set[int] = set()
        self._cues: set[int] = set()
        self._video: int | None = None
        self._pts: int | None = None
        self._known: deque[tuple[bytes, int]] = deque(maxlen=_REMEMBERED)

    def read(self, payload: bytes) -> list[Cue]:
        """Of whole packets, in the order in which they come."""
        found: list[Cue] = []
        for packet in packets(payload):
            if len(packet) == PACKET_SIZE:
                found += self._packet(packet)
        return found

    def _packet(self, packet: bytes) -> Iterator[Cue]:
        pid = pid_of(packet)
        if pid == self._video:
            stamp = presentation_stamp(packet)
            self._pts = self._pts if stamp is None else stamp
        sections = self._sections.get(pid)
        if sections is None:
            return
        for section in sections.take(packet):
            if pid == 0 and section[0] == _PAT:
                self._programmes(section)
            elif pid in self._tables and section[0] == _PMT and len(section) > 16:
                self._streams(section)
            elif pid in self._cues and self._pts is not None and not self._is_known(section):
                cue = parse_cue(section, self._pts)
                if cue is not None:
                    if cue.kind is Kind.CANCEL:  # what is announced again after it is another splice
                        self._known = deque((one for one in self._known if one[1] != cue.event), _REMEMBERED)
                    self._known.append((section, cue.event))
                    yield cue

    def _is_known(self, section: bytes) -> bool:
        return any(known == section for known, _ in self._known)

    def _programmes(self, section: bytes) -> None:
        entries = [section[at : at + 4] for at in range(8, len(section) - 7, 4)]
        self._tables = {int.from_bytes(entry[2:], "big") & 0x1FFF for entry in entries if entry[:2] != b"\0\0"}
        self._listen()

    def _streams(self, section: bytes) -> None:
        place = 12 + ((section[10] & 0x0F) << 8 | section[11])
        while place + 5 <= len(section) - 4:
            pid = (section[place + 1] & 0x1F) << 8 | section[place + 2]
            if section[place] == _SPLICE_STREAM:
                self._cues.add(pid)
            elif section[place] in _VIDEO_STREAMS and self._video is None:
                self._video = pid
            place += 5 + ((section[place + 3] & 0x0F) << 8 | section[place + 4])
        self._listen()

    def _listen(self) -> None:
        for pid in self._tables | self._cues:
            self._sections.setdefault(pid, _Sections())
