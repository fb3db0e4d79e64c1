"""Names by which planner, adopter and drivers of the IPTV tree mean the same."""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import Final

from headend.multicast.addresses import IpAddress

FUNCTION_PREFIX: Final = "multicast-"
"""Of every function that this domain brings."""
SOURCE_FUNCTION: Final = "multicast-source"
OUTPUT_FUNCTION: Final = "multicast-output"
MONITOR_FUNCTION: Final = "multicast-monitor"

OUTPUT_INTERFACE: Final = "nfout0"
"""Where the router serves its own output stage with IGMP."""
TAP: Final = "nfout1"
"""The other end of the pair: there the output stage asks for its feeds."""
OUTPUT_ADDRESS: Final = IPv4Interface("169.254.255.0/31")
TAP_ADDRESS: Final = IPv4Interface("169.254.255.1/31")

RELAY_INTERFACE: Final = "nfamt0"
"""Where a router serves its own AMT relay with IGMP."""
RELAY_TAP: Final = "nfamt1"
RELAY_ADDRESS: Final = IPv4Interface("169.254.255.2/31")
RELAY_TAP_ADDRESS: Final = IPv4Interface("169.254.255.3/31")


def point(name: str, leg: str | None) -> str:
    """Where a path is measured: `tree`, and for a channel that comes by two legs `tree-a` and `tree-b`."""
    return name if leg is None else f"{name}-{leg}"


def source_fact(source: IpAddress, group: IpAddress) -> str:
    """Holds while the source stage emits (S, G)."""
    return f"ssm.source={source},{group}"


def tree_fact(source: IpAddress, group: IpAddress, router: str) -> str:
    """Holds while `router` lets (S, G) pass."""
    return f"ssm.tree={source},{group}@{router}"


def output_fact(group: IpAddress, pop: str) -> str:
    """Holds while the PoP gives out the group."""
    return f"ssm.output={group}@{pop}"


def relay_fact(source: IpAddress, group: IpAddress, relay: str) -> str:
    """Holds while the relay on that appliance gives (S, G) to gateways."""
    return f"amt.relay={source},{group}@{relay}"
