"""Service data flows as the recorded UPF takes them: `permit out PROTO from WHERE [PORTS] to WHERE [PORTS]`.

What is written is the downlink's view (TS 29.212 clause 5.4.2); for packets of the access it is turned round. What the
UPF cannot read it drops without a word, and a PDR that loses all its filters so matches every packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

FILTERS_KEPT = 8
"""Of one PDR; further ones are lost without a cause."""

_PROTOCOLS = {"ip": None, "icmp": 1, "tcp": 6, "udp": 17}
_ANYWHERE = ("any", "assigned")
_PORTED = (6, 17, 132)


class SdfError(Exception):
    """A flow description that the recorded UPF would drop."""


@dataclass(frozen=True, slots=True)
class End:
    """`bits`, `mask`: of a prefix, as numbers; `mask` 0 is anywhere. `ports`: first and last."""

    bits: int = 0
    mask: int = 0
    ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """`version` 0: either IP version. `source` is the far end: packets of the downlink come from it."""

    version: int
    protocol: int | None
    source: End
    destination: End

    def matches(self, packet: bytes, *, uplink: bool) -> bool:
        version = packet[0] >> 4
        if self.version not in (0, version):
            return False
        if version == 4:
            protocol, addresses, size, at = packet[9], 12, 4, (packet[0] & 15) * 4
        else:
            protocol, addresses, size, at = packet[6], 8, 16, 40
        if self.protocol is not None and protocol != self.protocol:
            return False
        near, far = (self.source, self.destination) if not uplink else (self.destination, self.source)
        middle = addresses + size
        inside = not near.mask or int.from_bytes(packet[addresses:middle]) & near.mask == near.bits
        if not inside or (far.mask and int.from_bytes(packet[middle : middle + size]) & far.mask != far.bits):
            return False
        if near.ports or far.ports:
            if protocol not in _PORTED or len(packet) < at + 4:
                return False
            return _within(packet[at : at + 2], near.ports) and _within(packet[at + 2 : at + 4], far.ports)
        return True


def _within(port: bytes, ports: tuple[int, int] | None) -> bool:
    return ports is None or ports[0] <= int.from_bytes(port) <= ports[1]


def parse(text: str) -> Flow:
    """Raises SdfError."""
    words = text.split()
    if words[:2] != ["permit", "out"] or len(words) < 7 or words[3] != "from" or "to" not in words[5:]:
        raise SdfError(text)
    protocol = _PROTOCOLS[words[2]] if words[2] in _PROTOCOLS else _whole(words[2], 255)
    turn = words.index("to", 5)
    first_version, source = _end(words[4:turn])
    second_version, destination = _end(words[turn + 1 :])
    if first_version and second_version and first_version != second_version:
        raise SdfError(text)
    return Flow(first_version or second_version, protocol, source, destination)


def _end(words: list[str]) -> tuple[int, End]:
    if not 1 <= len(words) <= 2:
        raise SdfError(" ".join(words))
    ports = _ports(words[1]) if len(words) == 2 else None
    if words[0] in _ANYWHERE:
        return 0, End(ports=ports)
    try:
        network = ip_network(words[0], strict=False)
    except ValueError as error:
        raise SdfError(words[0]) from error
    return network.version, End(int(network.network_address), int(network.netmask), ports)


def _ports(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    first = _whole(low, 65535)
    return first, _whole(high, 65535) if dash else first


def _whole(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise SdfError(text)
    return int(text)


@dataclass(frozen=True, slots=True)
class Filter:
    """An SDF filter (TS 29.244 clause 8.2.5): a description, an id that others refer to, or both."""

    description: str | None
    id: int | None


def filter_of(value: bytes) -> Filter:
    """Raises SdfError for one that is cut short."""
    if len(value) < 2:
        raise SdfError("cut short")
    flags, at, description, number = value[0], 2, None, None
    if flags & 0x01:
        length = int.from_bytes(value[at : at + 2])
        description = value[at + 2 : at + 2 + length].decode("ascii", "replace")
        at += 2 + length
    at += (2 if flags & 0x02 else 0) + (4 if flags & 0x04 else 0) + (3 if flags & 0x08 else 0)
    if flags & 0x10 and len(value) >= at + 4:
        number = int.from_bytes(value[at : at + 4])
    return Filter(description, number)
