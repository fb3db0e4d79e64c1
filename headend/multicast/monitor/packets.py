"""From a ring's blocks to arrays: which packet is of which flow, when it came and where its payload lies. Pure.

All headers stand at multiples of four octets there (IPv4 begins at a multiple of sixteen), so they are fetched by the
word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import numpy as np

from headend.multicast.monitor.arrays import Flags, Ints, Words

_SECONDS, _NANOSECONDS, _CAPTURED, _LENGTH, _STATUS, _OFFSETS = 1, 2, 3, 4, 5, 6  # words of struct tpacket3_hdr
_UDP_HEADER = 8


@dataclass(frozen=True, slots=True)
class FlowKey:
    """`interface`: index of the only one it counts on; 0: any."""

    source: IPv4Address
    group: IPv4Address
    port: int
    interface: int = 0


@dataclass(frozen=True, slots=True)
class Packets:
    """One element for each packet, in the order of arrival. `flow`: index into the flows; `at_ns`: of arrival, since
    the epoch; `start`: word index of the UDP payload; `size`: its octets."""

    words: Words
    flow: Ints
    at_ns: Ints
    start: Ints
    size: Ints

    def __len__(self) -> int:
        return len(self.flow)

    def where(self, chosen: Flags | Ints | slice) -> Packets:
        return Packets(self.words, self.flow[chosen], self.at_ns[chosen], self.start[chosen], self.size[chosen])


class Classifier:
    """Tells the flow of a packet by (source, group, port). More than one flow of the same key: the last one has it."""

    def __init__(self, flows: Sequence[FlowKey]) -> None:
        keys = np.array([_key(flow) for flow in flows], np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._ports = np.array([flow.port for flow in flows], np.int64)[self._order]
        self._interfaces = np.array([flow.interface for flow in flows], np.int64)[self._order]

    def packets(self, words: Words, headers: Ints, interface: int) -> Packets:
        """Those of `headers` (as `ring.Blocks` has them) that are of a flow, and whole."""
        if not len(self._keys) or not len(headers):
            empty = np.empty(0, np.int64)
            return Packets(words, empty, empty, empty, empty)
        network = headers + (words[headers + _OFFSETS] >> np.uint32(18)).astype(np.int64)  # tp_net, in words
        transport = network + (big_endian(words, network) >> 24 & 0x0F)
        source, group = big_endian(words, network + 3), big_endian(words, network + 4)
        key = source.astype(np.uint64) << np.uint64(32) | group.astype(np.uint64)
        place = np.minimum(np.searchsorted(self._keys, key, side="right") - 1, len(self._keys) - 1)
        size = (big_endian(words, transport + 1) >> 16) - _UDP_HEADER
        ours = (self._keys[place] == key) & (self._ports[place] == big_endian(words, transport) & 0xFFFF)
        ours &= (self._interfaces[place] == 0) | (self._interfaces[place] == interface)
        end = (transport - headers) * 4 + _UDP_HEADER + size
        begin = (words[headers + _OFFSETS] & np.uint32(0xFFFF)).astype(np.int64)  # tp_mac
        ours &= (size >= 0) & (end - begin <= words[headers + _CAPTURED])
        if not ours.all():
            headers, transport, size, place = headers[ours], transport[ours], size[ours], place[ours]
        at_ns = words[headers + _SECONDS].astype(np.int64) * 1_000_000_000 + words[headers + _NANOSECONDS]
        return Packets(words, self._order[place], at_ns, transport + 2, size)


def big_endian(words: Words, index: Ints) -> Ints:
    """Words of packet content at `index`, as numbers. What a packet's own lengths would place beyond the memory is
    some other word: whoever asks looks at the lengths too."""
    return words.take(index, mode="clip").view(">u4").astype(np.int64)


def _key(flow: FlowKey) -> int:
    return int(flow.source) << 32 | int(flow.group)
