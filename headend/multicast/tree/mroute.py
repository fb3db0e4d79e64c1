"""The kernel's multicast routing cache, `/proc/net/ip_mr_cache` (Linux net/ipv4/ipmr.c). Pure."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address

# Group and origin are network-order words printed as numbers of the machine; only resolved entries have counters.
_ENTRY = re.compile(
    r"^([0-9A-Fa-f]{8})\s+([0-9A-Fa-f]{8})\s+(-?\d{1,5})\s+(\d{1,20})\s+(\d{1,20})\s+(\d{1,20})((?:\s+\d+:\d+)*)\s*$",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class MulticastRoute:
    """Counters since the entry was made. `packets` and `octets` (IP) count every arrival, `wrong_if` those among them
    that came in where they should not and were dropped. `outputs`: virtual interfaces it goes out on; `input`: the one
    it is to come in on."""

    source: str
    group: str
    packets: int
    octets: int
    wrong_if: int
    outputs: tuple[int, ...]
    input: int = -1

    @property
    def wanted(self) -> bool:
        """Somebody downstream asks for it. Without an output the kernel only counts what it throws away."""
        return bool(self.outputs)

    @property
    def forwarded(self) -> int:
        """Packets that arrived on the right interface."""
        return max(0, self.packets - self.wrong_if)


def parse_ip_mr_cache(text: str) -> dict[tuple[str, str], MulticastRoute]:
    """(source, group) -> route. Lines that are no resolved entry are left out, the heading among them."""
    routes: dict[tuple[str, str], MulticastRoute] = {}
    for line in text.splitlines():
        match = _ENTRY.match(line)
        if match is None:
            continue
        group, source = _address(match[1]), _address(match[2])
        outputs = tuple(int(part.partition(":")[0]) for part in match[7].split())
        routes[source, group] = MulticastRoute(
            source, group, int(match[4]), int(match[5]), int(match[6]), outputs, int(match[3])
        )
    return routes


def _address(text: str) -> str:
    return str(IPv4Address(int.from_bytes(bytes.fromhex(text), sys.byteorder)))
