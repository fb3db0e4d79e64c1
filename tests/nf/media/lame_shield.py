"""A shield that can be lamed: `python lame_shield.py ADDRESS PORT`. It stands alone, so that it can be stopped.

SIGUSR1: from now on it answers 500, or well again. SIGUSR2: from now on every answer takes SLOW_S, or none again.
The header `X-Answered-By` says which one answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

SLOW_S = 1.5
BODY = b"x" * 1000


class Lame:
    def __init__(self, address: str) -> None:
        self._address = address
        self._fails = self._slow = False

    def toggle_failing(self) -> None:
        self._fails = not self._fails

    def toggle_slow(self) -> None:
        self._slow = not self._slow

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                if self._slow:
                    await asyncio.sleep(SLOW_S)
                status = "500 Lame" if self._fails else "200 OK"
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(BODY)}\r\nCache-Control: max-age=3600\r\n"
                writer.write(f"{head}X-Answered-By: {self._address}\r\n\r\n".encode() + BODY)
                await writer.drain()
        writer.close()


async def main(address: str, port: int) -> None:
    lame = Lame(address)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lame.toggle_failing)
    loop.add_signal_handler(signal.SIGUSR2, lame.toggle_slow)
    server = await asyncio.start_server(lame.client, address, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
