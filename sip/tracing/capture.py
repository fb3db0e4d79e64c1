"""Packets of a proxy's ports, as the kernel hands them over for a limited time: packet(7), with a filter there."""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Final, Self

from nf.errors import UnavailableError

_ETH_P_ALL, _ETH_P_IP = 0x0003, 0x0800
"""Of all protocols: those who ask for one are not shown what goes out."""
_PROTOCOL: Final = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35
_OUTGOING: Final = 4
_LOOPBACK: Final = 772
_BUFFER_BYTES: Final = 8 << 20
_SLICE_S: Final = 0.2
_TIMESPEC: Final = struct.Struct("qq")
_INSTRUCTION: Final = struct.Struct("HBBI")
_LOAD_BYTE, _LOAD_HALF, _LOAD_HALF_X, _HEADER_X = 0x30, 0x28, 0x48, 0xB1
_EQUAL, _ANY_BIT, _RETURN = 0x15, 0x45, 0x06
_WHOLE: Final = 0xFFFF


def program(ports: Iterable[int]) -> bytes:
    """UDP and TCP over IPv4 from or to one of the ports, first fragments only; from the IP header on (bpf(4))."""
    wanted = sorted(set(ports))
    tests = 2 * len(wanted) + 2
    code = [
        (_LOAD_HALF, 0, 0, _PROTOCOL),
        (_EQUAL, 0, tests + 6, _ETH_P_IP),
        (_LOAD_BYTE, 0, 0, 9),
        (_EQUAL, 1, 0, socket.IPPROTO_UDP),
        (_EQUAL, 0, tests + 3, socket.IPPROTO_TCP),
        (_LOAD_HALF, 0, 0, 6),
        (_ANY_BIT, tests + 1, 0, 0x1FFF),
        (_HEADER_X, 0, 0, 0),
    ]
    for offset, after in ((0, len(wanted) + 1), (2, 0)):
        code.append((_LOAD_HALF_X, 0, 0, offset))
        code += [(_EQUAL, len(wanted) - number - 1 + after + 1, 0, port) for number, port in enumerate(wanted)]
    code += [(_RETURN, 0, 0, 0), (_RETURN, 0, 0, _WHOLE)]
    return b"".join(_INSTRUCTION.pack(*one) for one in code)


class Capture:
    """Of all interfaces. Raises UnavailableError without the right to it."""

    def __init__(self, ports: Iterable[int]) -> None:
        code = program(ports)
        memory = ctypes.create_string_buffer(code)
        attached = struct.pack("HL", len(code) // _INSTRUCTION.size, ctypes.addressof(memory))
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        except OSError as error:
            raise UnavailableError(
                f"packets cannot be read: {error.strerror}", remedy="run the agent as root"
            ) from error
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._forget()
        except OSError as error:
            self._socket.close()
            raise UnavailableError(f"packets cannot be read: {error.strerror}") from error

    def _forget(self) -> None:
        """What came before there was a filter."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(1, socket.MSG_DONTWAIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def read(self, take: Callable[[bytes, float], None], more: Callable[[], bool]) -> None:
        """Blocks: every packet, and when it came (seconds since the epoch), while `more`, asked a few times a second.

        What passes the loopback is seen on its way in only.
        """
        while more():
            if not select.select([self._socket], [], [], _SLICE_S)[0]:
                continue
            for _ in range(256):
                try:
                    data, ancillary, _, source = self._socket.recvmsg(_WHOLE, 64, socket.MSG_DONTWAIT)
                except (BlockingIOError, InterruptedError):
                    break
                if not (source[2] == _OUTGOING and source[3] == _LOOPBACK):
                    take(data, _stamp(ancillary))


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return time.time()
