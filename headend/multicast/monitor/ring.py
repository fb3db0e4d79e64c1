"""A TPACKET_V3 ring on one interface (packet(7), linux/if_packet.h): packets come by the block, without a copy."""

from __future__ import annotations

import contextlib
import mmap
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from headend.multicast.monitor.arrays import Ints, Words
from headend.multicast.monitor.attach import attach_filter
from headend.multicast.monitor.filter import program

BLOCKS = 64
"""The kernel hands a block over when it is full, and every 20 ms: so all of them last more than a second."""
_LEAST_BYTES, MOST_BYTES = 1 << 16, 1 << 20
_RETIRE_MS = 20

_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 263, 5, 6, 10
_PACKET_ADD_MEMBERSHIP, _ALL_MULTICAST = 1, 2
_MEMBERSHIP = struct.Struct("=iHH8x")  # struct packet_mreq
_ETH_P_IP, _TPACKET_V3, _TO_USER = 0x0800, 2, 1
_REQUEST = struct.Struct("=7I")  # struct tpacket_req3
_STATISTICS = struct.Struct("=3I")  # struct tpacket_stats_v3
_FRAME_BYTES = 2048
_SHORT_RUN, _LINKS = 8, 64
_STATUS, _COUNT, _FIRST = 2, 3, 4  # words of struct tpacket_block_desc


@dataclass(frozen=True, slots=True)
class Blocks:
    """What the kernel has handed over: `headers` are the word indexes of the packets' struct tpacket3_hdr."""

    words: Words
    headers: Ints


class Ring:
    """Raises OSError when the interface is not there or the memory cannot be had. `dropped`: packets that came while
    the ring was full."""

    def __init__(self, interface: str, groups: Sequence[int], block_bytes: int = MOST_BYTES) -> None:
        self.interface = interface
        self.index = socket.if_nametoindex(interface)
        self.dropped = 0
        self._block_words = block_bytes // 4
        self._next = 0
        self._held: list[int] = []
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # deaf until it is bound
        try:
            attach_filter(self._socket, program(groups))
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            frames = block_bytes * BLOCKS // _FRAME_BYTES
            request = _REQUEST.pack(block_bytes, BLOCKS, _FRAME_BYTES, frames, _RETIRE_MS, 0, 0)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            self._memory = mmap.mmap(self._socket.fileno(), block_bytes * BLOCKS, mmap.MAP_SHARED)
            self._socket.bind((interface, _ETH_P_IP))
            # Also where no routing daemon has made the interface take all multicast.
            self._socket.setsockopt(
                _SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _MEMBERSHIP.pack(self.index, _ALL_MULTICAST, 0)
            )
        except OSError:
            self._socket.close()
            raise
        self._words: Words = np.frombuffer(self._memory, np.uint32)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> Blocks | None:
        """Every block that is full or old enough, at once; None when there is none. `release` gives them back."""
        found: list[Ints] = []
        while len(self._held) < BLOCKS:
            start = self._next * self._block_words
            if not self._words[start + _STATUS] & _TO_USER:
                break
            count, first = int(self._words[start + _COUNT]), int(self._words[start + _FIRST])
            found.append(packet_headers(self._words, start + first // 4, count))
            self._held.append(start)
            self._next = (self._next + 1) % BLOCKS
        return Blocks(self._words, np.concatenate(found)) if found else None

    def release(self) -> None:
        for start in self._held:
            self._words[start + _STATUS] = 0
        self._held.clear()

    def count_drops(self) -> int:
        """`dropped` as it is now."""
        data = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self.dropped += int(_STATISTICS.unpack(data)[1])  # reading sets it to zero
        return self.dropped

    def close(self) -> None:
        del self._words
        with contextlib.suppress(BufferError):  # a batch still looks at it: it goes with that
            self._memory.close()
        self._socket.close()


def block_bytes_for(rate_bps: int) -> int:
    """So that the ring holds half a second of `rate_bps` at twice that rate, headers too, up to 64 MiB: so long the
    process may be kept from running."""
    wanted = rate_bps * 5 // 4 // 8 // BLOCKS
    return min(MOST_BYTES, max(_LEAST_BYTES, 1 << wanted.bit_length()))


def packet_headers(words: Words, first: int, count: int) -> Ints:
    """Word indexes of `count` packets that are chained from `first` on (tp_next_offset).

    Packets of one size follow each other at one distance: a run of them is found at one stroke. Where runs are short,
    the chain is followed link by link for a while.
    """
    found = np.empty(count, np.int64)
    plain = words.data
    done, at, links = 0, first, 0
    while done < count:
        step, run, last = plain[at] // 4, 1, at
        if links > 0 or step <= 0:
            found[done] = at
            links -= 1
        else:
            room = min(count - done, (len(plain) - 1 - at) // step + 1)
            guess = at + step * np.arange(room, dtype=np.int64)
            other = np.flatnonzero(words[guess] != step * 4)
            run = int(other[0]) + 1 if len(other) else room  # the first that leads elsewhere is still right itself
            found[done : done + run] = guess[:run]
            last = int(guess[run - 1])
            links = _LINKS if run < _SHORT_RUN else 0
        done += run
        step = plain[last] // 4
        if step <= 0 or last + step >= len(plain):
            return found[:done]
        at = last + step
    return found
