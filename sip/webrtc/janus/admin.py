"""Janus' administration, by HTTP on loopback: one connection for each request.

Not by its UNIX socket: the thread of Debian's Janus 1.1.2 that serves it ends at once in one start of a dozen.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

from nf.contracts.json import JsonObject
from nf.errors import DeadlineError, RefusedError, UnavailableError
from sip.naming import CONTROL_LOOPBACK

LIMIT_S: Final = 5.0
PATH: Final = "/admin"
_AGAIN_S: Final = 0.1
_LONGEST: Final = 64 << 20


class JanusAdmin:
    """`ask("list_sessions")`. Raises UnavailableError, DeadlineError and RefusedError (Janus says no)."""

    def __init__(self, port: int, secret: str, limit_s: float = LIMIT_S) -> None:
        self._port = port
        self._secret = secret
        self._limit_s = limit_s

    @property
    def _where(self) -> str:
        return f"{CONTROL_LOOPBACK}:{self._port}"

    async def ask(self, verb: str, **arguments: bool | float | str) -> JsonObject:
        text = json.dumps({"janus": verb, "transaction": "nf", "admin_secret": self._secret, **arguments})
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: {self._where}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        )
        try:
            async with asyncio.timeout(self._limit_s):
                data = await self._exchange((head + text).encode())
        except TimeoutError:
            raise DeadlineError(f"Janus does not answer {verb}", where=self._where) from None
        except OSError as error:
            raise UnavailableError(f"Janus is not there: {error.strerror}", where=self._where) from error
        answer = self._parse(data)
        if answer.get("janus") == "error":
            told = answer.get("error")
            reason = told.get("reason") if isinstance(told, dict) else ""
            raise RefusedError(f"Janus refuses {verb}: {reason}", where=self._where)
        return answer

    async def _exchange(self, request: bytes) -> bytes:
        """One that is just being started takes sessions before it can be administered."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limit_s / 2
        while True:
            try:
                reader, writer = await asyncio.open_connection(CONTROL_LOOPBACK, self._port)
                break
            except ConnectionRefusedError:
                if loop.time() > ends:
                    raise
            await asyncio.sleep(_AGAIN_S)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(_length(head))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            raise UnavailableError("Janus broke off its answer", where=self._where) from None
        finally:
            writer.close()

    async def sessions(self) -> int:
        found = (await self.ask("list_sessions")).get("sessions")
        return len(found) if isinstance(found, list) else 0

    async def accept(self, *, new: bool) -> None:
        """Whether it begins new sessions. A Janus that was started anew does."""
        await self.ask("accept_new_sessions", accept=new)

    def _parse(self, data: bytes) -> JsonObject:
        try:
            found = json.loads(data)
        except ValueError:
            raise UnavailableError("Janus answers what is no JSON", where=self._where) from None
        return found if isinstance(found, dict) else {}


def _length(head: bytes) -> int:
    """Raises ValueError."""
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and 0 <= int(value) <= _LONGEST:
            return int(value)
    raise ValueError("an answer without its length")
