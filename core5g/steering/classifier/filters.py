"""SDF filters by which an uplink classifier tells traffic for the CDN (TS 29.244 clause 8.2.5, RFC 6733 clause 4.3).

A stock UPF takes one form only, written as seen from the network, `permit out PROTOCOL from PREFIX [PORT] to assigned`.
Of anything else it drops the filter without a cause, and the PDR matches all traffic. So nothing else is ever sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from core5g.pfcp.proxy.documents import MAX_FILTERS
from core5g.pfcp.wire import Ie, IeType
from core5g.ue import ue_of
from nf.errors import RefusedError

Network = IPv4Network | IPv6Network
_FORM = re.compile(r"permit out (ip|6) from ([0-9a-f.:]+/\d{1,3})(?: (\d{1,5}))? to assigned")
_TCP = "6"
"""What caches answer: QUIC of the CDN goes on to the CDN."""
_SUPI = "imsi-"
_EVERY = 0
"""In place of a port: traffic of every protocol."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Networks and the ports in them (TCP; every protocol while empty) that rule `rule` is about.

    `ues`: whose traffic, by address, prefix or `imsi-...`; everybody's while empty.
    """

    rule: str
    networks: tuple[Network, ...]
    ports: tuple[int, ...] = ()
    ues: frozenset[str] = frozenset()

    def concerns(self, names: frozenset[str]) -> bool:
        return not self.ues or any(_means(ue, name) for ue in self.ues for name in names)

    def may_meet(self, other: Traffic) -> bool:
        """Whether both may concern one UE, as far as addresses tell."""
        if not self.ues or not other.ues:
            return True
        return any(_overlap(left, right) for left in self.ues for right in other.ues)


@lru_cache(maxsize=1024)
def descriptions(traffic: tuple[Traffic, ...], versions: frozenset[int]) -> tuple[str, ...]:
    """Flow descriptions of all of it for a UE with addresses of these IP versions, aggregated, in a fixed order."""
    by_port: dict[int, list[Network]] = {}
    for one in traffic:
        for port in one.ports or (_EVERY,):
            by_port.setdefault(port, []).extend(one.networks)
    found: list[str] = []
    for port, networks in sorted(by_port.items()):
        said = None if port == _EVERY else port
        found += [description(network, said) for network in _collapsed(networks, versions)]
    return tuple(found)


def description(network: Network, port: int | None = None) -> str:
    """Of TCP from the port, or of every protocol."""
    told = f"ip from {network}" if port is None else f"{_TCP} from {network} {port}"
    return f"permit out {told} to assigned"


def checked(text: str) -> str:
    """Raises RefusedError when a stock UPF would not take it as it is meant."""
    match = _FORM.fullmatch(text)
    if match is None or not _sound(*match.groups()):
        raise RefusedError("a UPF would match everything by this filter", where=text)
    return text


def _sound(protocol: str, prefix: str, port: str | None) -> bool:
    """The prefix is one, and a port has its protocol."""
    try:
        ip_network(prefix)
    except ValueError:
        return False
    return port is None or (protocol != "ip" and 1 <= int(port) <= 65535)


def sdf_filter(text: str) -> Ie:
    """IE SDF Filter with a flow description alone. Raises RefusedError."""
    octets = checked(text).encode()
    return Ie(IeType.SDF_FILTER, b"\x01\x00" + len(octets).to_bytes(2, "big") + octets)


def chunks(filters: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """What goes into one PDR each."""
    return tuple(tuple(filters[at : at + MAX_FILTERS]) for at in range(0, len(filters), MAX_FILTERS))


@lru_cache(maxsize=4096)
def _means(ue: str, name: str) -> bool:
    if ue == name or _SUPI in {ue[:5], name[:5]}:
        return ue == name
    return _meet(ip_network(ue), ip_network(ue_of(ip_address(name))))


def _overlap(left: str, right: str) -> bool:
    if _SUPI in {left[:5], right[:5]}:
        return left == right
    return _meet(ip_network(left), ip_network(right))


def _meet(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def _collapsed(networks: Iterable[Network], versions: frozenset[int]) -> Iterable[Network]:
    if 4 in versions:
        yield from collapse_addresses(one for one in networks if isinstance(one, IPv4Network))
    if 6 in versions:
        yield from collapse_addresses(one for one in networks if isinstance(one, IPv6Network))
