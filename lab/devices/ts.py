"""Transport stream packets and their tables, as far as an encoder and a multiplexer need them.

ISO/IEC 13818-1 (packets, PAT, PMT) and ETSI EN 300 468 (SDT, NIT).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

PACKET = 188
PACKET_BITS = 8 * PACKET
DATAGRAM_PACKETS = 7
DATAGRAM = DATAGRAM_PACKETS * PACKET
SYNC = 0x47
NULL_PID = 0x1FFF
PAT_PID, NIT_PID, SDT_PID = 0, 0x10, 0x11
NULL_PACKET = bytes((SYNC, 0x1F, 0xFF, 0x10)) + b"\xff" * (PACKET - 4)

_POLYNOMIAL = 0x04C11DB7
_SERVICE_TYPE_DIGITAL_TELEVISION = 0x01
_RUNNING = 4


def _crc_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        value = octet << 24
        for _ in range(8):
            value = (value << 1 ^ (_POLYNOMIAL if value >> 31 else 0)) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc32(data: bytes) -> int:
    """CRC of ISO/IEC 13818-1, annex A: 0 over a whole section that is intact."""
    value = 0xFFFFFFFF
    for octet in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC[value >> 24 ^ octet]
    return value


def pid_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def packets_of(datagram: bytes) -> Iterator[bytes]:
    """The packets of a datagram that holds whole ones; nothing of one that does not."""
    if len(datagram) % PACKET or not datagram:
        return
    for start in range(0, len(datagram), PACKET):
        if datagram[start] != SYNC:
            return
        yield datagram[start : start + PACKET]


def pcr_at(packet: bytes) -> int:
    """The octet where the flags of an adaptation field with a PCR stand; 0 without one (2.4.3.5)."""
    return 5 if packet[3] & 0x20 and packet[4] >= 7 and packet[5] & 0x10 else 0


def pcr_of(packet: bytes) -> int | None:
    """The base of its program clock reference, in ticks of 90 kHz; None without one."""
    return int.from_bytes(packet[6:10], "big") << 1 | packet[10] >> 7 if pcr_at(packet) else None


class ContinuityCheck:
    """Counts continuity counter errors by the rule of TR 101 290, 1.4: one legal repetition, flagged jumps allowed."""

    def __init__(self) -> None:
        self.errors = 0
        self._last: dict[int, tuple[int, bool]] = {}

    def see(self, packet: bytes) -> None:
        flags = packet[3]
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid == NULL_PID or not flags & 0x10 or packet[1] & 0x80:
            return
        counter = flags & 0x0F
        last, repeated = self._last.get(pid, (counter - 1 & 0x0F, False))
        if counter == last and not repeated:
            self._last[pid] = counter, True
            return
        jump_allowed = flags & 0x20 and packet[4] and packet[5] & 0x80
        if counter != last + 1 & 0x0F and not jump_allowed:
            self.errors += 1
        self._last[pid] = counter, False


def section(table_id: int, extension: int, version: int, body: bytes) -> bytes:
    """A section in the long form, one of one, with its CRC."""
    # PSI sections have private_indicator 0; those of DVB have 1 there (reserved_future_use).
    private = 0x40 if table_id >= 0x40 else 0
    length = 5 + len(body) + 4
    head = bytes((table_id, 0xB0 | private | length >> 8, length & 0xFF, extension >> 8, extension & 0xFF))
    whole = head + bytes((0xC1 | version << 1, 0, 0)) + body
    return whole + crc32(whole).to_bytes(4, "big")


def pat(transport_stream_id: int, version: int, programmes: Mapping[int, int]) -> bytes:
    """Program association section: the network PID, then PMT PIDs by program_number (2.4.4.3)."""
    entries = {0: NIT_PID} | dict(programmes)
    body = b"".join(number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for number, pid in entries.items())
    return section(0x00, transport_stream_id, version, body)


def _descriptor(tag: int, content: bytes) -> bytes:
    return bytes((tag, len(content))) + content


def _looped(reserved: int, content: bytes) -> bytes:
    return (reserved << 12 | len(content)).to_bytes(2, "big") + content


def sdt(transport_stream_id: int, network: int, version: int, services: Mapping[int, tuple[str, str]]) -> bytes:
    """Service description section, actual stream: service id -> (name, provider); EN 300 468, 5.2.3."""
    body = network.to_bytes(2, "big") + b"\xff"
    for service_id, (name, provider) in services.items():
        texts = b"".join(bytes((len(text),)) + text for text in (provider.encode(), name.encode()))
        described = _descriptor(0x48, bytes((_SERVICE_TYPE_DIGITAL_TELEVISION,)) + texts)
        body += service_id.to_bytes(2, "big") + b"\xfc" + _looped(_RUNNING << 1, described)
    return section(0x42, transport_stream_id, version, body)


def nit(transport_stream_id: int, network: int, version: int, name: str, services: Iterable[int]) -> bytes:
    """Network information section, actual network, with one stream and its services; EN 300 468, 5.2.1."""
    listed = b"".join(number.to_bytes(2, "big") + bytes((_SERVICE_TYPE_DIGITAL_TELEVISION,)) for number in services)
    stream = transport_stream_id.to_bytes(2, "big") + network.to_bytes(2, "big")
    stream += _looped(0xF, _descriptor(0x41, listed))
    body = _looped(0xF, _descriptor(0x40, name.encode())) + _looped(0xF, stream)
    return section(0x40, network, version, body)


@dataclass(frozen=True, slots=True)
class Stream:
    """An elementary stream in a PMT; `descriptors` as they are on the wire."""

    type: int
    pid: int
    descriptors: bytes


@dataclass(frozen=True, slots=True)
class Programme:
    """What a PMT says (2.4.4.8)."""

    pcr_pid: int
    descriptors: bytes
    streams: tuple[Stream, ...]

    @classmethod
    def parse(cls, whole: bytes) -> Programme | None:
        """None for what is no intact PMT section."""
        if len(whole) < 16 or whole[0] != 0x02 or crc32(whole):
            return None
        position = 12 + (int.from_bytes(whole[10:12], "big") & 0xFFF)
        descriptors, streams = whole[12:position], []
        while position + 5 <= len(whole) - 4:
            length = int.from_bytes(whole[position + 3 : position + 5], "big") & 0xFFF
            pid = int.from_bytes(whole[position + 1 : position + 3], "big") & 0x1FFF
            streams.append(Stream(whole[position], pid, whole[position + 5 : position + 5 + length]))
            position += 5 + length
        return cls(int.from_bytes(whole[8:10], "big") & 0x1FFF, descriptors, tuple(streams))

    def section(self, program_number: int, version: int, pids: Mapping[int, int]) -> bytes:
        """The PMT with other PIDs, `pids` old to new."""
        body = (0xE000 | pids.get(self.pcr_pid, NULL_PID)).to_bytes(2, "big") + _looped(0xF, self.descriptors)
        for stream in self.streams:
            body += bytes((stream.type,)) + (0xE000 | pids[stream.pid]).to_bytes(2, "big")
            body += _looped(0xF, stream.descriptors)
        return section(0x02, program_number, version, body)


def first_programme(whole: bytes) -> tuple[int, int] | None:
    """program_number and PMT PID of the first programme of a PAT section; None for what is no intact one with any."""
    if len(whole) < 12 or whole[0] != 0x00 or crc32(whole):
        return None
    for start in range(8, len(whole) - 4, 4):
        number, pid = (
            int.from_bytes(whole[start : start + 2], "big"),
            int.from_bytes(whole[start + 2 : start + 4], "big"),
        )
        if number:
            return number, pid & 0x1FFF
    return None


class SectionReader:
    """Sections of one PID out of its packets (2.4.4.1), each as a whole; damaged ones are the reader's to refuse."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, packet: bytes) -> list[bytes]:
        flags = packet[3]
        if not flags & 0x10:
            return []
        start = 5 + packet[4] if flags & 0x20 else 4
        if not packet[1] & 0x40:
            if self._buffer:
                self._buffer += packet[start:]
            return self._whole()
        pointer = packet[start] if start < PACKET else 0
        done = []
        if self._buffer:
            self._buffer += packet[start + 1 : start + 1 + pointer]
            done = self._whole()
        self._buffer = packet[start + 1 + pointer :]
        return done + self._whole()

    def _whole(self) -> list[bytes]:
        found: list[bytes] = []
        while len(self._buffer) >= 3 and self._buffer[0] != 0xFF:
            length = 3 + ((self._buffer[1] & 0x0F) << 8 | self._buffer[2])
            if len(self._buffer) < length:
                return found
            found.append(self._buffer[:length])
            self._buffer = self._buffer[length:]
        if self._buffer[:1] == b"\xff":
            self._buffer = b""
        return found


class TableSender:
    """Puts sections of one PID into packets; the continuity counter goes on from one to the next."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._counter = 0

    def packets(self, sections: Sequence[bytes]) -> list[bytes]:
        made = []
        for whole in sections:
            payload, start = b"\0" + whole, 0x40
            while payload:
                part, payload = payload[: PACKET - 4], payload[PACKET - 4 :]
                head = bytes((SYNC, start | self._pid >> 8, self._pid & 0xFF, 0x10 | self._counter))
                made.append(head + part + b"\xff" * (PACKET - 4 - len(part)))
                self._counter, start = self._counter + 1 & 0x0F, 0
        return made
