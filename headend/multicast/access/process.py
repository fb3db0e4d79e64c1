"""The follower as a process: `python -m headend.multicast.access.process --section FILE --status SOCKET`.

A connection to its socket that sends the line `reload` makes it read the section anew, one that sends `sync` compare
everything; each is answered by one line of JSON, as is an empty line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from pathlib import Path

from headend.multicast.access.documents import AccessSection
from headend.multicast.access.follower import Follower
from headend.multicast.answering import listening_socket

TICK_S, RESYNC_S = 0.1, 2.0


class _Watch:
    """Keeps the loop's readers as the follower's sockets are."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._watched: dict[int, socket.socket] = {}

    def refresh(self) -> None:
        loop = asyncio.get_running_loop()
        wanted = {sock.fileno(): (sock, read) for sock, read in self._follower.sockets()}
        for number, sock in list(self._watched.items()):
            if number not in wanted or wanted[number][0] is not sock:
                loop.remove_reader(number)
                del self._watched[number]
        for number, (sock, read) in wanted.items():
            if number not in self._watched:
                loop.add_reader(number, read)
                self._watched[number] = sock

    def clear(self) -> None:
        for number in self._watched:
            asyncio.get_running_loop().remove_reader(number)


def read_section(path: Path) -> AccessSection:
    return AccessSection.model_validate_json(path.read_bytes())


async def run(section: Path, status: Path) -> None:
    """Until SIGTERM or SIGINT. Raises OSError and ValueError when it cannot begin."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    follower = Follower(read_section(section), time.monotonic)
    watch = _Watch(follower)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            command = (await reader.readline()).decode().strip()
            if command == "reload":
                follower.take_section(read_section(section))
                watch.refresh()
            elif command == "sync":
                follower.resync()
            writer.write(json.dumps(follower.status()).encode() + b"\n")
            await writer.drain()
        writer.close()

    watch.refresh()
    server = await asyncio.start_unix_server(answer, sock=listening_socket(status))
    try:
        due = loop.time() + RESYNC_S
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK_S)
            follower.tick()
            if loop.time() >= due:
                follower.resync()
                due = loop.time() + RESYNC_S
            watch.refresh()
    finally:
        watch.clear()
        server.close()
        follower.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="access-follower", description=__doc__)
    parser.add_argument("--section", type=Path, required=True)
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    given = parser.parse_args()
    try:
        asyncio.run(run(given.section, given.status))
        given.status.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"access follower: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
