"""What a plan emits for a PoP behind a tunnel and for the relay that serves it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from headend.multicast.amt.documents import AmtFlow, AmtGateway, AmtRelay

Pair = tuple[IPv4Address, IPv4Address]
"""(source, group)."""


def gateway_part(
    relay: IPv4Address, flows: Iterable[Pair], deliver: Iterable[str], *, appliance: str, provides: Iterable[str] = ()
) -> AmtGateway | None:
    """None when the PoP needs nothing. It starts when its interfaces are there."""
    wanted = sorted(set(flows))
    if not wanted:
        return None
    interfaces = tuple(sorted(set(deliver)))
    return AmtGateway(
        relay=relay,
        flows=tuple(AmtFlow(source=source, group=group) for source, group in wanted),
        deliver=interfaces,
        requires=tuple(f"{appliance}.interface.{name}" for name in interfaces),
        provides=tuple(sorted(provides)),
    )


def relay_part(
    address: IPv4Address, upstream: str, flows: Mapping[str, Iterable[Pair]], *, appliance: str
) -> AmtRelay | None:
    """`flows`: gateway -> what it needs; None when there is no gateway. It gives no group that no gateway needs.

    Room for every gateway twice: one that restarted has a new port, and its old tunnel ends by its time only.
    """
    needed = {gateway: set(found) for gateway, found in flows.items()}
    groups = sorted({group for found in needed.values() for _, group in found})
    if not groups:
        return None
    return AmtRelay(
        address=address,
        upstream=upstream,
        max_gateways=2 * len(needed),
        max_flows=max(map(len, needed.values())),
        groups=tuple(groups),
        requires=(f"{appliance}.interface.{upstream}",),
    )
