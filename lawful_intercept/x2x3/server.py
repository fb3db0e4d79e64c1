"""Mediation's end of X2 and X3 (ETSI TS 103 221-2 clauses 5.5 and 6): TLS server that points deliver to.

What a point sends is handed on in its order, and nothing more is read from it until the handler has made that durable:
who delivers faster than mediation works waits in its own spool. A keepalive is answered when all before it is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

from lawful_intercept.x2x3.codec import HEADER_LIMIT, PAYLOAD_LIMIT, CodecError, Decoder, Pdus, PduType, keepalive
from nf.errors import IdentityError

Handler = Callable[[str, Pdus], Awaitable[None]]
"""(peer, PDUs): returns when they are durable. What it raises ends the connection, and the point sends them again."""
READ: Final = 1 << 20
"""Octets that are read at once: what comes of 1,000 calls while what came before is made durable."""
_HANDSHAKE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """header, payload  octets of a PDU
    connections         at the same time; more are closed at once
    idle_s              after which a point that sends nothing, not even keepalives, is gone
    answer_s            for which it may take to accept an answer
    """

    header: int = HEADER_LIMIT
    payload: int = PAYLOAD_LIMIT
    connections: int = 256
    idle_s: float = 180.0
    answer_s: float = 30.0


@dataclass(slots=True)
class Counts:
    """Since the server was made. `refused`: connections of who is not to deliver here, or too many of them. `wrong`:
    connections that were closed for what was no PDU, or none that a point sends. `failed`: by the handler.
    """

    connections: int = 0
    refused: int = 0
    wrong: int = 0
    failed: int = 0
    pdus: int = 0
    keepalives: int = 0


class Server:
    """`async with Server(...) as server`: listens at `server.port`.

    peer    is given each new connection: its name, or IdentityError for whom nothing is taken from (`tls.require`)
    failed  is told what a handler raised
    """

    def __init__(
        self,
        address: tuple[str, int],
        tls: ssl.SSLContext,
        handler: Handler,
        *,
        peer: Callable[[asyncio.StreamWriter], str],
        limits: Limits | None = None,
        failed: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        self._address, self._tls, self._handler, self._peer, self._failed = address, tls, handler, peer, failed
        self._limits = limits or Limits()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.counts = Counts()

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server and self._server.sockets else 0

    async def __aenter__(self) -> Self:
        """Raises OSError."""
        self._server = await asyncio.start_server(
            self._accepted, *self._address, ssl=self._tls, limit=READ, ssl_handshake_timeout=_HANDSHAKE_S
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whoever is connected is cut off; what was not answered is sent again to who comes after."""
        if self._server is not None:
            self._server.close()
            tasks = list(self._connections)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._server.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connection(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if len(self._connections) > self._limits.connections:
                self.counts.refused += 1
                return
            await self._serve(self._peer(writer), reader, writer)
        except IdentityError:
            self.counts.refused += 1
        except CodecError:
            self.counts.wrong += 1
        except _HandlerError as error:
            self.counts.failed += 1
            self._failed(error.cause)
        except (OSError, asyncio.CancelledError):
            pass  # the peer, or this server, has gone
        finally:
            writer.transport.abort()

    async def _serve(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        decoder = Decoder((self._limits.header, self._limits.payload))
        while True:
            async with asyncio.timeout(self._limits.idle_s):
                octets = await reader.read(READ)
            if not octets:
                return
            try:
                pdus = decoder.read(octets)
            except CodecError as error:
                await self._take(name, Pdus(error.before), writer)
                raise
            await self._take(name, pdus, writer)

    async def _take(self, name: str, pdus: Pdus, writer: asyncio.StreamWriter) -> None:
        """Answers when all of them are durable, also those that came behind a keepalive."""
        asked = pdus.others()
        if pdus:
            try:
                await self._handler(name, pdus)
            except Exception as error:
                raise _HandlerError(error) from error
            self.counts.pdus += len(pdus)
        if not asked:
            return
        answers = []
        for pdu in asked:
            if pdu.kind is PduType.KEEPALIVE_ACK:
                raise CodecError("an answer to what was not asked")
            if (sequence := pdu.sequence) is not None:
                self.counts.keepalives += 1
                answers.append(keepalive(sequence, PduType.KEEPALIVE_ACK))
        with contextlib.suppress(ConnectionError):
            writer.write(b"".join(answers))
        async with asyncio.timeout(self._limits.answer_s):
            await writer.drain()


class _HandlerError(Exception):
    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause
