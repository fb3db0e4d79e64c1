"""Routes to single hosts in the main table, known as ours by their protocol number: rtnetlink(7).

zebra takes them in as kernel routes, which it prefers to all of OSPF, and pimd follows zebra's way to a source.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

from headend.multicast.route import attributes_of

PROTOCOL = 0x4E
"""rtm_protocol of our routes; the same number marks our addresses. None of iproute2's or FRR's is this."""

_NEWROUTE, _DELROUTE, _GETROUTE, _ERROR, _DONE = 24, 25, 26, 2, 3
_REQUEST, _ACK, _DUMP, _REPLACE, _CREATE = 0x1, 0x4, 0x300, 0x100, 0x400
_DST, _GATEWAY = 1, 5
_MAIN, _UNIVERSE, _UNICAST = 254, 0, 1
_FIB_MATCH = 0x2000
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_TIMEOUT_S = 1.0
_GONE = (errno.ESRCH, errno.ENETUNREACH, errno.ENODEV)


def lead(source: IPv4Address, via: IPv4Address) -> None:
    """The way to `source` is by the neighbour `via` from now on. Raises OSError, as when it is no neighbour."""
    _ask(_NEWROUTE, _REQUEST | _ACK | _CREATE | _REPLACE, _message(source, via))


def release(source: IPv4Address) -> bool:
    """The way to `source` is the routing protocol's again; whether it was not already. Raises OSError."""
    try:
        _ask(_DELROUTE, _REQUEST | _ACK, _message(source, None))
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return False
    return True


def stands(source: IPv4Address, via: IPv4Address) -> bool:
    """Whether the kernel goes by our route: it takes one away with its interface. Raises OSError."""
    body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, _FIB_MATCH) + _ATTRIBUTE.pack(8, _DST) + source.packed
    with _open() as sock:
        sock.send(_HEADER.pack(_HEADER.size + len(body), _GETROUTE, _REQUEST, 1, 0) + body)
        return any(_own(message).get(source) == via for _, message in messages(sock.recv(1 << 16)))


def ours() -> dict[IPv4Address, IPv4Address]:
    """Source -> neighbour, of every route of ours. Raises OSError."""
    body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    found: dict[IPv4Address, IPv4Address] = {}
    with _open() as sock:
        sock.send(_HEADER.pack(_HEADER.size + len(body), _GETROUTE, _REQUEST | _DUMP, 1, 0) + body)
        while True:
            for kind, message in messages(sock.recv(1 << 18)):
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    _raise(message)
                found.update(_own(message))


def release_all() -> None:
    """Also those that an earlier life of the process left behind. Raises OSError."""
    for source in ours():
        release(source)


def _own(message: bytes) -> dict[IPv4Address, IPv4Address]:
    if len(message) < _ROUTE.size:
        return {}
    family, length, _, _, table, protocol, *_ = _ROUTE.unpack_from(message)
    if (family, length, table, protocol) != (socket.AF_INET, 32, _MAIN, PROTOCOL):
        return {}
    values = dict(attributes_of(message[_ROUTE.size :]))
    if len(values.get(_DST, b"")) != 4 or len(values.get(_GATEWAY, b"")) != 4:
        return {}
    return {IPv4Address(values[_DST]): IPv4Address(values[_GATEWAY])}


def _message(source: IPv4Address, via: IPv4Address | None) -> bytes:
    body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, _MAIN, PROTOCOL, _UNIVERSE, _UNICAST, 0)
    body += _ATTRIBUTE.pack(8, _DST) + source.packed
    return body if via is None else body + _ATTRIBUTE.pack(8, _GATEWAY) + via.packed


def _ask(kind: int, flags: int, body: bytes) -> None:
    with _open() as sock:
        sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        for answer, message in messages(sock.recv(1 << 16)):
            if answer == _ERROR:
                _raise(message)


def _raise(message: bytes) -> None:
    number = -struct.unpack_from("=i", message)[0] if len(message) >= 4 else errno.EIO
    if number:
        raise OSError(number, os.strerror(number))


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of each netlink message in `data`; what is cut off is left out."""
    place = 0
    while place + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, place)
        if size < _HEADER.size or place + size > len(data):
            return
        yield kind, data[place + _HEADER.size : place + size]
        place += (size + 3) & ~3


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.settimeout(_TIMEOUT_S)
    return sock
