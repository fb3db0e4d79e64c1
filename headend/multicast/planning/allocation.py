"""Groups that no document names: a hash of who asks into the fleet's pool, so that no group depends on another.

A channel that is added or removed moves no other channel's group, ever. The price: two may fall on one another, which
is refused with the nearest group that is free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal, TypeAlias

from headend.multicast.addresses import FIRST_V6_GROUP_ID, IpAddress, shares_link_local_ethernet

Use: TypeAlias = Literal["a", "b", "output"]
"""What the group is for: the only feed or leg a, leg b, what the PoPs give out."""

Pool: TypeAlias = IPv4Network | IPv6Network
_LOW: Final = {4: 0x7FFFFF, 6: 0xFFFFFFFF}


def ethernet_key(group: IpAddress) -> tuple[int, int]:
    """Equal for groups that share an Ethernet address: low 23 bits (RFC 1112 section 6.4), IPv6: low 32 bits."""
    return group.version, int(group) & _LOW[group.version]


def usable(group: IpAddress) -> bool:
    if isinstance(group, IPv6Address):
        return int(group) & _LOW[6] >= FIRST_V6_GROUP_ID
    return not shares_link_local_ethernet(group)


def whole_range(group: IpAddress) -> Pool:
    """All groups that a document may name instead: 232.0.0.0/8, or the /96 of an IPv6 group."""
    if isinstance(group, IPv4Address):
        return IPv4Network("232.0.0.0/8")
    return IPv6Network((group, 96), strict=False)


def allocate(pool: Pool, channel: str, path: str, use: Use) -> IpAddress:
    """The group of `use`: always the same for the same names and pool, whatever else there is."""
    for attempt in range(1_000):
        digest = hashlib.sha256(f"{channel}/{path}/{use}/{attempt}".encode()).digest()
        group = _member(pool, int.from_bytes(digest[:8], "big"))
        if usable(group):
            return group
    raise AssertionError(pool)  # a pool of /23 or more has usable groups, at least half of it


def nearest_free(pool: Pool, group: IpAddress, taken: Container[tuple[int, int]]) -> IpAddress | None:
    """The group of the pool nearest to `group` whose Ethernet address is free; None when there is none."""
    start = int(group) - int(pool.network_address)
    for distance in range(1, pool.num_addresses):
        for offset in (start + distance, start - distance):
            if 0 <= offset < pool.num_addresses:
                candidate = _member(pool, offset)
                if usable(candidate) and ethernet_key(candidate) not in taken:
                    return candidate
    return None


def _member(pool: Pool, number: int) -> IpAddress:
    kind = IPv4Address if isinstance(pool, IPv4Network) else IPv6Address
    return kind(int(pool.network_address) + number % pool.num_addresses)
