"""What of an address is a UE's own (TS 23.501 clause 5.8.2.2): of IPv4 the address, of IPv6 all of a /64."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

PREFIX_BITS: Final = 64
UeAddress = IPv4Address | IPv6Network


def prefix_of(address: IPv6Address) -> IPv6Network:
    return IPv6Network((int(address), PREFIX_BITS), strict=False)


def ue_of(address: IPv4Address | IPv6Address) -> UeAddress:
    return address if isinstance(address, IPv4Address) else prefix_of(address)
