"""Copies of packets off an interface: a packet socket (packet(7)) with a filter in the kernel.

Why a packet socket, and not nft's `dup` or NFLOG: a rule stands in a table that everybody who may list tables sees,
and a copy that a rule could not send is counted nowhere. A packet socket is there whether anybody is a target or not,
its filter is seen by none but who may read the kernel's sockets, the packet goes its way before and after as it would
without it, and the kernel counts what did not fit into the socket's buffer.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from core5g.observation.filters import NOTHING, Instruction, assembled

_ETH_P_ALL: Final = 3
_OUTGOING: Final = 4  # PACKET_OUTGOING
_SOL_PACKET: Final = 263
_STATISTICS: Final = 6  # PACKET_STATISTICS: reading it sets it to zero
_ATTACH_FILTER: Final = 26
_RCVBUFFORCE: Final = 33
_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("@qq")
_LONGEST: Final = 65_575
BUFFER: Final = 64 << 20


class Copy(NamedTuple):
    """`outgoing`: the appliance sent it, on this interface."""

    at_ns: int
    outgoing: bool
    packet: bytes


class Tap:
    """One interface, opened anew when it is made anew."""

    def __init__(self, interface: str, buffer: int = BUFFER) -> None:
        self.interface = interface
        self._buffer = buffer
        self._program: tuple[Instruction, ...] = NOTHING
        self._socket: socket.socket | None = None
        self._index = 0

    def fileno(self) -> int | None:
        """While it is open."""
        return self._socket.fileno() if self._socket is not None else None

    def stale(self) -> bool:
        """The interface came, went, or is another one of the same name."""
        return self._there() != self._index

    def refresh(self) -> None:
        """Tap what is there now. Raises OSError when packet sockets cannot be had at all."""
        self.close()
        index = self._there()
        if index:
            with contextlib.suppress(FileNotFoundError):
                self._socket, self._index = self._open(), index

    def _there(self) -> int:
        try:
            return socket.if_nametoindex(self.interface)
        except OSError:
            return 0

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # of no protocol: nothing comes before the filter
        try:
            sock.setblocking(False)
            try:
                sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, self._buffer)
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
            sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
            _attach(sock, self._program)
            sock.bind((self.interface, _ETH_P_ALL))
        except OSError as error:
            sock.close()
            if error.errno in {19, 6, 100}:  # ENODEV, ENXIO, ENETDOWN: it went while it was opened
                raise FileNotFoundError(self.interface) from error
            raise
        return sock

    def want(self, program: tuple[Instruction, ...]) -> None:
        """In one step, so that no packet passes between two filters. Raises OSError."""
        if program != self._program:
            if self._socket is not None:
                _attach(self._socket, program)
            self._program = program

    def read(self, most: int) -> Iterator[Copy]:
        """What has come, up to so many."""
        for _ in range(most):
            if self._socket is None:
                return
            try:
                packet, ancillary, _, sender = self._socket.recvmsg(_LONGEST, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # it is down or gone: `refresh` finds out
                return
            yield Copy(_stamp(ancillary), sender[2] == _OUTGOING, packet)

    def drops(self) -> int:
        """Copies that did not fit since this was asked last."""
        if self._socket is None:
            return 0
        _, drops = struct.unpack("@II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        return int(drops)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._index = None, 0


def _stamp(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return 0


def _attach(sock: socket.socket, program: tuple[Instruction, ...]) -> None:
    octets = ctypes.create_string_buffer(assembled(program))
    head = struct.pack("@HP", len(program), ctypes.addressof(octets))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, head)
