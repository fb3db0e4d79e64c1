"""What a carrier alone sets on its chain of devices, by the keys of their models, in every row."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ENCODER: Final = frozenset(
    f"channel.{column}" for column in ("name", "admin_state", "input_port", "output_address", "output_port", "bit_rate")
)
MUX: Final = frozenset(
    {
        "output_admin_state",
        "output_address",
        "output_port",
        "output_mode",
        "output_bit_rate",
        "transport_stream_id",
        "service.admin_state",
        "service.service_id",
        "service.name",
        "service.input_port",
        "service.pid_base",
        "service.max_bit_rate",
    }
)
MODEM: Final = frozenset(
    {
        "input_port",
        "frequency",
        "symbol_rate",
        "roll_off",
        "pilots",
        "modcod",
        "carrier_id_enable",
        "apply_carrier",
        "tx_level",
        "tx_enable",
    }
)
BY_ROLE: Final[Mapping[str, frozenset[str]]] = MappingProxyType({"encoder": ENCODER, "mux": MUX, "modem": MODEM})
