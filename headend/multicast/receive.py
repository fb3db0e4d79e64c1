"""UDP sockets that take in transport streams without loss on a busy machine."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import IPv4Address

RECEIVE_BUFFER_BYTES = 4 << 20
MAX_DATAGRAM_BYTES = 65_536
_DRAIN_LIMIT = 512
_ANCILLARY_BYTES = 64
_TIMESPEC = struct.Struct("qq")
_CLOCK_STEP_S = 30.0  # beyond what the buffer can hold back: the wall clock was set

# Linux values that the socket module does not name (linux/in.h, asm-generic/socket.h).
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
IP_ADD_SOURCE_MEMBERSHIP = 39
IP_DROP_SOURCE_MEMBERSHIP = 40
IP_MULTICAST_ALL = 49


def open_receiver(address: str, port: int, *, shared: bool = False) -> socket.socket:
    """A non-blocking UDP socket bound to `address`:`port` with 4 MB of buffer. `shared`: others may bind it too.

    Raises OSError.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def drain(sock: socket.socket, now: float, take: Callable[[bytes, float], None]) -> int:
    """Hand every datagram that waits, with the time of its arrival, to `take`, in order; how many.

    Ends at a limit that leaves the event loop its turn. `now` is a monotonic clock at this moment; arrivals are on
    the same clock and come from the kernel, so that a late turn of this process does not look like a late packet.
    """
    wall = time.time()
    for count in range(_DRAIN_LIMIT):
        try:
            datagram, ancillary, _, _ = sock.recvmsg(MAX_DATAGRAM_BYTES, _ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return count
        except OSError as error:
            # A link that went down is reported once on the socket; the stream may go on.
            if error.errno in (errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED):
                continue
            raise
        waited = wall - _stamp(ancillary, wall)
        take(datagram, now - waited if -_CLOCK_STEP_S < waited < _CLOCK_STEP_S else now)
    return _DRAIN_LIMIT


def _stamp(ancillary: list[tuple[int, int, bytes]], otherwise: float) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return otherwise


def _membership(group: IPv4Address, interface: IPv4Address, source: IPv4Address) -> bytes:
    return group.packed + interface.packed + source.packed  # struct ip_mreq_source, ip(7)


def join_source(sock: socket.socket, group: IPv4Address, source: IPv4Address, interface: IPv4Address) -> None:
    """Ask for (source, group) on the interface that has the address `interface`: IGMPv3, RFC 3376 and RFC 4607.

    Only this source is then delivered to this socket. Raises OSError when no interface has the address.
    """
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
    sock.setsockopt(socket.IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, _membership(group, interface, source))


def leave_source(sock: socket.socket, group: IPv4Address, source: IPv4Address, interface: IPv4Address) -> None:
    """Take back `join_source`; nothing when the interface is gone."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, _membership(group, interface, source))


def open_sender(source: IPv4Address, ttl: int = 32) -> socket.socket:
    """A socket that sends multicast from `source`, by its interface, not looped back. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind((str(source), 0))
        bind_to_interface(sock, source)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    except OSError:
        sock.close()
        raise
    return sock


def bind_to_interface(sock: socket.socket, source: IPv4Address) -> None:
    """Send multicast by the interface that has the address `source` now: the kernel keeps that interface's index,
    which no longer leads anywhere once the interface was removed and made anew. Raises OSError when none has it."""
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, source.packed)
