"""A received carrier, and readings of its receiver."""

from __future__ import annotations

from typing import Any

from headend.devices.values import ParameterValue, Value
from headend.satellite.documents import ReceivedCarrier, ReceiverSection
from headend.satellite.feed.client import FeedStatus, InputStatus, ServiceStatus
from headend.snmp.values import Quality


def service(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "channel": f"ch{number}",
        "path": "satellite",
        "service_id": number,
        "group": f"232.20.1.{number}",
        "port": 5000,
        "outputs": ["10.1.0.10"],
        "fallback": "iptv",
        "fallback_source": "10.1.0.20",
        "fallback_group": f"232.10.1.{number}",
        "fallback_port": 5002,
    } | changes


def carrier(**changes: Any) -> ReceivedCarrier:
    data = {
        "carrier": "c1",
        "device": {
            "id": "rx1",
            "appliance": "pop1",
            "model": "nf-lab-receiver",
            "address": "127.0.0.1",
            "port": 16161,
            "credentials": "secret:headend-devices",
        },
        "input": "127.0.0.1",
        "input_port": 5100,
        "transport_stream_id": 7,
        "margins": {},
        "services": [service(1)],
        "requires": ["satellite.uplink=c1"],
    }
    return ReceivedCarrier.model_validate(data | changes)


def section(*carriers: ReceivedCarrier) -> ReceiverSection:
    return ReceiverSection(carriers=carriers)


def read(**values: Value) -> dict[str, ParameterValue]:
    """What a receiver answers; None: it has no such value now."""
    return {
        name: ParameterValue(value, "", Quality.MISSING if value is None else Quality.GOOD, 1.0)
        for name, value in values.items()
    }


def unreachable() -> dict[str, ParameterValue]:
    return {name: ParameterValue(None, "", Quality.UNREACHABLE, 1.0) for name in ("lock", "es_n0", "modcod")}


def status(
    packets: int = 0, *, uptime_s: float = 1.0, age_ms: float | None = 5.0, taken: str = "satellite"
) -> FeedStatus:
    present = InputStatus(packets, 0, age_ms, age_ms is not None and age_ms <= 400)
    told = ServiceStatus(
        "ch1", "satellite", taken, taken, packets, 0, age_ms, 0, False, "", 0, "", present, present, ""
    )
    return FeedStatus("c1", "digest", uptime_s, "good", (), "127.0.0.1:5100", 1, 0, 0, age_ms, (told,))
