"""Everything that arrives on one interface, from a ring that the kernel shares: packet(7), TPACKET_V3.

A block is handed over when it is full or 2 ms old, so one wake-up takes what came for all channels meanwhile; neither
reverse path filter nor ports matter, and the kernel's time of arrival stands beside each packet.
"""

from __future__ import annotations

import mmap
import socket
import struct
import time
from collections.abc import Callable, Mapping

BLOCK_BYTES, BLOCKS = 512 << 10, 128
"""64 MB: more than a second of 2 x 200 Mb/s."""
RETIRE_MS = 2
LAG_S = 0.012
"""What is older than this is in a block that was handed over, on kernels with a timer of 4 ms too."""

# linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h
_SOL_PACKET, _ETH_P_IP = 263, 0x0800
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_TPACKET_V3, _STATUS_USER = 2, 1
_FRAME_BYTES = 2048
_REQUEST = struct.Struct("=7I")
_BLOCK = struct.Struct("=4I")  # block_status, num_pkts, offset_to_first_pkt, blk_len
_BLOCK_AT, _FIRST_TIME_AT = 8, 32
_STATUS = struct.Struct("=I")
_TIME = struct.Struct("=II")
_PACKET = struct.Struct("=4I8xHH")  # tp_next_offset, tp_sec, tp_nsec, tp_snaplen; tp_mac, tp_net
_IP_UDP = struct.Struct("!B5xH1xB2x12sH")
"""Of a header without options: version and length, fragment, protocol, addresses and ports, UDP length."""
_HEADERS_BYTES = 28
_MORE_OR_OFFSET = 0x3FFF
_CLOCK_STEP_S = 30.0

Buffer = mmap.mmap | bytes
Key = bytes
"""Source and destination address, source and destination port, as they stand in the packet: 12 octets."""
Take = Callable[[Buffer, int, int, float], object]
"""Hears (ring, start and end of the datagram's content, arrival); the ring is the kernel's again when it returns."""


class Ring:
    """Raises OSError when there is no such interface, or no right to listen on it. `fileno` is readable when there is
    something to `read`."""

    def __init__(self, interface: str) -> None:
        self.index = socket.if_nametoindex(interface)
        self.packets = 0
        self.fragments = 0
        self.drops = 0
        self._block = 0
        # Protocol 0: nothing is received until it is bound, as else everything would be, from every interface.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            frames = BLOCK_BYTES // _FRAME_BYTES * BLOCKS
            request = _REQUEST.pack(BLOCK_BYTES, BLOCKS, _FRAME_BYTES, frames, RETIRE_MS, 0, 0)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            self._ring = mmap.mmap(self._socket.fileno(), BLOCK_BYTES * BLOCKS)
            self._socket.bind((interface, _ETH_P_IP))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self, find: Callable[[Key], Take | None]) -> int:
        """Hand every datagram that has been given over to whom `find` names for it, in the order of arrival; how many
        packets there were."""
        count, now = 0, time.monotonic()
        wall = time.time()
        known: dict[Key, Take | None] = {}
        for _ in range(BLOCKS):
            start = self._block * BLOCK_BYTES
            status, packets, first, _ = _BLOCK.unpack_from(self._ring, start + _BLOCK_AT)
            if not status & _STATUS_USER:
                break
            begun, fraction = _TIME.unpack_from(self._ring, start + _FIRST_TIME_AT)
            age = wall - (begun + fraction / 1e9)
            # A wall clock that was set between arrival and reading: then a block is as old as its reading.
            offset = wall - now if -1.0 < age < _CLOCK_STEP_S else begun + fraction / 1e9 - now
            self._walk(start + first, packets, offset, find, known)
            count += packets
            _STATUS.pack_into(self._ring, start + _BLOCK_AT, 0)
            self._block = (self._block + 1) % BLOCKS
        if not count:
            # A link that went down is told as an error, which keeps the socket readable until somebody asks for it.
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.packets += count
        return count

    def _walk(
        self,
        place: int,
        packets: int,
        offset: float,
        find: Callable[[Key], Take | None],
        known: dict[Key, Take | None],
    ) -> None:
        ring, packet_of, headers_of = self._ring, _PACKET.unpack_from, _IP_UDP.unpack_from
        for _ in range(packets):
            step, seconds, nanoseconds, size, mac, net = packet_of(ring, place)
            start = place + net
            if net + _HEADERS_BYTES > mac + size:
                place += step
                continue
            first, fragment, protocol, key, length = headers_of(ring, start)
            end = start + _HEADERS_BYTES - 8 + length
            if fragment & _MORE_OR_OFFSET:
                self.fragments += 1
            elif first == 0x45 and protocol == socket.IPPROTO_UDP and length >= 8 and end <= place + mac + size:
                if key in known:
                    take = known[key]
                else:
                    take = known[key] = find(key)
                if take is not None:
                    take(ring, start + _HEADERS_BYTES, end, seconds + nanoseconds / 1e9 - offset)
            place += step

    def lost(self) -> int:
        """Packets for which the ring had no room, since it was opened."""
        _, drops, _ = struct.unpack("=3I", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12))
        self.drops += drops
        return self.drops

    def close(self) -> None:
        self._ring.close()
        self._socket.close()


def finder(takes: Mapping[bytes, Take]) -> Callable[[Key], Take | None]:
    """Of a table by source address, group and port (10 octets)."""
    return lambda key: takes.get(key[:8] + key[10:])
