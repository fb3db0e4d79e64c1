"""The simulated multiplexer: transport streams of one programme in, one of all of them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from lab.devices.alarms import AlarmKind
from lab.devices.config import MuxConfig
from lab.devices.control import CLEAR_SKY
from lab.devices.meter import Meter
from lab.devices.multiplex import Multiplex, OutputPlan
from lab.devices.net import Endpoint, Inlet, Outlet
from lab.devices.objects import Value
from lab.devices.programme import PIDS, Service, ServicePlan
from lab.devices.settings import Settings
from lab.devices.tree import Changes, Key, Reader, UnfitError
from lab.devices.ts import DATAGRAM_PACKETS, PACKET_BITS
from nf.clock import Clock

_DISABLED, _ENABLED = 1, 2
_CONSTANT = 1
_LOST, _LOCKED = 1, 2
_OVERFLOW_HOLDS_S = 10.0


def defaults(config: MuxConfig) -> dict[Key, Value]:
    """The values of a multiplexer that nobody has set."""
    values: dict[Key, Value] = {
        ("MuxOutputAdminState", 0): _ENABLED if config.enabled else _DISABLED,
        ("MuxOutputAddress", 0): str(config.output.address),
        ("MuxOutputPort", 0): config.output.port,
        ("MuxOutputMode", 0): _CONSTANT if config.mode == "constant" else _CONSTANT + 1,
        ("MuxOutputBitRate", 0): config.bit_rate_bps,
        ("MuxTransportStreamId", 0): config.transport_stream_id,
        ("MuxOriginalNetworkId", 0): config.original_network_id,
        ("MuxNetworkName", 0): config.network_name,
    }
    for row, service in enumerate(config.services, 1):
        values |= {
            ("SvcAdminState", row): _ENABLED if service.enabled else _DISABLED,
            ("SvcServiceId", row): service.service_id,
            ("SvcName", row): service.name,
            ("SvcProvider", row): service.provider,
            ("SvcInputAddress", row): str(service.input.address),
            ("SvcInputPort", row): service.input.port,
            ("SvcPidBase", row): service.pid_base,
            ("SvcMaxBitRate", row): service.max_bit_rate_bps,
        }
    return values


class Mux:
    kind = "mux"
    alarms: tuple[AlarmKind, ...] = (AlarmKind.INPUT_LOST, AlarmKind.OUTPUT_OVERFLOW)

    def __init__(self, config: MuxConfig, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.weather = CLEAR_SKY
        self.rows: Mapping[str, tuple[int, ...]] = {"Svc": tuple(range(1, len(config.services) + 1))}
        self._config = config
        self._clock = clock
        now = clock.monotonic()
        self._services = {row: Service(self._service_plan(row, {})) for row in self.rows["Svc"]}
        self._inlets = {row: Inlet(service.plan.input) for row, service in self._services.items()}
        self._multiplex = Multiplex(self._output_plan(), tuple(self._services.values()), now)
        self._outlet = Outlet(self._output())
        self._meter = Meter(1.0)
        self._overflow_at, self._overflow_seen = now - _OVERFLOW_HOLDS_S, 0

    def readers(self) -> dict[str, Reader]:
        services, multiplex = self._services, self._multiplex
        return {
            "MuxActualBitRate": lambda _: self._bps(self._meter),
            "MuxOutputPackets": lambda _: self._meter.total,
            "MuxNullPackets": lambda _: multiplex.nulls,
            "MuxTablePackets": lambda _: multiplex.tables,
            "MuxOverflowPackets": lambda _: self._overflow(),
            "SvcInputState": lambda row: _LOCKED if services[row].locked(self._clock.monotonic()) else _LOST,
            "SvcInputBitRate": lambda row: self._bps(services[row].input_meter),
            "SvcOutputBitRate": lambda row: self._bps(services[row].output_meter),
            "SvcOverflowPackets": lambda row: services[row].overflow,
            "SvcContinuityErrors": lambda row: services[row].check.errors,
        }

    def change(self, changes: Changes) -> None:
        self._require_apart(changes)
        self.settings.update(changes)
        self._multiplex.plan = self._output_plan()
        for row, service in self._services.items():
            plan = self._service_plan(row, {})
            if plan != service.plan:
                service.replan(plan)
            if self._inlets[row].endpoint != plan.input:
                self._inlets[row].close()
                self._inlets[row] = Inlet(plan.input)
        if self._outlet.endpoint != self._output():
            self._outlet.close()
            self._outlet = Outlet(self._output())

    def tick(self, now: float) -> None:
        for row, service in self._services.items():
            if not service.plan.enabled:
                self._inlets[row].close()
                continue
            for datagram in self._inlets[row].read(now):
                service.feed(datagram, now)
        leaving = self._multiplex.carry(now)
        if not self._multiplex.plan.enabled:
            return
        for start in range(0, len(leaving), DATAGRAM_PACKETS):
            self._outlet.send(b"".join(leaving[start : start + DATAGRAM_PACKETS]))
        if leaving:
            self._meter.add(now, len(leaving))

    def holding(self, now: float) -> dict[AlarmKind, str]:
        found = {}
        lost = [
            service.plan.name for service in self._services.values() if service.plan.enabled and not service.locked(now)
        ]
        if lost:
            found[AlarmKind.INPUT_LOST] = f"no programme comes in for {', '.join(lost)}"
        if self._overflow() != self._overflow_seen:
            self._overflow_at, self._overflow_seen = now, self._overflow()
        if now - self._overflow_at < _OVERFLOW_HOLDS_S:
            found[AlarmKind.OUTPUT_OVERFLOW] = f"{self._overflow_seen} packets of services dropped since start"
        return found

    def close(self) -> None:
        for inlet in self._inlets.values():
            inlet.close()
        self._outlet.close()

    def _require_apart(self, changes: Changes) -> None:
        """Enabled services have their own id, PIDs and input. Raises UnfitError."""
        plans = {row: self._service_plan(row, changes) for row in self._services}
        enabled = {row: plan for row, plan in plans.items() if plan.enabled}
        for row, plan in enabled.items():
            others = [other for number, other in enabled.items() if number < row]
            for name, clash in (
                ("SvcServiceId", any(other.service_id == plan.service_id for other in others)),
                ("SvcPidBase", any(abs(other.pid_base - plan.pid_base) < PIDS for other in others)),
                ("SvcInputPort", any(other.input == plan.input for other in others)),
            ):
                if clash:
                    raise UnfitError(_blamed(changes, name, row))

    def _overflow(self) -> int:
        return sum(service.overflow for service in self._services.values())

    def _bps(self, meter: Meter) -> int:
        return round(meter.per_second(self._clock.monotonic()) * PACKET_BITS)

    def _service_plan(self, row: int, changes: Changes) -> ServicePlan:
        def value(name: str) -> Value:
            return changes.get((name, row), self.settings[name, row])

        return ServicePlan(
            value("SvcAdminState") == _ENABLED,
            int(value("SvcServiceId")),
            str(value("SvcName")),
            str(value("SvcProvider")),
            Endpoint(IPv4Address(value("SvcInputAddress")), int(value("SvcInputPort")), self._config.via),
            int(value("SvcPidBase")),
            int(value("SvcMaxBitRate")),
        )

    def _output_plan(self) -> OutputPlan:
        settings = self.settings
        return OutputPlan(
            settings.number("MuxOutputAdminState") == _ENABLED,
            settings.number("MuxOutputMode") == _CONSTANT,
            settings.number("MuxOutputBitRate"),
            settings.number("MuxTransportStreamId"),
            settings.number("MuxOriginalNetworkId"),
            settings.text("MuxNetworkName"),
        )

    def _output(self) -> Endpoint:
        address = IPv4Address(self.settings.text("MuxOutputAddress"))
        return Endpoint(address, self.settings.number("MuxOutputPort"), self._config.via)


def _blamed(changes: Changes, name: str, row: int) -> Key:
    """The variable of the SET that a clash comes from: the one that clashes, or the first of its kind, or any."""
    candidates: Iterable[Key] = ((name, row), *(key for key in changes if key[0] == name), *changes)
    return next(key for key in candidates if key in changes)
