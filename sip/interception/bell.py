"""The proxy's bell: its module evapi rings when something comes into the queue, so that it is fetched at once.

A ring says nothing but that there is something; what it is, and how much is missing, the queue alone says. It is rung
for whoever has told the proxy a word that stood in its table for one use, put there by RPC: everybody else on the box
may connect and hears nothing. Netstrings (D. J. Bernstein, 1997), as evapi speaks them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sip.naming import bell_port

HOST: Final = "127.0.0.1"
_RINGS: Final = 4096
_ANSWER_S: Final = 3.0


class Bell:
    """`rung` is called for each ring, or several. Nothing is raised when the proxy is away: it is not `heard` then."""

    def __init__(self, rpc_port: int, rung: Callable[[], None]) -> None:
        self._port, self._rung = bell_port(rpc_port), rung
        self._listening: asyncio.Task[None] | None = None
        self.heard = False
        """The proxy has taken the word."""

    @property
    def open(self) -> bool:
        """Connected, or on its way to it."""
        return self._listening is not None and not self._listening.done()

    def listen(self, word: str) -> None:
        self.close()
        self._listening = asyncio.create_task(self._listen(word))

    def close(self) -> None:
        self.heard = False
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def _listen(self, word: str) -> None:
        with contextlib.suppress(OSError):  # and its kin TimeoutError: a proxy that does not take the word is silent
            reader, writer = await asyncio.open_connection(HOST, self._port)
            try:
                writer.write(f"{len(word)}:{word},".encode())
                async with asyncio.timeout(_ANSWER_S):
                    rung = await reader.read(_RINGS)
                while rung:
                    self.heard = True
                    self._rung()
                    rung = await reader.read(_RINGS)
            finally:
                self.heard = False
                writer.close()
