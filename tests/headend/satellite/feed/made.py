"""Transport streams made packet by packet, and what came out of a feed read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from headend.satellite.feed.config import Fallback, ServiceConfig
from headend.satellite.feed.programme import Multiplex
from headend.satellite.feed.service import Service
from headend.transport.continuity import ContinuityMonitor
from headend.transport.packet import PACKET_SIZE, PCR_HZ, PCR_MODULUS, PacketHeader, build_packet, parse_packet
from headend.transport.psi import PAT_PID, PmtStream, SectionAssembler, build_pat, build_pmt, packetise

H264, MPEG2_VIDEO, AAC, PRIVATE = 0x1B, 0x02, 0x0F, 0x06
PES = b"\x00\x00\x01\xe0\x00\x00"


@dataclass
class Stream:
    """One programme being made: each `step` is 10 ms of it, a picture of 40 ms and a random access point in 400 ms."""

    program_number: int = 1
    pmt_pid: int = 0x30
    video: int = 0x31
    audio: int = 0x32
    clock: int = 0
    video_type: int = H264
    counters: dict[int, int] = field(default_factory=dict)
    steps: int = 0
    pcr_apart: bool = False

    def packet(self, pid: int, payload: bytes, **options: int | bool) -> bytes:
        counter = self.counters.get(pid, 0)
        self.counters[pid] = counter + 1
        packet = bytearray(build_packet(pid, counter & 15, payload, **options))  # type: ignore[arg-type]  # as given
        if payload.startswith(PES):
            packet[1] |= 0x40
        return bytes(packet)

    def step(self) -> list[bytes]:
        n, self.steps = self.steps, self.steps + 1
        found: list[bytes] = []
        if n % 10 == 0:
            found += self.tables()
        pcr = (self.clock + n * PCR_HZ // 100) % PCR_MODULUS
        body = n.to_bytes(4, "big")
        if self.pcr_apart:
            found.append(build_packet(self.pcr_pid, 0, b"", pcr=pcr))
        if n % 4 == 0:
            first = bytearray(self.packet(self.video, PES + body + bytes(150), pcr=pcr))
            if n % 40 == 0:
                first[5] |= 0x40
            found.append(bytes(first))
        found += [self.packet(self.video, body + bytes([k]) + bytes(179)) for k in range(4)]
        found.append(self.packet(self.audio, PES + body + bytes(174)))
        return found

    @property
    def pcr_pid(self) -> int:
        return self.pmt_pid + 8 if self.pcr_apart else self.video

    def tables(self) -> list[bytes]:
        pmt = build_pmt(
            self.program_number, 0, self.pcr_pid, [PmtStream(self.video_type, self.video), PmtStream(AAC, self.audio)]
        )
        return [
            *self._table(PAT_PID, build_pat(7, 0, {self.program_number: self.pmt_pid})),
            *self._table(self.pmt_pid, pmt),
        ]

    def _table(self, pid: int, section: bytes) -> list[bytes]:
        found = packetise(pid, section, self.counters.get(pid, 0))
        self.counters[pid] = self.counters.get(pid, 0) + len(found)
        return found


CONFIG = ServiceConfig(
    "ch1",
    "satellite",
    transport_stream_id=7,
    service_id=1,
    group=IPv4Address("232.20.1.1"),
    port=5000,
    outputs=(),
    fallback=Fallback(IPv4Address("10.1.0.10"), IPv4Address("232.10.1.1"), 5000),
)


class Bench:
    """A service with two streams made for it; virtual time in steps of 10 ms."""

    def __init__(self, config: ServiceConfig = CONFIG, remembered: Mapping[str, Any] | None = None) -> None:
        self.now = 100.0
        self.out: list[bytes] = []
        self.satellite = Stream(program_number=config.service_id)
        self.fallback = Stream(program_number=9, pmt_pid=0x1000, video=0x100, audio=0x101, clock=PCR_HZ * 5000)
        self.service = Service(config, self.out.append, self.now, remembered)
        self.multiplexes = (Multiplex(), Multiplex())
        self.multiplexes[0].follow([self.service.satellite])
        if self.service.fallback is not None:
            self.multiplexes[1].follow([self.service.fallback])

    def run(self, seconds: float, *, satellite: bool = True, fallback: bool = True) -> None:
        for _ in range(round(seconds * 100)):
            self.give(self.satellite.step() if satellite else [], self.fallback.step() if fallback else [])

    def give(self, satellite: list[bytes], fallback: list[bytes]) -> None:
        for multiplex, packets in zip(self.multiplexes, (satellite, fallback), strict=True):
            for i in range(0, len(packets), 7):
                multiplex.receive(b"".join(packets[i : i + 7]), self.now)
        self.now += 0.01
        self.service.tick(self.now)

    def packets(self) -> list[bytes]:
        self.service.output.flush(self.now)
        return [datagram[i : i + PACKET_SIZE] for datagram in self.out for i in range(0, len(datagram), PACKET_SIZE)]

    def errors(self) -> int:
        self.service.output.flush(self.now)
        monitor = ContinuityMonitor()
        for datagram in self.out:
            monitor.receive(datagram, 0.0)
        assert monitor.sync_errors == 0
        return monitor.continuity_errors


def headers(packets: list[bytes], pid: int) -> Iterator[PacketHeader]:
    return (header for header in map(parse_packet, packets) if header.pid == pid)


def sections(packets: list[bytes], pid: int) -> list[bytes]:
    """Each section once, in the order in which it first came."""
    assembler = SectionAssembler()
    found = [section for packet in packets if parse_packet(packet).pid == pid for section in assembler.push(packet)]
    assert assembler.damaged == 0
    return list(dict.fromkeys(found))
