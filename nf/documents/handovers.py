"""Where one path's programme is handed to another one on the same appliance: the fallback that a PoP keeps warm.

Two domains meet here without knowing each other: one compiles who gives the stream, the other who takes it, and both
find the same place. It is a UDP port on an address of the loopback network that is made from names, so that a channel
more or less in the line-up moves nobody else's stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from nf.documents.fleet import Fleet, Role
from nf.documents.lineup import LineUp

PORT = 5004
_FIRST = int(IPv4Address("127.64.0.0"))
_COUNT = 1 << 22


@dataclass(frozen=True, slots=True)
class Handover:
    """On `appliance`, path `giver` of `channel` arrives as MPEG-TS at `address`:`port`, and path `taker` takes it.

    site    of the appliance, by which the taker's document names it
    """

    channel: str
    taker: str
    giver: str
    site: str
    appliance: str
    address: IPv4Address
    port: int = PORT


def handovers(lineup: LineUp, fleet: Fleet) -> tuple[Handover, ...]:
    """All of a line-up, in order of their names. Pure; what does not resolve is left out, for its planner to tell."""
    pops = {appliance.site: appliance.id for appliance in reversed(fleet.spec.appliances) if appliance.role is Role.POP}
    taken: set[int] = set()
    found = []
    for channel, taker, giver, sites in sorted(_wanted(lineup)):
        number = zlib.crc32(f"{channel}/{taker}".encode()) % _COUNT
        while number in taken or number & 0xFF in (0, 0xFF):
            number = (number + 1) % _COUNT
        taken.add(number)
        address = IPv4Address(_FIRST + number)
        found += [Handover(channel, taker, giver, site, pops[site], address) for site in sorted(sites) if site in pops]
    return tuple(found)


def _wanted(lineup: LineUp) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    for channel in lineup.spec.channels:
        givers = {path.id for path in channel.delivery if path.can_be_handed_over}
        for path in channel.delivery:
            taking = path.takes()
            if taking is not None and taking.path in givers and taking.path != path.id:
                yield channel.id, path.id, taking.path, taking.sites
