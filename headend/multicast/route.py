"""By which interfaces the kernel would send to an address: there a source's multicast comes from (RFC 7761 RPF)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

# linux/netlink.h, linux/rtnetlink.h
_RTM_GETROUTE, _NLMSG_ERROR, _NLM_F_REQUEST, _RTM_F_FIB_MATCH = 26, 2, 1, 0x2000
_RTA_DST, _RTA_OIF, _RTA_MULTIPATH = 1, 4, 9
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_NEXT_HOP = struct.Struct("=HBBi")
# linux/in.h: struct group_source_req, with alignment of 64-bit machines.
_MCAST_JOIN_SOURCE_GROUP, _MCAST_LEAVE_SOURCE_GROUP = 46, 47
_STORAGE_BYTES = 128


def interfaces_towards(address: IPv4Address) -> frozenset[int]:
    """Interface numbers of all next hops, equal-cost ones too; empty when there is no route. Raises OSError."""
    body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
    body += _ATTRIBUTE.pack(8, _RTA_DST) + address.packed
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(1.0)
        sock.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body)
        answer = sock.recv(65_536)
    return parse_answer(answer)


def parse_answer(answer: bytes) -> frozenset[int]:
    """Of an RTM_GETROUTE. Raises OSError for the kernel's errors other than that there is no route."""
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ESRCH):
            return frozenset()
        raise OSError(number, os.strerror(number))
    found: set[int] = set()
    for attribute, value in attributes_of(answer[_HEADER.size + _ROUTE.size :]):
        if attribute == _RTA_OIF:
            found.add(struct.unpack("=I", value)[0])
        elif attribute == _RTA_MULTIPATH:
            found.update(_next_hops(value))
    return frozenset(found)


def attributes_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each attribute in `data`."""
    place = 0
    while place + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, place)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[place + _ATTRIBUTE.size : place + size]
        place += (size + 3) & ~3


def _next_hops(data: bytes) -> Iterator[int]:
    place = 0
    while place + _NEXT_HOP.size <= len(data):
        size, _, _, number = _NEXT_HOP.unpack_from(data, place)
        if size < _NEXT_HOP.size:
            return
        yield number
        place += (size + 3) & ~3


def join_source_by(
    sock: socket.socket, group: IPv4Address, source: IPv4Address, interface: int, *, leave: bool = False
) -> None:
    """(source, group) on the interface of that number; only what comes in there is then delivered. RFC 3678 clause
    5.1.2. `leave`: take it back, no matter whether it was there. Raises OSError."""
    request = struct.pack("=I4x", interface) + _storage(group) + _storage(source)
    if not leave:
        sock.setsockopt(socket.IPPROTO_IP, _MCAST_JOIN_SOURCE_GROUP, request)
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_IP, _MCAST_LEAVE_SOURCE_GROUP, request)


def _storage(address: IPv4Address) -> bytes:
    return (struct.pack("=HH", socket.AF_INET, 0) + address.packed).ljust(_STORAGE_BYTES, b"\0")
