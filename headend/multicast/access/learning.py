"""Who watches already at a port without a bridge, when its limits come into force: the hosts are asked.

A host reports by itself only when it joins or leaves, and else answers the router's general question, which comes every
10 s and may be answered 10 s later (RFC 3376 sections 8.2, 8.3). So a port that is new to the follower asks for itself,
as the router, and wants the answers within a second.
"""

from __future__ import annotations

import fcntl
import socket
import struct

from headend.multicast.igmp import ALL_SYSTEMS, Query, build_query
from headend.multicast.ipv4 import IGMP, ROUTER_ALERT, build

RESPONSE_S = 1.0
QUESTIONS = 2
"""The robustness of section 8.1: one of them, or of the answers, may be lost."""
PATIENCE_S = 0.5
"""After the last moment at which a host may answer."""

_QUESTION = Query(response_s=RESPONSE_S, interval_s=10)
_SIOCGIFADDR = 0x8915
_ETH_P_IP = 0x0800
_ALL_SYSTEMS_MAC = bytes.fromhex("01005e000001")


class Learning:
    """When to ask the hosts of a port, and when all of them have had the time to answer. Pure."""

    def __init__(self) -> None:
        self._asked = 0
        self._last_at = 0.0

    def due(self, now: float) -> bool:
        """A question is to be asked; `asked` says that it was."""
        return self._asked < QUESTIONS and (not self._asked or now >= self._last_at + RESPONSE_S)

    def asked(self, now: float) -> None:
        self._asked, self._last_at = self._asked + 1, now

    def over(self, now: float) -> bool:
        return self._asked >= QUESTIONS and now >= self._last_at + RESPONSE_S + PATIENCE_S


def ask_hosts(tap: socket.socket, interface: str) -> None:
    """A general query from the interface's own address, past the router's own IP stack. Raises OSError."""
    packet = build(_address(interface), ALL_SYSTEMS, IGMP, build_query(_QUESTION), options=ROUTER_ALERT, tos=0xC0)
    tap.sendto(packet, (interface, _ETH_P_IP, 0, 0, _ALL_SYSTEMS_MAC))


def _address(interface: str) -> int:
    """0 (RFC 4541 section 2.1.1) while it has none. Raises OSError when there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            told = fcntl.ioctl(sock, _SIOCGIFADDR, struct.pack("16s16x8x", interface.encode()))
        except OSError:
            socket.if_nametoindex(interface)
            return 0
    return int.from_bytes(told[20:24], "big")
