"""A transport stream of several programmes: tables in their time, services where room is left, null packets behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from lab.devices import ts
from lab.devices.programme import Service
from lab.devices.ts import DATAGRAM_PACKETS, NULL_PACKET, PACKET_BITS, TableSender

# TS 101 211, 4.4.1 and TR 101 290, 5.2: PAT and PMT at least every 100 ms in practice, SDT 2 s, NIT 10 s.
_PSI_S, _SDT_S, _NIT_S = 0.09, 1.0, 5.0
# A multiplexer that was held up does not make up for more than this: what is behind it takes a burst of no more.
_BURST_S = 0.03
_QUEUE_S = 0.2


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """What is set of the multiplex."""

    enabled: bool
    constant: bool
    rate_bps: int
    transport_stream_id: int
    original_network_id: int
    network_name: str


class Multiplex:
    """`carry` at every tick gives the packets that leave."""

    def __init__(self, plan: OutputPlan, services: Sequence[Service], now: float) -> None:
        self.plan = plan
        self.nulls = self.tables = 0
        self._services = deque(services)
        self._at = now
        self._credit = 0.0
        self._due = {_PSI_S: now, _SDT_S: now, _NIT_S: now}
        self._waiting: deque[bytes] = deque()
        self._senders = {pid: TableSender(pid) for pid in (ts.PAT_PID, ts.SDT_PID, ts.NIT_PID)}
        self._version = 0
        self._described: object = None

    def carry(self, now: float) -> list[bytes]:
        """The packets that leave until `now`: whole datagrams when the rate is constant."""
        plan = self.plan
        most = max(2.0 * DATAGRAM_PACKETS, _BURST_S * plan.rate_bps / PACKET_BITS)
        self._credit = min(most, self._credit + (now - self._at) * plan.rate_bps / PACKET_BITS)
        self._at = now
        room = int(self._credit)
        if plan.constant:
            room = room // DATAGRAM_PACKETS * DATAGRAM_PACKETS
        leaving = self._take_tables(room, now)
        leaving += self._take_services(room - len(leaving), now)
        if plan.constant:
            self.nulls += room - len(leaving)
            leaving.extend([NULL_PACKET] * (room - len(leaving)))
        self._credit -= len(leaving)
        self._trim()
        return leaving

    def _take_tables(self, room: int, now: float) -> list[bytes]:
        self._describe()
        for period, due in self._due.items():
            if now >= due:
                # Kept on its own beat, so that a late tick delays one table and not all that follow.
                self._due[period] = due + period if now - due < period else now + period
                self._waiting.extend(self._make(period))
        taken = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        self.tables += len(taken)
        return taken

    def _take_services(self, room: int, now: float) -> list[bytes]:
        """All of it if it fits; else as much of each as leaves most to the one that has least (max-min fairness)."""
        # Services take turns at what does not divide.
        self._services.rotate()
        waiting = sorted((service for service in self._services if service.queue), key=lambda s: len(s.queue))
        leaving: list[bytes] = []
        for place, service in enumerate(waiting):
            share = -(-room // (len(waiting) - place))
            taken = service.take(share, now)
            leaving += taken
            room -= len(taken)
        return leaving

    def _trim(self) -> None:
        enabled = max(1, sum(service.plan.enabled for service in self._services))
        limit = max(4 * DATAGRAM_PACKETS, int(_QUEUE_S * self.plan.rate_bps / PACKET_BITS / enabled))
        for service in self._services:
            service.trim(limit)

    def _present(self) -> list[Service]:
        present = (service for service in self._services if service.plan.enabled and service.programme is not None)
        return sorted(present, key=lambda service: service.plan.service_id)

    def _describe(self) -> None:
        """A new version when the tables have something new to say; PAT and PMTs at once."""
        plan = self.plan
        services = [(p.service_id, p.pid_base, p.name, p.provider) for p in (s.plan for s in self._present())]
        described = (plan.transport_stream_id, plan.original_network_id, plan.network_name, services)
        if described != self._described:
            self._described = described
            self._version = self._version + 1 & 0x1F
            self._due = dict.fromkeys(self._due, self._at)

    def _make(self, period: float) -> list[bytes]:
        plan, present = self.plan, self._present()
        stream, network = plan.transport_stream_id, plan.original_network_id
        if period == _PSI_S:
            programmes = {service.plan.service_id: service.plan.pid_base for service in present}
            made = self._senders[ts.PAT_PID].packets([ts.pat(stream, self._version, programmes)])
            return made + [packet for service in present for packet in service.pmt()]
        if period == _SDT_S:
            services = {service.plan.service_id: (service.plan.name, service.plan.provider) for service in present}
            return self._senders[ts.SDT_PID].packets([ts.sdt(stream, network, self._version, services)])
        identities = [service.plan.service_id for service in present]
        return self._senders[ts.NIT_PID].packets(
            [ts.nit(stream, network, self._version, plan.network_name, identities)]
        )
