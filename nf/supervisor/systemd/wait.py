"""Waits until a unit is ready: what systemd runs beside a unit's program and takes as the end of its start.

    python -I -S wait.py KIND TARGET TIMEOUT_S

It is started with every unit and inside its sandbox, so it imports nothing but what Python starts with, and never `nf`.
Exit status 0: ready. NOT_READY: not within the time. PROGRAM_ENDED: nobody is left who could become it.
"""

from __future__ import annotations

import os
import socket
import sys
import time

NOT_READY, PROGRAM_ENDED, WRONG = 75, 76, 64

_FIRST_S, _LAST_S = 0.01, 0.2
_CONNECT_TIMEOUT_S = 1.0


def address_of(target: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """ "127.0.0.1:80" or "[::1]:80". Raises ValueError."""
    host, _, port = target.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ValueError(target)
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


def _accepts(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(_CONNECT_TIMEOUT_S)
        try:
            sock.connect(address)
        except OSError:
            return False
    return True


def is_ready(kind: str, target: str) -> bool:
    """One look. Raises ValueError for what is no kind or no address."""
    if kind == "file":
        return os.path.exists(target)  # noqa: PTH110 - pathlib costs every unit 10 ms of its start
    if kind == "unix-socket":
        return _accepts(socket.AF_UNIX, target)
    if kind == "tcp":
        return _accepts(*address_of(target))
    raise ValueError(kind)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it goes by another user's name
    return True


def main(arguments: list[str]) -> int:
    """The exit status."""
    kind, target, limit = arguments
    timeout_s, pid = float(limit), int(os.environ.get("MAINPID", "0"))
    deadline, pause = time.monotonic() + timeout_s, _FIRST_S
    try:
        while not is_ready(kind, target):
            if pid and not _lives(pid):
                return PROGRAM_ENDED
            if time.monotonic() >= deadline:
                sys.stderr.write(f"not ready within {timeout_s:g} s\n")
                return NOT_READY
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_S)
    except ValueError:
        sys.stderr.write(f"{target!r} is nothing to become ready by\n")
        return WRONG
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
