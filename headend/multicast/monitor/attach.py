"""Gives a socket its filter."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

from headend.multicast.monitor.filter import Instruction, encode

_SO_ATTACH_FILTER = 26
_PROGRAM = struct.Struct("HL")  # struct sock_fprog


def attach_filter(sock: socket.socket, instructions: Sequence[Instruction]) -> None:
    """Raises OSError."""
    memory = ctypes.create_string_buffer(encode(instructions))
    program = _PROGRAM.pack(len(instructions), ctypes.addressof(memory))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
