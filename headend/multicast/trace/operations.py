"""The fleet operation `tree.trace`, for the planner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headend.multicast.trace.names import DRIVER, TRACE
from nf.contracts.planner import FleetOperation


def trace_operations(channels: Mapping[str, Iterable[str]]) -> tuple[FleetOperation, ...]:
    """`channels`: id -> the appliances that its trees may pass: sources, routers, PoPs and receivers. All are asked at
    once, since their counters are compared."""
    return tuple(
        FleetOperation(TRACE, channel, (tuple((appliance, DRIVER) for appliance in sorted(set(appliances))),))
        for channel, appliances in sorted(channels.items())
    )
