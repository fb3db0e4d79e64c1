"""One programme on its way out: fixed PIDs, its own PAT and PMT, continuity that tells what the input lost.

ISO/IEC 13818-1: a counter goes out as it came in, plus an offset that is chosen when its stream begins to be taken
from this input and stays until the next switch (clause 2.4.3.3): a switch shows no error, a loss stays one. The first
PCR after a switch is of another system time clock and is marked so (clause 2.4.3.5); a PMT that says something else
has another version (clause 2.4.4.9).
"""

from __future__ import annotations

from collections.abc import Callable

from headend.satellite.feed.programme import Programme
from headend.satellite.feed.streams import PCR_PID, PMT_PID, Remap, remap
from headend.transport.packet import PACKET_SIZE, build_packet, parse_packet
from headend.transport.psi import PAT_PID, build_pat, build_pmt, packetise

DATAGRAM_BYTES = 7 * PACKET_SIZE
PSI_INTERVAL_S = 0.1
_STALE_S = 0.2
_DISCONTINUITY = 0x80


class _Lane:
    """One output PID. `offset` None: nothing of the present input has gone out on it yet."""

    __slots__ = ("high", "last", "low", "offset", "source")

    def __init__(self, pid: int) -> None:
        self.high = pid >> 8
        self.low = pid & 0xFF
        self.last = 15
        self.offset: int | None = None
        self.source: int | None = None


class Output:
    """`emit` gets whole datagrams of seven packets; fewer only where a stream stops."""

    def __init__(self, transport_stream_id: int, program_number: int, emit: Callable[[bytes], None]) -> None:
        self.packets = 0
        self.continuity_errors = 0
        self.last_at: float | None = None
        self._program_number = program_number
        self._emit = emit
        self._pat = build_pat(transport_stream_id, 0, {program_number: PMT_PID})
        self._pmt = b""
        self._said: tuple[object, ...] | None = None
        self._version = -1
        self._tables_due = 0.0
        self._table_counters = {PAT_PID: 0, PMT_PID: 0}
        self._remap: Remap | None = None
        self._by_pid: dict[int, _Lane] = {}
        self._lanes: dict[int, _Lane] = {}
        self._another_clock = False
        self._buffer = bytearray()
        self._buffered_at = 0.0

    def take_from(self, programme: Programme, *, switch: bool) -> None:
        """Send this programme from now on. `switch`: it is another input than before; else only its PMT is new."""
        if programme.pmt is None:
            return
        found = remap(programme.pmt)
        lanes = {}
        for source, pid in found.pids.items():
            lane = self._by_pid.setdefault(pid, _Lane(pid))
            if switch or lane.source != source:
                lane.source, lane.offset = source, None
            lanes[source] = lane
        self._another_clock = self._another_clock or (switch and self.packets > 0)
        self._remap, self._lanes = found, lanes
        said = (found.streams, found.descriptors, found.pcr_out)
        if said != self._said:
            self._said = said
            self._version = (self._version + 1) % 32
            self._pmt = build_pmt(self._program_number, self._version, found.pcr_out, found.streams, found.descriptors)
        self._tables_due = 0.0

    def forward(self, programme: Programme, pid: int, datagram: bytes, offset: int, now: float) -> None:
        """One packet of the programme that is taken."""
        lane = self._lanes.get(pid)
        if lane is None:
            return
        control = datagram[offset + 3]
        if lane.offset is None:
            if not datagram[offset + 1] & 0x40 and lane is not self._by_pid.get(PCR_PID):
                return  # the rest of a PES packet whose beginning was not sent
            step = 1 if control & 0x10 else 0
            lane.offset = (lane.last + step - control) & 15
        elif not programme.in_order:
            self.continuity_errors += 1
        if now >= self._tables_due:
            self._tables(now)
        packet = datagram[offset : offset + PACKET_SIZE]
        if self._another_clock:
            packet = self._mark_clock(programme, pid, packet, now)
        counter = (control + lane.offset) & 15
        lane.last = counter
        self._put(packet, lane, control & 0xF0 | counter, now)

    def flush(self, now: float, *, stale: bool = False) -> None:
        """Send what is left. `stale`: only if it has waited for 200 ms."""
        if self._buffer and (not stale or now - self._buffered_at >= _STALE_S):
            datagram, self._buffer = bytes(self._buffer), bytearray()
            self._emit(datagram)

    def _put(self, packet: bytes, lane: _Lane, control: int, now: float) -> None:
        buffer = self._buffer
        place = len(buffer)
        buffer += packet
        buffer[place + 1] = packet[1] & 0xE0 | lane.high
        buffer[place + 2] = lane.low
        buffer[place + 3] = control
        self.packets += 1
        self.last_at = now
        if place == 0:
            self._buffered_at = now
        elif place + PACKET_SIZE >= DATAGRAM_BYTES:
            self.flush(now)

    def _tables(self, now: float) -> None:
        self._tables_due = now + PSI_INTERVAL_S
        for pid, section in ((PAT_PID, self._pat), (PMT_PID, self._pmt)):
            packets = packetise(pid, section, self._table_counters[pid])
            self._table_counters[pid] = (self._table_counters[pid] + len(packets)) & 15
            lane = self._by_pid.setdefault(pid, _Lane(pid))
            for packet in packets:
                self._put(packet, lane, packet[3], now)

    def _mark_clock(self, programme: Programme, pid: int, packet: bytes, now: float) -> bytes:
        """The first PCR of the new clock comes before any time stamp of it: where the packet that is about to go has
        none, a packet with nothing but a PCR goes ahead of it."""
        found = self._remap
        if found is None:
            return packet
        if pid == found.pcr_in and packet[3] & 0x20 and parse_packet(packet).pcr is not None:
            self._another_clock = False
            return packet[:5] + bytes([packet[5] | _DISCONTINUITY]) + packet[6:]
        pcr = programme.pcr(now)
        lane = self._lanes.get(found.pcr_in)
        if pcr is not None and lane is not None:
            self._another_clock = False
            only = build_packet(found.pcr_out, lane.last, b"", discontinuity=True, pcr=pcr)
            self._put(only, lane, only[3], now)
        return packet
