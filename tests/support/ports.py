"""Ports on loopback for programs that are told theirs: free a moment ago, for TCP and UDP.

They are none that the kernel gives to whoever connects, and none is given twice: tests run side by side, and a port
that was free when it was asked for is somebody's by the time that a program binds it.
"""

from __future__ import annotations

import contextlib
import random
import socket

_FIRST, _LAST = 12_000, 31_999
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


def free_port() -> int:
    while True:
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - it only has to be another one in each worker
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind(("127.0.0.1", port))
            _given.add(port)
            return port
