"""Numbers of Kamailio's sets: of dispatcher (media servers, gateways of trunks) and of relays. Pure.

A set's number comes from its name, not from its place in the document: the list of destinations and the number plan
reach the daemon one after the other, and between the two a call must not meet another trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from sip.documents import Gateway, MediaServer, Trunk
from sip.kamailio.documents import KamailioSection

MEDIA_SET: Final = 1
"""Of dispatcher: all media servers."""
REGION_SET: Final = 1
"""Of relays: those of the proxy's own region."""
SPARE_SET: Final = 2
"""Of relays: all others, for when no relay of the region takes a call."""

_FIRST: Final = 1000
_BY_WEIGHT: Final = 9


def _number(name: str) -> int:
    return _FIRST + int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) % 0x3FFFFFFF


def relay_set(relay: str) -> int:
    """The set that has this relay alone: by it a call finds its relay again after Kamailio has been restarted."""
    return _number(f"relay {relay}")


def trunk_set(trunk: str, priority: int) -> int:
    """The set that has the gateways of one trunk which are of one priority."""
    return _number(f"trunk {trunk} {priority}")


def route_rules(trunks: Sequence[Trunk]) -> str:
    """Argument of `ds_select_routes`: all gateways of the trunks, in the order in which they are tried."""
    return ";".join(
        f"{trunk_set(trunk.id, priority)}={_BY_WEIGHT}" for trunk in trunks for priority in priorities(trunk)
    )


def priorities(trunk: Trunk) -> tuple[int, ...]:
    """Highest first."""
    return tuple(sorted({one.priority for one in trunk.gateways}, reverse=True))


def dispatcher_list(section: KamailioSection) -> str:
    """dispatcher.list: SETID URI FLAGS PRIORITY ATTRIBUTES. Flag 4 is `disabled`: a reload leaves it so.

    Media servers are asked whether they are well (OPTIONS); gateways too.
    """
    lines = [
        f"{MEDIA_SET} {gateway_uri(one)} {4 if one.drained else 0} 0 {_attributes('m', one.id, None, one.weight)}"
        for one in section.media_servers
    ]
    for trunk in section.trunks:
        lines += [
            f"{trunk_set(trunk.id, gateway.priority)} {gateway_uri(gateway)} 0 0"
            f" {_attributes('t', trunk.id, trunk.calls, gateway.weight)}"
            for gateway in trunk.gateways
        ]
    return "".join(f"{line}\n" for line in lines)


def _attributes(kind: str, name: str, calls: int | None, weight: int) -> str:
    return f"kind={kind};name={name};calls={calls or 0};rweight={weight}"


def gateway_uri(peer: MediaServer | Gateway) -> str:
    """Where a peer is reached."""
    transport = peer.transport if isinstance(peer, Gateway) else "udp"
    return f"sip:{peer.address}:{peer.port}" + ("" if transport == "udp" else f";transport={transport}")
