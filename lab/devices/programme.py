"""One service of a multiplexer: what comes in, under the PIDs that it has in the multiplex."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from lab.devices.meter import Meter
from lab.devices.net import Endpoint
from lab.devices.ts import (
    DATAGRAM,
    NULL_PID,
    PACKET,
    PACKET_BITS,
    PAT_PID,
    SYNC,
    ContinuityCheck,
    Programme,
    SectionReader,
    TableSender,
    first_programme,
)

PIDS = 16  # that each service has, from its base on: the PMT, then elementary streams
_INPUT_TIMEOUT_S = 1.0
_BUCKET_S = 0.2  # how far a service may be above its own limit for a moment
_START = b"G"


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What is set of a service."""

    enabled: bool
    service_id: int
    name: str
    provider: str
    input: Endpoint
    pid_base: int
    max_bps: int


class Service:
    """Takes datagrams in, keeps a queue of packets that are ready for the multiplex."""

    def __init__(self, plan: ServicePlan) -> None:
        self.plan = plan
        self.queue: deque[bytes] = deque()
        self.overflow = 0
        self.check = ContinuityCheck()
        self.input_meter = Meter(1.0)
        self.output_meter = Meter(1.0)
        self.programme: Programme | None = None
        self._pmt_version = 0
        self._pmt_sender = TableSender(plan.pid_base)
        self._pat_reader, self._pmt_reader = SectionReader(), SectionReader()
        self._pmt_pid: int | None = None
        self._heads: dict[bytes, bytes] = {}
        self._input_at: float | None = None
        self._bucket, self._bucket_at = 0.0, 0.0

    def replan(self, plan: ServicePlan) -> None:
        """Other PIDs or another id are a new PMT; another input is a new programme."""
        if plan.input != self.plan.input or not plan.enabled:
            self.programme, self._pmt_pid, self._heads, self._input_at = None, None, {}, None
            self.queue.clear()
        if plan.pid_base != self.plan.pid_base:
            self._pmt_sender = TableSender(plan.pid_base)
            self.queue.clear()
        self._pmt_version += 1
        self.plan = plan
        self._map()

    def locked(self, now: float) -> bool:
        """Whether a programme comes in."""
        return self.programme is not None and self._input_at is not None and now - self._input_at < _INPUT_TIMEOUT_S

    def feed(self, datagram: bytes, now: float) -> None:
        """Null packets and the input's own tables stay behind."""
        if len(datagram) % PACKET or not 0 < len(datagram) <= DATAGRAM or datagram[0] != SYNC:
            return
        self._input_at = now
        self.input_meter.add(now, len(datagram) // PACKET)
        see, heads = self.check.see, self._heads
        ready = []
        for start in range(0, len(datagram), PACKET):
            packet = datagram[start : start + PACKET]
            see(packet)
            head = heads.get(packet[1:3])
            if head is not None:
                ready.append(_START + head + packet[3:])
            else:
                self._look(packet)
                heads = self._heads
        self._enqueue(ready, now)

    def pmt(self) -> list[bytes]:
        """The packets of the PMT; none while no programme is known."""
        if self.programme is None:
            return []
        version = self._pmt_version & 0x1F
        section = self.programme.section(self.plan.service_id, version, self._pids())
        return self._pmt_sender.packets([section])

    def trim(self, limit: int) -> None:
        """Drop what is behind `limit` in the queue."""
        while len(self.queue) > limit:
            self.queue.pop()
            self.overflow += 1

    def take(self, count: int, now: float) -> list[bytes]:
        taken = [self.queue.popleft() for _ in range(min(count, len(self.queue)))]
        if taken:
            self.output_meter.add(now, len(taken))
        return taken

    def _enqueue(self, ready: list[bytes], now: float) -> None:
        if self.plan.max_bps:
            full = self.plan.max_bps * _BUCKET_S / PACKET_BITS
            self._bucket = min(full, self._bucket + (now - self._bucket_at) * self.plan.max_bps / PACKET_BITS)
            self._bucket_at = now
            allowed = min(len(ready), int(self._bucket))
            self._bucket -= allowed
            self.overflow += len(ready) - allowed
            ready = ready[:allowed]
        self.queue.extend(ready)

    def _look(self, packet: bytes) -> None:
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid == NULL_PID:
            return
        if pid == PAT_PID:
            for whole in self._pat_reader.feed(packet):
                found = first_programme(whole)
                if found is not None and found[1] != self._pmt_pid:
                    self._pmt_pid, self._pmt_reader = found[1], SectionReader()
        elif pid == self._pmt_pid:
            for whole in self._pmt_reader.feed(packet):
                programme = Programme.parse(whole)
                if programme is not None and programme != self.programme and len(programme.streams) < PIDS:
                    self.programme = programme
                    self._pmt_version += 1
                    self._map()

    def _pids(self) -> dict[int, int]:
        """PIDs of the input's programme and those that they have in the multiplex."""
        if self.programme is None:
            return {}
        wanted = dict.fromkeys([stream.pid for stream in self.programme.streams])
        if self.programme.pcr_pid != NULL_PID:
            wanted.setdefault(self.programme.pcr_pid)
        return {pid: self.plan.pid_base + 1 + place for place, pid in enumerate(wanted)}

    def _map(self) -> None:
        """Both octets that hold a PID, with each of the flags beside it, as they are and as they become."""
        self._heads = {
            (flags << 13 | old).to_bytes(2, "big"): (flags << 13 | new).to_bytes(2, "big")
            for old, new in self._pids().items()
            for flags in range(8)
        }
