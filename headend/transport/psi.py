"""Program specific information: sections, PAT and PMT. ISO/IEC 13818-1 clause 2.4.4; CRC-32 as in its Annex A.

Sans-IO: packets go in, sections come out, and the other way round. What is damaged is counted, never handed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headend.transport.packet import PACKET_SIZE, parse_packet

PAT_PID = 0x0000
PAT_TABLE_ID = 0x00
PMT_TABLE_ID = 0x02
MAX_SECTION_BYTES = 1024
"""Of a PAT or PMT section, as a whole (clauses 2.4.4.5 and 2.4.4.9)."""

_POLYNOMIAL = 0x04C11DB7
_ROOM = PACKET_SIZE - 4
_STUFFING = 0xFF
_HEADER = 8  # table_id to last_section_number
_CRC = 4


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (_POLYNOMIAL if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


_TABLE = _crc_table()


def crc32(data: bytes) -> int:
    """Annex A: 0 over a whole section, its CRC_32 included."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value << 8) & 0xFFFFFFFF ^ _TABLE[value >> 24 ^ byte]
    return value


@dataclass(frozen=True, slots=True)
class PatSection:
    """One section of the program association table. `programs`: program_number -> PID of its PMT (0: of the NIT)."""

    transport_stream_id: int
    version: int
    current: bool
    number: int
    last_number: int
    programs: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class PmtStream:
    """One elementary stream. `descriptors`: its ES_info, as it stands."""

    stream_type: int
    pid: int
    descriptors: bytes = b""


@dataclass(frozen=True, slots=True)
class Pmt:
    """A program map section; the table has one only. `descriptors`: program_info, as it stands."""

    program_number: int
    version: int
    current: bool
    pcr_pid: int
    descriptors: bytes
    streams: tuple[PmtStream, ...]


class SectionAssembler:
    """The sections of one PID. `push` each of its packets in order; `damaged` counts what did not come whole."""

    def __init__(self) -> None:
        self.damaged = 0
        self._buffer = bytearray()
        self._open = False
        self._counter: int | None = None

    def push(self, packet: bytes) -> list[bytes]:
        """The sections that this packet ends, those with section_syntax_indicator checked by their CRC_32."""
        try:
            header = parse_packet(packet)
        except ValueError:
            self._drop()
            return []
        if not header.has_payload or header.transport_error or header.scrambling_control:
            return []
        if header.continuity_counter == self._counter:
            return []  # the same packet again (clause 2.4.3.3)
        expected = self._counter is None or header.continuity_counter == (self._counter + 1) & 15
        self._counter = header.continuity_counter
        if self._open and not expected and not header.discontinuity:
            self._drop()
        payload = packet[header.payload_offset :]
        found: list[bytes] = []
        if header.payload_unit_start:
            pointer = payload[0] if payload else _ROOM
            if 1 + pointer > len(payload):
                self._drop()
                return []
            if self._open:
                self._buffer += payload[1 : 1 + pointer]
                found = self._take()
            if self._open:
                self._drop()  # it should have ended before the next one begins
            self._buffer = bytearray(payload[1 + pointer :])
            self._open = True
        elif self._open:
            self._buffer += payload
        else:
            return []
        return found + self._take()

    def _take(self) -> list[bytes]:
        found: list[bytes] = []
        while self._open and len(self._buffer) >= 3:
            if self._buffer[0] == _STUFFING:
                self._close()
                break
            size = 3 + ((self._buffer[1] & 0x0F) << 8 | self._buffer[2])
            if len(self._buffer) < size:
                return found
            section = bytes(self._buffer[:size])
            del self._buffer[:size]
            if section[1] & 0x80 and crc32(section):
                self.damaged += 1
            else:
                found.append(section)
        if not self._buffer or self._buffer[0] == _STUFFING:
            self._close()
        return found

    def _close(self) -> None:
        self._buffer = bytearray()
        self._open = False

    def _drop(self) -> None:
        self.damaged += self._open
        self._close()


def _body(section: bytes, table_id: int, least: int) -> bytes:
    """What stands between the header and the CRC_32. Raises ValueError."""
    if len(section) < _HEADER + least + _CRC or section[0] != table_id or not section[1] & 0x80:
        raise ValueError(f"no section of table {table_id:#04x}")
    if len(section) != 3 + ((section[1] & 0x0F) << 8 | section[2]) or len(section) > MAX_SECTION_BYTES:
        raise ValueError("the section's length is wrong")
    if crc32(section):
        raise ValueError("the section's CRC_32 is wrong")
    return section[_HEADER:-_CRC]


def parse_pat(section: bytes) -> PatSection:
    """Clause 2.4.4.3. Raises ValueError."""
    body = _body(section, PAT_TABLE_ID, 0)
    if len(body) % 4:
        raise ValueError("a PAT's loop has four octets for each program")
    programs = {
        int.from_bytes(body[i : i + 2], "big"): int.from_bytes(body[i + 2 : i + 4], "big") & 0x1FFF
        for i in range(0, len(body), 4)
    }
    return PatSection(
        int.from_bytes(section[3:5], "big"),
        section[5] >> 1 & 0x1F,
        bool(section[5] & 1),
        section[6],
        section[7],
        programs,
    )


def parse_pmt(section: bytes) -> Pmt:
    """Clause 2.4.4.8. Raises ValueError."""
    body = _body(section, PMT_TABLE_ID, 4)
    start = 4 + (int.from_bytes(body[2:4], "big") & 0x0FFF)
    if start > len(body):
        raise ValueError("program_info is longer than the section")
    streams = []
    place = start
    while place < len(body):
        if place + 5 > len(body):
            raise ValueError("a stream's entry is cut off")
        end = place + 5 + (int.from_bytes(body[place + 3 : place + 5], "big") & 0x0FFF)
        if end > len(body):
            raise ValueError("ES_info is longer than the section")
        pid = int.from_bytes(body[place + 1 : place + 3], "big") & 0x1FFF
        streams.append(PmtStream(body[place], pid, bytes(body[place + 5 : end])))
        place = end
    return Pmt(
        int.from_bytes(section[3:5], "big"),
        section[5] >> 1 & 0x1F,
        bool(section[5] & 1),
        int.from_bytes(body[0:2], "big") & 0x1FFF,
        bytes(body[4:start]),
        tuple(streams),
    )


def _section(table_id: int, extension: int, version: int, body: bytes) -> bytes:
    if not 0 <= extension <= 0xFFFF or not 0 <= version <= 31:
        raise ValueError("a table_id_extension has 16 bits, a version 5")
    length = _HEADER - 3 + len(body) + _CRC
    if length + 3 > MAX_SECTION_BYTES:
        raise ValueError(f"{len(body)} bytes do not fit into one section")
    head = bytes([table_id, 0xB0 | length >> 8, length & 0xFF]) + extension.to_bytes(2, "big")
    whole = head + bytes([0xC1 | version << 1, 0, 0]) + body
    return whole + crc32(whole).to_bytes(4, "big")


def _pid(pid: int) -> bytes:
    if not 0 <= pid <= 0x1FFF:
        raise ValueError("a PID has 13 bits")
    return (0xE000 | pid).to_bytes(2, "big")


def _loop(descriptors: bytes) -> bytes:
    if len(descriptors) > 0x3FF:
        raise ValueError("descriptors have at most 1023 bytes")
    return (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors


def build_pat(transport_stream_id: int, version: int, programs: Mapping[int, int]) -> bytes:
    """One section with all programs (program_number -> PID of its PMT). Raises ValueError."""
    body = b"".join(number.to_bytes(2, "big") + _pid(pid) for number, pid in sorted(programs.items()))
    return _section(PAT_TABLE_ID, transport_stream_id, version, body)


def build_pmt(
    program_number: int, version: int, pcr_pid: int, streams: Iterable[PmtStream], descriptors: bytes = b""
) -> bytes:
    """Raises ValueError when something does not fit."""
    entries = (bytes([stream.stream_type]) + _pid(stream.pid) + _loop(stream.descriptors) for stream in streams)
    body = _pid(pcr_pid) + _loop(descriptors) + b"".join(entries)
    return _section(PMT_TABLE_ID, program_number, version, body)


def packetise(pid: int, section: bytes, counter: int) -> list[bytes]:
    """The packets that carry one section, the first with continuity counter `counter` (clause 2.4.4.1)."""
    data = b"\x00" + section  # pointer_field: it begins at once
    packets = []
    for number, place in enumerate(range(0, len(data), _ROOM)):
        start = 0x40 if place == 0 else 0
        head = bytes([0x47, start | pid >> 8, pid & 0xFF, 0x10 | (counter + number) & 15])
        packets.append(head + data[place : place + _ROOM].ljust(_ROOM, b"\xff"))
    return packets


def strip_descriptors(descriptors: bytes, tags: frozenset[int]) -> bytes:
    """Without those that have one of `tags`; nothing at all when the loop is damaged."""
    kept, place = bytearray(), 0
    while place < len(descriptors):
        if place + 2 > len(descriptors) or place + 2 + descriptors[place + 1] > len(descriptors):
            return b""
        end = place + 2 + descriptors[place + 1]
        if descriptors[place] not in tags:
            kept += descriptors[place:end]
        place = end
    return bytes(kept)


def descriptor_tags(descriptors: bytes) -> frozenset[int]:
    """The tags in a descriptor loop, as far as it is whole."""
    found, place = set(), 0
    while place + 2 <= len(descriptors):
        found.add(descriptors[place])
        place += 2 + descriptors[place + 1]
    return frozenset(found)
