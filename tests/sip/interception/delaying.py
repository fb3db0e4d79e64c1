"""A path of media that can be made longer: what a spoiled relay would do to a call.

`python -m tests.sip.interception.delaying FIRST LAST`: UDP on these ports of `ADDRESS`, for the phone that has the same
ones at `PHONES`; each line of its input is a delay in seconds from now on, answered by `ok`.
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.sip.interception.world import PHONES

ADDRESS: Final = "127.0.0.7"
Sent = tuple[float, int, socket.socket, bytes, tuple[str, int]]


def serve(ports: range) -> None:
    sockets: dict[socket.socket, int] = {}
    for port in ports:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((ADDRESS, port))
        sockets[sock] = port
    print("ready", flush=True)
    others: dict[int, tuple[str, int]] = {}
    under_way: list[Sent] = []
    order, delay = itertools.count(), 0.0
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for one in select.select([sys.stdin, *sockets], [], [], wait)[0]:
            if one is sys.stdin:
                line = sys.stdin.readline()
                if not line:
                    return
                delay = float(line)
                print("ok", flush=True)
                continue
            data, sender = one.recvfrom(2048)
            port = sockets[one]
            if sender[0] == PHONES:
                target = others.get(port)
            else:
                target, others[port] = (PHONES, port), sender
            if target is not None:
                heapq.heappush(under_way, (time.monotonic() + delay, next(order), one, data, target))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, sock, data, target = heapq.heappop(under_way)
            with suppress(OSError):
                sock.sendto(data, target)


class Way:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def delay(self, seconds: float) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ok\n"


@contextmanager
def path(ports: tuple[int, int]) -> Iterator[Way]:
    argv = [sys.executable, "-m", "tests.sip.interception.delaying", *map(str, ports)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=Path.cwd()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Way(process)
        finally:
            process.kill()


if __name__ == "__main__":
    serve(range(int(sys.argv[1]), int(sys.argv[2]) + 1, 2))
