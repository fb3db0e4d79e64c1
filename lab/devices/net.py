"""UDP for devices: inputs that are drained at every tick, outputs that never wait."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33  # not in the socket module
_LARGEST = 2048
_AT_ONCE = 2000
_RETRY_S = 1.0
_TTL = 8


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`via`: the own address whose interface multicast uses; 0.0.0.0 leaves it to the routes."""

    address: IPv4Address
    port: int
    via: IPv4Address


class Inlet:
    """An input. A port that cannot be had is tried again; until then nothing comes in."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.failure = ""
        self._socket: socket.socket | None = None
        self._retry_at = 0.0

    def read(self, now: float) -> Iterator[bytes]:
        """What has come in, as it was sent; bounded."""
        if self._socket is None and now >= self._retry_at:
            self._open(now)
        if self._socket is None:
            return
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                yield self._socket.recv(_LARGEST)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self, now: float) -> None:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._prepare(opened)
        except OSError as error:
            opened.close()
            self.failure, self._retry_at = error.strerror or str(error), now + _RETRY_S
            return
        self.failure, self._socket = "", opened

    def _prepare(self, opened: socket.socket) -> None:
        opened.setblocking(False)
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        place = self.endpoint
        if place.address.is_multicast:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((str(place.address), place.port))
            group = struct.pack("!4s4s", place.address.packed, place.via.packed)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        else:
            opened.bind((str(place.address), place.port))


class Outlet:
    """An output. What the network does not take is lost, as on any wire."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._to = (str(endpoint.address), endpoint.port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        if endpoint.address.is_multicast:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, endpoint.via.packed)

    def send(self, datagram: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendto(datagram, self._to)

    def close(self) -> None:
        self._socket.close()
