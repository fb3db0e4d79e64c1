"""What each device of a chain is set to at an operating point. Pure.

A model serves as encoder, multiplexer or modem when it has these parameters, under these names. A row of the encoder's
`channel` table feeds the row of the same number of the multiplexer's `service` table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headend.devices.values import Value
from headend.satellite.documents import UplinkCarrier, UplinkRung, UplinkService
from headend.satellite.names import STANDBY_PORT_OFFSET

MUX_OUTPUT_PORT = 5000
ON, OFF = "enabled", "disabled"
MUTED, TRANSMITTING = "muted", "transmitting"

RF_PARAMETERS = frozenset({"symbol_rate", "roll_off", "pilots", "frequency"})
"""A change of one of these makes another carrier: it is muted before."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Parameter -> value for each device."""

    encoder: Mapping[str, Value] = field(default_factory=dict)
    standby: Mapping[str, Value] = field(default_factory=dict)
    mux: Mapping[str, Value] = field(default_factory=dict)
    modem: Mapping[str, Value] = field(default_factory=dict)


def settings(carrier: UplinkCarrier, rung: UplinkRung) -> Settings:
    """Everything that the carrier is to be at `rung`, transmission and level excepted: those are acts of their own."""
    rates = {(service.channel, service.path): service.rate_bps for service in rung.services}
    encoder: dict[str, Value] = {}
    standby: dict[str, Value] = {}
    mux: dict[str, Value] = {
        "output_address": str(carrier.modem.data_address),
        "output_port": MUX_OUTPUT_PORT,
        "output_mode": "constant",
        "transport_stream_id": carrier.carrier.transport_stream_id,
        "output_bit_rate": rung.ts_rate_bps,
        "output_admin_state": ON,
    }
    for service in carrier.services:
        rate = rates.get((service.channel, service.path))
        encoder |= _channel(carrier, service, rate, service.mux_port)
        if carrier.standby is not None:
            standby |= _channel(carrier, service, rate, standby_port(service))
        mux |= _service(service, rate)
    given = carrier.carrier
    modem: dict[str, Value] = {
        "input_port": MUX_OUTPUT_PORT,
        "frequency": carrier.uplink_hz,
        "symbol_rate": given.symbol_rate_baud,
        "roll_off": f"{given.roll_off:.2f}",
        "pilots": "on" if given.pilots else "off",
        "modcod": rung.modcod,
        "carrier_id_enable": ON if given.cid else OFF,
    }
    return Settings(encoder, standby, mux, modem)


def standby_port(service: UplinkService) -> int:
    """Where the mux hears the second encoder's row of this service."""
    return service.mux_port + STANDBY_PORT_OFFSET


def _channel(carrier: UplinkCarrier, service: UplinkService, rate_bps: int | None, mux_port: int) -> dict[str, Value]:
    row = f"channel[{service.row}]"
    values: dict[str, Value] = {
        f"{row}.name": service.name,
        f"{row}.input_port": service.input_port,
        f"{row}.output_address": str(carrier.mux.data_address),
        f"{row}.output_port": mux_port,
    }
    if rate_bps is not None:
        values[f"{row}.bit_rate"] = rate_bps
    return values | {f"{row}.admin_state": OFF if rate_bps is None else ON}


def _service(service: UplinkService, rate_bps: int | None) -> dict[str, Value]:
    row = f"service[{service.row}]"
    values: dict[str, Value] = {
        f"{row}.service_id": service.service_id,
        f"{row}.name": service.name,
        f"{row}.input_port": service.mux_port,
        f"{row}.pid_base": service.pmt_pid,
    }
    if rate_bps is not None:
        values[f"{row}.max_bit_rate"] = rate_bps
    return values | {f"{row}.admin_state": OFF if rate_bps is None else ON}
