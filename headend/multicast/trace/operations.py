"""The fleet operation `tree.trace`, for the planner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from headend.multicast.trace.names import DRIVER, TRACE
from nf.contracts.planner import FleetOperation, Hop


def trace_operations(hops: Iterable[Hop]) -> tuple[FleetOperation, ...]:
    """One for each channel: on every appliance where it is measured, which are its sources, routers, PoPs and
    receivers. All are asked at once, since their counters are compared."""
    channels: defaultdict[str, set[str]] = defaultdict(set)
    for hop in hops:
        channels[hop.channel].add(hop.appliance)
    return tuple(
        FleetOperation(TRACE, channel, (tuple((appliance, DRIVER) for appliance in sorted(appliances)),))
        for channel, appliances in sorted(channels.items())
    )
