"""Where copies of media come in: pairs of UDP ports, the second for RTCP, which is taken and left.

All of them are open from the start and for ever, target or not: which ports are bound is told to every user of the
box (/proc/net/udp), and stands in its support bundle. Those that nobody uses take nothing (a socket filter).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Final

_FREEBIND_4: Final = (socket.IPPROTO_IP, 15)
_FREEBIND_6: Final = (socket.IPPROTO_IPV6, 78)
_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_DROP_ALL: Final = ctypes.create_string_buffer(struct.pack("@HBBI", 0x06, 0, 0, 0))
"""BPF_RET | BPF_K, 0 octets."""
_PROGRAM: Final = struct.pack("@HP", 1, ctypes.addressof(_DROP_ALL))
_ROOM: Final = 4 << 20
_OTHERS: Final = 256
"""Descriptors of this process beside its ports, which it may have at two addresses."""
_TURN: Final = 64
_TIME: Final = struct.Struct("@qq")
_COUNT: Final = struct.Struct("@I")
_RTP: Final = 12

Sink = Callable[[int, bytes], None]
"""(nanoseconds since the epoch, RTP packet)."""


class _Sockets:
    """A port for RTP and the next one for RTCP; `dropped` is the kernel's count so far."""

    def __init__(self, address: str, port: int, *, late: bool) -> None:
        """Raises OSError."""
        self.port = port
        self.rtp = _bound(address, port, late=late)
        try:
            self.rtcp = _bound(address, port + 1, late=late)
        except OSError:
            self.rtp.close()
            raise
        self.dropped = 0

    def idle(self) -> None:
        """Nothing comes in any more, and what had is gone. Raises OSError."""
        for sock in (self.rtp, self.rtcp):
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.recv(1)

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()

    def open(self) -> None:
        for sock in (self.rtp, self.rtcp):
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


class Ports:
    """All pairs of a range, but those that somebody else has. `late`: the address may come to this machine later."""

    def __init__(self, address: str, ports: tuple[int, int], *, late: bool = False) -> None:
        """Raises OSError when none is free."""
        first, last = ports
        _allow(2 * (last - first + 1) + _OTHERS)
        self._free: deque[_Sockets] = deque()
        self._closed = False
        for port in range(first, last, 2):
            with contextlib.suppress(OSError):
                self._free.append(_Sockets(address, port, late=late))
        if not self._free:
            raise OSError("no pair of ports is free")
        for one in self._free:
            one.idle()

    def pair(self, source: tuple[str, int], sink: Sink) -> Pair:
        """Raises OSError when all are taken."""
        if not self._free:
            raise OSError("no pair of ports is free")
        sockets = self._free.popleft()
        sockets.open()
        return Pair(sockets, self._back, source, sink)

    def close(self) -> None:
        """What is in use is closed when it is given back."""
        self._closed = True
        for one in self._free:
            one.close()
        self._free.clear()

    def _back(self, sockets: _Sockets) -> None:
        if self._closed:
            sockets.close()
        else:
            self._free.append(sockets)


def _allow(descriptors: int) -> None:
    """As many as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors, hard), hard))


class Pair:
    """One stream of one party. `source`: address and port of the relay, from which alone anything is taken: a process
    that was killed may have left a subscription, whose copies go on to the port for a while."""

    def __init__(
        self, sockets: _Sockets, back: Callable[[_Sockets], None], source: tuple[str, int], sink: Sink
    ) -> None:
        self._sockets: _Sockets | None = sockets
        self._back, self._source, self._sink = back, source, sink
        self.port, self.packets = sockets.port, 0
        self._told = sockets.dropped
        loop = asyncio.get_running_loop()
        loop.add_reader(sockets.rtp, self._read, sockets)
        loop.add_reader(sockets.rtcp, self._skip, sockets)

    def _read(self, sockets: _Sockets) -> None:
        for _ in range(_TURN):
            try:
                data, extra, _, sender = sockets.rtp.recvmsg(65536, 128)
            except OSError:
                return
            at = time.time_ns()
            for level, kind, value in extra:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= _TIME.size:
                    seconds, rest = _TIME.unpack_from(value)
                    at = seconds * 1_000_000_000 + rest
                elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(value) >= _COUNT.size:
                    (sockets.dropped,) = _COUNT.unpack_from(value)
            if sender[:2] == self._source and len(data) >= _RTP and data[0] >> 6 == 2:
                self.packets += 1
                self._sink(at, data)

    @staticmethod
    def _skip(sockets: _Sockets) -> None:
        with contextlib.suppress(OSError):
            sockets.rtcp.recv(2048)

    def read(self) -> None:
        """What has come until now is handed on."""
        if self._sockets is not None:
            self._read(self._sockets)

    def drops(self) -> int:
        """Of the kernel, since it was asked last."""
        dropped = self._sockets.dropped if self._sockets is not None else self._told
        found, self._told = (dropped - self._told) & 0xFFFFFFFF, dropped
        return found

    def close(self) -> None:
        sockets, self._sockets = self._sockets, None
        if sockets is None:
            return
        loop = asyncio.get_running_loop()
        for one in (sockets.rtp, sockets.rtcp):
            loop.remove_reader(one)
        sockets.idle()
        self._back(sockets)


def _bound(address: str, port: int, *, late: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        if late:
            sock.setsockopt(*(_FREEBIND_6 if family == socket.AF_INET6 else _FREEBIND_4), 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
