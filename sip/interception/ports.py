"""Where copies of media come in: pairs of UDP ports, the second for RTCP, which is taken and left."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_ROOM: Final = 4 << 20
_TURN: Final = 64
_TIME: Final = struct.Struct("@qq")
_COUNT: Final = struct.Struct("@I")
_RTP: Final = 12

Sink = Callable[[int, bytes], None]
"""(nanoseconds since the epoch, RTP packet)."""


class Pair:
    """One stream of one party. `source`: the relay, from which alone anything is taken."""

    def __init__(self, address: str, ports: tuple[int, int], taken: set[int], source: str, sink: Sink) -> None:
        """Raises OSError when no pair is free. `taken`: ports in use, shared by all pairs."""
        self._source, self._sink, self._taken = source, sink, taken
        self.packets = 0
        self._dropped = 0
        self._told = 0
        for port in range(ports[0], ports[1], 2):
            if port in taken:
                continue
            with contextlib.suppress(OSError):
                self._rtp, self._rtcp = _bound(address, port), None
                try:
                    self._rtcp = _bound(address, port + 1)
                except OSError:
                    self._rtp.close()
                    raise
                break
        else:
            raise OSError("no pair of ports is free")
        self.port = port
        taken.add(port)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._rtp, self._read)
        loop.add_reader(self._rtcp, self._skip)

    def _read(self) -> None:
        for _ in range(_TURN):
            try:
                data, extra, _, sender = self._rtp.recvmsg(65536, 128)
            except OSError:
                return
            at = time.time_ns()
            for level, kind, value in extra:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= _TIME.size:
                    seconds, rest = _TIME.unpack_from(value)
                    at = seconds * 1_000_000_000 + rest
                elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(value) >= _COUNT.size:
                    (self._dropped,) = _COUNT.unpack_from(value)
            if sender[0] == self._source and len(data) >= _RTP and data[0] >> 6 == 2:
                self.packets += 1
                self._sink(at, data)

    def _skip(self) -> None:
        if self._rtcp is not None:
            with contextlib.suppress(OSError):
                self._rtcp.recv(2048)

    def drops(self) -> int:
        """Of the kernel, since it was asked last."""
        found, self._told = (self._dropped - self._told) & 0xFFFFFFFF, self._dropped
        return found

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for one in (self._rtp, self._rtcp):
            if one is not None:
                loop.remove_reader(one)
                one.close()
        self._taken.discard(self.port)


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
