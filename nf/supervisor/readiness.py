"""Is a unit ready? One attempt each; the caller repeats it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from nf.contracts.units import Readiness, ReadyKind
from nf.errors import InputError

_CONNECT_TIMEOUT_S = 1.0


def tcp_address(target: str) -> tuple[str, int]:
    """ "127.0.0.1:80" or "[::1]:80". Raises InputError."""
    host, _, port = target.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{target!r} is no address:port", where="readiness")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _exists(path: str) -> bool:
    return Path(path).exists()


async def _accepts(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            await asyncio.wait_for(loop.sock_connect(sock, address), _CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError):
            return False
    return True


async def is_ready(readiness: Readiness) -> bool:
    """One look. Raises InputError for a TCP target that is no address."""
    match readiness.kind:
        case ReadyKind.STARTED:
            return True
        case ReadyKind.FILE:
            return _exists(readiness.target)
        case ReadyKind.UNIX_SOCKET:
            return await _accepts(socket.AF_UNIX, readiness.target)
        case ReadyKind.TCP:
            host, port = tcp_address(readiness.target)
            return await _accepts(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))
