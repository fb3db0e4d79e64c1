"""Counts one flow's packets where they pass an interface, by a socket filter in the kernel: packet(7).

Nothing is read: the socket has no room, so that every packet that passes the filter is counted as dropped, and costs
hardly more than that. Incoming packets are seen before any filter of the interface, outgoing ones behind it.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address
from typing import Literal, Self

from headend.multicast.monitor.attach import attach_filter
from headend.multicast.monitor.filter import Instruction

_SOL_PACKET, _PACKET_STATISTICS, _ETH_P_ALL = 263, 6, 0x0003
_STATISTICS = struct.Struct("=2I")  # struct tpacket_stats: packets, drops included; drops
_LOAD_BYTE, _LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x30, 0x20, 0x15, 0x06
_PROTOCOL, _SOURCE, _DESTINATION, _UDP = 9, 12, 16, 17  # in the IPv4 header
_PACKET_TYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
_OUTGOING = 4  # PACKET_OUTGOING


def program(source: IPv4Address, group: IPv4Address, direction: Literal["in", "out"]) -> tuple[Instruction, ...]:
    """UDP from `source` to `group` in one direction; of the network header on."""
    outgoing = direction == "out"
    return (
        Instruction(_LOAD_WORD, value=_DESTINATION),
        Instruction(_JUMP_EQUAL, 0, 7, int(group)),
        Instruction(_LOAD_WORD, value=_SOURCE),
        Instruction(_JUMP_EQUAL, 0, 5, int(source)),
        Instruction(_LOAD_BYTE, value=_PROTOCOL),
        Instruction(_JUMP_EQUAL, 0, 3, _UDP),
        Instruction(_LOAD_BYTE, value=_PACKET_TYPE),
        Instruction(_JUMP_EQUAL, 0 if outgoing else 1, 1 if outgoing else 0, _OUTGOING),
        Instruction(_RETURN, value=1),
        Instruction(_RETURN),
    )


class Tap:
    """Raises OSError when the interface is not there."""

    def __init__(
        self, interface: str, direction: Literal["in", "out"], source: IPv4Address, group: IPv4Address
    ) -> None:
        self.interface = interface
        self.direction: Literal["in", "out"] = direction
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            attach_filter(self._socket, program(source, group, direction))
            self._socket.bind((interface, _ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise

    def count(self) -> int:
        """Packets since the last call, or since it was made."""
        data = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        return int(_STATISTICS.unpack(data)[0])

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
