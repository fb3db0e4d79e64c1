"""Janus' administration, by HTTP on loopback: one connection for each request.

Not by its UNIX socket: the thread of Debian's Janus 1.1.2 that serves it ends at once in one start of a dozen.
"""

from __future__ import annotations

import asyncio
import json
import time
from http.client import HTTPConnection, HTTPException
from typing import Final

from nf.contracts.json import JsonObject
from nf.errors import DeadlineError, RefusedError, UnavailableError
from sip.naming import CONTROL_LOOPBACK

LIMIT_S: Final = 5.0
PATH: Final = "/admin"
_AGAIN_S: Final = 0.1


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
        try:
            answer = await asyncio.to_thread(self._exchange, text)
        except TimeoutError:
            raise DeadlineError(f"Janus does not answer {verb}", where=self._where) from None
        except (OSError, HTTPException, ValueError) as error:
            raise UnavailableError(f"Janus is not there: {error}", where=self._where) from error
        if answer.get("janus") == "error":
            told = answer.get("error")
            reason = told.get("reason") if isinstance(told, dict) else ""
            raise RefusedError(f"Janus refuses {verb}: {reason}", where=self._where)
        return answer

    def _exchange(self, text: str) -> JsonObject:
        """One that is just being started takes sessions before it can be administered."""
        ends = time.monotonic() + self._limit_s / 2
        while True:
            connection = HTTPConnection(CONTROL_LOOPBACK, self._port, timeout=self._limit_s)
            try:
                connection.request("POST", PATH, text, {"Content-Type": "application/json", "Connection": "close"})
                found = json.loads(connection.getresponse().read())
            except ConnectionRefusedError:
                if time.monotonic() > ends:
                    raise
                time.sleep(_AGAIN_S)
            else:
                return found if isinstance(found, dict) else {}
            finally:
                connection.close()

    async def sessions(self) -> int:
        found = (await self.ask("list_sessions")).get("sessions")
        return len(found) if isinstance(found, list) else 0

    async def accept(self, *, new: bool) -> None:
        """Whether it begins new sessions. A Janus that was started anew does."""
        await self.ask("accept_new_sessions", accept=new)
