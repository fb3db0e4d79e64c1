"""A transport stream as it comes in, and one programme of it: where its streams are, and what of them was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from headend.transport.continuity import CounterCheck
from headend.transport.packet import NULL_PID, PACKET_SIZE, PCR_HZ, PCR_MODULUS, SYNC_BYTE, parse_packet
from headend.transport.psi import PAT_PID, Pmt, SectionAssembler, parse_pat, parse_pmt

SILENCE_S = 0.4
"""A service of which nothing came for so long is lost; the SSM probe calls a path down after 0.5 s."""

Take = Callable[["Programme", int, bytes, int, float], None]
"""Hears (programme, PID, datagram, offset of the packet, arrival) of every packet of the programme's streams."""
Mapped = Callable[["Programme"], None]
"""Hears that the programme's PMT is another one."""


@dataclass(frozen=True, slots=True)
class InputCounters:
    """What one input of a service has brought. `present`: something came within the last 400 ms."""

    packets: int
    continuity_errors: int
    age_ms: float | None
    present: bool


class Programme:
    """One programme of one input. `program_number` None: the first that the PAT lists, as in a stream with one.

    in_order     whether the packet that is handed on was the one expected
    sound_since  when it began to come as it does, without a loss and without a silence
    """

    def __init__(self, program_number: int | None, take: Take, mapped: Mapped) -> None:
        self.program_number = program_number
        self.pmt: Pmt | None = None
        self.packets = 0
        self.last_at: float | None = None
        self.sound_since: float | None = None
        self.in_order = True
        self._take = take
        self._mapped = mapped
        self._check = CounterCheck()
        self._pcr: tuple[int, float] | None = None

    @property
    def continuity_errors(self) -> int:
        return self._check.errors

    @property
    def pids(self) -> frozenset[int]:
        """Of its streams and its PCR; empty as long as there is no PMT."""
        if self.pmt is None:
            return frozenset()
        return frozenset({self.pmt.pcr_pid, *(stream.pid for stream in self.pmt.streams)} - {NULL_PID})

    def present(self, now: float, silence_s: float = SILENCE_S) -> bool:
        return self.last_at is not None and now - self.last_at <= silence_s

    def pcr(self, now: float) -> int | None:
        """Its system time clock at `now`, from the last PCR that came; 27 MHz ticks."""
        if self._pcr is None:
            return None
        value, at = self._pcr
        return (value + round((now - at) * PCR_HZ)) % PCR_MODULUS

    def counters(self, now: float) -> InputCounters:
        age_ms = None if self.last_at is None else max(0.0, now - self.last_at) * 1000
        return InputCounters(self.packets, self.continuity_errors, age_ms, self.present(now))

    def map(self, pmt: Pmt | None) -> None:
        """Another PMT, or None: the multiplex no longer has it."""
        if pmt == self.pmt:
            return
        if self.pmt is None or pmt is None or pmt.pcr_pid != self.pmt.pcr_pid:
            self._pcr = None
        self.pmt = pmt
        self._mapped(self)

    def packet(self, pid: int, datagram: bytes, offset: int, now: float) -> None:
        """One packet of its streams."""
        self.packets += 1
        self.in_order = self._check.check(pid, datagram, offset)
        if not self.in_order or self.last_at is None or now - self.last_at > SILENCE_S:
            self.sound_since = now
        self.last_at = now
        if self.pmt is not None and pid == self.pmt.pcr_pid and datagram[offset + 3] & 0x20:
            self._clock(datagram, offset, now)
        self._take(self, pid, datagram, offset, now)

    def _clock(self, datagram: bytes, offset: int, now: float) -> None:
        with suppress(ValueError):
            pcr = parse_packet(datagram[offset : offset + PACKET_SIZE]).pcr
            if pcr is not None:
                self._pcr = (pcr, now)


class Multiplex:
    """One input: finds its programmes by PAT and PMT and gives them their packets. Null packets pass unseen."""

    def __init__(self) -> None:
        self.datagrams = 0
        self.sync_errors = 0
        self.transport_errors = 0
        self.last_at: float | None = None
        self._programmes: tuple[Programme, ...] = ()
        self._streams: dict[int, tuple[Programme, ...]] = {}
        self._tables: dict[int, SectionAssembler] = {PAT_PID: SectionAssembler()}
        self._numbers: dict[int, set[int]] = {}
        self._sections: dict[int, dict[int, int]] = {}
        self._version: tuple[int, int] | None = None
        self._first: int | None = None
        self._maps: dict[int, Pmt] = {}

    def follow(self, programmes: Iterable[Programme]) -> None:
        """The programmes that are wanted of it from now on."""
        self._programmes = tuple(programmes)
        self._assign()

    def receive(self, datagram: bytes, now: float) -> None:
        self.datagrams += 1
        self.last_at = now
        streams, tables = self._streams, self._tables
        for offset in range(0, len(datagram) - PACKET_SIZE + 1, PACKET_SIZE):
            if datagram[offset] != SYNC_BYTE:
                self.sync_errors += 1
                continue
            flags = datagram[offset + 1]
            pid = (flags & 0x1F) << 8 | datagram[offset + 2]
            programmes = streams.get(pid)
            if programmes is None:
                if pid in tables:
                    self._table(pid, datagram[offset : offset + PACKET_SIZE])
                    streams, tables = self._streams, self._tables
                continue
            if flags & 0x80:
                self.transport_errors += 1  # not handed on: its counter then tells that it is missing
                continue
            for programme in programmes:
                programme.packet(pid, datagram, offset, now)

    def _table(self, pid: int, packet: bytes) -> None:
        for section in self._tables[pid].push(packet):
            with suppress(ValueError):  # a section of another table on that PID
                if pid == PAT_PID:
                    self._pat(section)
                else:
                    self._pmt(pid, section)

    def _pat(self, section: bytes) -> None:
        pat = parse_pat(section)
        if not pat.current:
            return
        version = (pat.transport_stream_id, pat.version)
        if version != self._version:
            self._version, self._sections = version, {}
        programs = {number: pid for number, pid in pat.programs.items() if number}
        if self._sections.get(pat.number) == programs:
            return
        self._sections[pat.number] = programs
        if len(self._sections) <= pat.last_number:
            return  # the others are still to come
        numbers: dict[int, set[int]] = {}
        for found in self._sections.values():
            for number, pid in found.items():
                numbers.setdefault(pid, set()).add(number)
        self._numbers = numbers
        self._tables = {pid: self._tables.get(pid) or SectionAssembler() for pid in (PAT_PID, *numbers)}
        listed = [number for place in sorted(self._sections) for number in self._sections[place]]
        self._first = listed[0] if listed else None
        self._maps = {number: pmt for number, pmt in self._maps.items() if number in listed}
        self._assign()

    def _pmt(self, pid: int, section: bytes) -> None:
        pmt = parse_pmt(section)
        if not pmt.current or pmt.program_number not in self._numbers.get(pid, ()):
            return
        if self._maps.get(pmt.program_number) != pmt:
            self._maps[pmt.program_number] = pmt
            self._assign()

    def _assign(self) -> None:
        """Gives every programme its PMT, and every PID its programmes."""
        streams: dict[int, tuple[Programme, ...]] = {}
        for programme in self._programmes:
            number = self._first if programme.program_number is None else programme.program_number
            programme.map(None if number is None else self._maps.get(number))
            for pid in programme.pids - self._tables.keys():
                streams[pid] = (*streams.get(pid, ()), programme)
        self._streams = streams
