"""Janus' administration, over its UNIX socket: one connection and one packet for each request."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Final

from nf.contracts.json import JsonObject
from nf.errors import DeadlineError, RefusedError, UnavailableError

LIMIT_S: Final = 5.0
_PACKET: Final = 1 << 18
_TRANSACTION: Final = "nf"
_AGAIN_S: Final = 0.1


class JanusAdmin:
    """`ask("list_sessions")`. Raises UnavailableError, DeadlineError and RefusedError (Janus says no)."""

    def __init__(self, path: Path, limit_s: float = LIMIT_S) -> None:
        self._path = path
        self._limit_s = limit_s

    async def ask(self, verb: str, **arguments: bool | float | str) -> JsonObject:
        request = json.dumps({"janus": verb, "transaction": _TRANSACTION, **arguments}).encode()
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.setblocking(False)
            try:
                async with asyncio.timeout(self._limit_s):
                    await self._connect(sock)
                    await loop.sock_sendall(sock, request)
                    answer = await self._answer(sock)
            except TimeoutError:
                raise DeadlineError(f"Janus does not answer {verb}", where=str(self._path)) from None
            except OSError as error:
                raise UnavailableError(f"Janus is not there: {error.strerror}", where=str(self._path)) from error
        if answer.get("janus") == "error":
            told = answer.get("error")
            reason = told.get("reason") if isinstance(told, dict) else ""
            raise RefusedError(f"Janus refuses {verb}: {reason}", where=str(self._path))
        return answer

    async def _connect(self, sock: socket.socket) -> None:
        """One that is just being started takes sessions before it can be administered."""
        ends = asyncio.get_running_loop().time() + self._limit_s / 2
        while True:
            try:
                return await asyncio.get_running_loop().sock_connect(sock, str(self._path))
            except (FileNotFoundError, ConnectionRefusedError):
                if asyncio.get_running_loop().time() > ends:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def _answer(self, sock: socket.socket) -> JsonObject:
        """A long one comes in several packets."""
        data = b""
        while True:
            part = await asyncio.get_running_loop().sock_recv(sock, _PACKET)
            data += part
            try:
                found = json.loads(data)
            except ValueError:
                if not part:
                    raise UnavailableError("Janus broke off its answer", where=str(self._path)) from None
                continue
            return found if isinstance(found, dict) else {}

    async def sessions(self) -> int:
        found = (await self.ask("list_sessions")).get("sessions")
        return len(found) if isinstance(found, list) else 0

    async def accept(self, *, new: bool) -> None:
        """Whether it begins new sessions. A Janus that was started anew does."""
        await self.ask("accept_new_sessions", accept=new)
