"""A multicast routing table filled by hand: what a routing daemon would do, for tests and benchmarks. Needs root and
a network namespace without a routing daemon."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address

_MRT_INIT, _MRT_DONE, _MRT_ADD_VIF, _MRT_ADD_MFC, _MRT_DEL_MFC = 200, 201, 202, 204, 205
_VIFF_USE_IFINDEX = 8
_MAX_VIFS = 32


class Cache:
    """Virtual interface n is the n-th of the names given."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def add(self, source: str, group: str, parent: int = 0, outputs: Sequence[int] = (1,)) -> None:
        self._change(_MRT_ADD_MFC, source, group, parent, outputs)

    def remove(self, source: str, group: str) -> None:
        self._change(_MRT_DEL_MFC, source, group, 0, ())

    def _change(self, option: int, source: str, group: str, parent: int, outputs: Sequence[int]) -> None:
        thresholds = bytes(1 if vif in outputs else 0 for vif in range(_MAX_VIFS))
        addresses = IPv4Address(source).packed + IPv4Address(group).packed
        entry = addresses + struct.pack("=H32sxxIIIi", parent, thresholds, 0, 0, 0, 0)
        self._socket.setsockopt(socket.IPPROTO_IP, option, entry)


@contextmanager
def cache(interfaces: Sequence[str]) -> Iterator[Cache]:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
        sock.setsockopt(socket.IPPROTO_IP, _MRT_INIT, 1)
        for number, name in enumerate(interfaces):
            vif = struct.pack("=HBBIi4s", number, _VIFF_USE_IFINDEX, 1, 0, socket.if_nametoindex(name), bytes(4))
            sock.setsockopt(socket.IPPROTO_IP, _MRT_ADD_VIF, vif)
        yield Cache(sock)
        sock.setsockopt(socket.IPPROTO_IP, _MRT_DONE, 0)
