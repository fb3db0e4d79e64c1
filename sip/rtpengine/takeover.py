"""What a takeover or a restart leaves without media: calls with DTLS-SRTP, whose keys no store has. RTP and SDES go on.

Nothing that a proxy could send brings such a call back: a browser keeps the association that it has, whatever a
re-INVITE says of its certificate, unless the page makes the connection anew. So the relay lets it go, its proxy ends it
with a Reason (RFC 3326), and whoever reads that calls again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from socket import AF_INET
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nf.errors import DriverError


def medias(call: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Of an answer to `query`: every media of every party."""
    tags = call.get("tags")
    for party in tags.values() if isinstance(tags, Mapping) else ():
        listed = party.get("medias") if isinstance(party, Mapping) else None
        yield from (one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, Mapping))


def has_dtls(call: Mapping[str, Any]) -> bool:
    """A party speaks UDP/TLS/RTP/SAVP or SAVPF (RFC 5764 section 8)."""
    return any(str(one.get("protocol", "")).startswith("UDP/TLS/") for one in medias(call))


def local_addresses(call: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        str(stream["local address"])
        for media in medias(call)
        for stream in media.get("streams", ())
        if isinstance(stream, Mapping) and "local address" in stream
    )


@dataclass(frozen=True, slots=True)
class Lost:
    """From when on this process knows keys. Times are seconds since the epoch.

    started  of the process; `own`: whether its own media address is here
    moved    its partner's address while that is here, and `since` when; `paired`: whether it has a partner at all
    """

    started: float
    own: str = ""
    moved: str = ""
    since: float = 0.0
    paired: bool = False

    def serves(self, addresses: AbstractSet[str]) -> bool:
        """Whether a call with these addresses is served here now, and not just held ready for its own relay."""
        return not self.paired or bool(addresses & {self.own, self.moved} - {""})

    def without_keys(self, signalled: float, addresses: AbstractSet[str]) -> bool:
        """Of a call with DTLS: its keys were agreed on before, or with another process."""
        since = self.since if self.moved in addresses else self.started
        return signalled < max(self.started, since) - 1


async def here_since(wanted: AbstractSet[str]) -> dict[str, float]:
    """Of these addresses those that are here, and since when, in seconds since the epoch. Raises DriverError."""
    booted = time.time() - time.monotonic()
    found: dict[str, float] = {}
    try:
        async with AsyncIPRoute() as route:
            async for one in await route.get_addr(family=AF_INET):
                address, told = one.get_attr("IFA_LOCAL"), one.get_attr("IFA_CACHEINFO")
                if address in wanted:
                    found[address] = booted + (told["cstamp"] / 100 if told is not None else 0.0)
    except (NetlinkError, OSError) as error:
        raise DriverError(f"addresses cannot be read: {error}", where="netlink") from error
    return found
