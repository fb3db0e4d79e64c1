"""Reads the kernel's multicast routes, and hears of their changes, over rtnetlink sockets of the calling thread's
network namespace. A dump of 2,000 routes takes some milliseconds, so it needs no thread of its own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Self

from headend.multicast.tree.mroute import RTNLGRP_IPV4_MROUTE, MulticastRoute, RouteChange, decode, dump_request
from nf.errors import DriverError

_DATAGRAM_BYTES = 1 << 17
_TIMEOUT_S = 5.0
_TRIES = 3
_EVENT_BUFFER_BYTES = 8 << 20
"""Holds some 20,000 changes that nobody has fetched yet."""
_SO_RCVBUFFORCE = 33
_ABSENT = frozenset({errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT})

Routes = dict[tuple[str, str], MulticastRoute]
"""(source, group) -> route."""


def dump_routes() -> Routes:
    """Every multicast route with its counters; empty while no multicast routing daemon runs, or with a kernel that
    has none. Raises DriverError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_TIMEOUT_S)
        routes: Routes = {}
        for sequence in range(1, _TRIES + 1):
            routes, torn = _dump(sock, sequence)
            if not torn:
                break
        return routes  # after three changes in the midst of a dump: what is there is still right


def _dump(sock: socket.socket, sequence: int) -> tuple[Routes, bool]:
    routes: Routes = {}
    torn = False
    try:
        sock.send(dump_request(sequence))
        while True:
            for message in decode(sock.recv(_DATAGRAM_BYTES)):
                torn |= message.torn
                if message.change is not None:
                    route = message.change.route
                    routes[route.source, route.group] = route
                elif message.error and message.error not in _ABSENT:
                    raise DriverError(
                        f"the kernel does not tell its multicast routes: {os.strerror(message.error)}",
                        where="rtnetlink",
                    )
                elif message.done or message.error:
                    return routes, torn
    except OSError as error:
        raise DriverError(f"the kernel's multicast routes cannot be read: {error}", where="rtnetlink") from error


class RouteEvents:
    """Changes of the multicast routes as the kernel makes them, such as a join's new output. `fileno` is readable
    when `take` has something; as a context manager it is closed at the end. Raises OSError when it cannot be had."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _EVENT_BUFFER_BYTES)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER_BYTES)
        self._socket.setblocking(False)
        self._socket.bind((0, 1 << (RTNLGRP_IPV4_MROUTE - 1)))
        self.overruns = 0
        """How often changes were lost because nobody fetched them: dump anew when it grows."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> Iterator[RouteChange]:
        """What waits, in order; does not block."""
        while True:
            try:
                data = self._socket.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1
                continue
            for message in decode(data):
                if message.change is not None:
                    yield message.change

    def close(self) -> None:
        self._socket.close()
