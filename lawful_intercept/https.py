"""HTTPS where both sides show a certificate: a server for ASGI applications that knows its peer's.

For X1, for officers and for agencies, on h11 and asyncio; its client is `https_client`. Nothing is logged, no header
and no error page says what answers, and what is larger or slower than the limits is cut off before it is kept. The
caller makes the TLS contexts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote

import h11
from cryptography import x509

from nf.errors import IdentityError, InputError, UnavailableError

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
"""ASGI 3: Starlette and others. Only scopes `http` come; there is no lifespan."""

_CHUNK: Final = 65_536
_PEER: Final = "lawful_intercept.peer"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and octets. `idle_s`: between requests; `header_s`, `body_s`: for all of it; `write_s`: for one piece;
    `linger_s`: so long a peer that sends too much is read on, to see its answer; `grace_s`: to end when closing.
    """

    body_octets: int = 1 << 20
    header_octets: int = 16_384
    connections: int = 256
    handshake_s: float = 10.0
    idle_s: float = 60.0
    header_s: float = 10.0
    body_s: float = 30.0
    write_s: float = 30.0
    linger_s: float = 1.0
    grace_s: float = 5.0


DEFAULT: Final = Limits()


def peer_certificate(scope: MutableMapping[str, Any]) -> x509.Certificate:
    """The certificate of whoever sent this request, which TLS has verified (`Request.scope` of Starlette)."""
    certificate = scope[_PEER]
    if not isinstance(certificate, x509.Certificate):
        raise IdentityError("this request came without a certificate", remedy="serve it by HttpsServer")
    return certificate


class HttpsServer:
    """Serves one application on one address.

    `failed` is told of an application's exception, which its client sees as 500 without a word. Raises InputError for a
    TLS context that does not ask for the peer's certificate; `start` raises UnavailableError when the address is taken.
    """

    def __init__(
        self,
        application: Application,
        tls: ssl.SSLContext,
        *,
        address: str,
        port: int,
        limits: Limits = DEFAULT,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        if tls.verify_mode is not ssl.CERT_REQUIRED:
            raise InputError("the TLS context does not ask for certificates", remedy="set verify_mode to CERT_REQUIRED")
        self.application = application
        self.limits = limits
        self.failed = failed
        self._tls = tls
        self._address = address
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    @property
    def port(self) -> int:
        """The port that is listened on, also where 0 was asked for."""
        if self._server is None or not self._server.sockets:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        try:
            self._server = await asyncio.start_server(
                self._connected,
                self._address,
                self._port,
                ssl=self._tls,
                ssl_handshake_timeout=self.limits.handshake_s,
                ssl_shutdown_timeout=2.0,
            )
        except OSError as error:
            raise UnavailableError(
                "cannot listen",
                where=f"{self._address}:{self._port}",
                remedy="free the address and port, or name others",
            ) from error

    async def close(self) -> None:
        """What is being answered has `grace_s` to end; all else ends at once."""
        if self._server is None:
            return
        self._server.close()
        for task, connection in tuple(self._connections.items()):
            connection.closing = True
            if not connection.busy:
                task.cancel()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=self.limits.grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self.limits.connections:
            writer.transport.abort()
            return
        connection = self._connections[task] = _Connection(self, reader, writer)
        try:
            await connection.run()
        except (OSError, TimeoutError, ValueError, h11.ProtocolError, _GoneError, asyncio.CancelledError):
            connection.broken = True  # the peer is no more, or cannot be understood; or this server closes
        except Exception as error:  # noqa: BLE001 - the event loop would log it
            connection.broken = True
            if self.failed is not None:
                self.failed(error)
        finally:
            del self._connections[task]
            writer.transport.abort() if connection.broken else writer.close()


class _TooLargeError(Exception):
    """More came than is allowed."""


class _GoneError(Exception):
    """The peer went away, was too slow, or broke off."""


class _Connection:
    def __init__(self, server: HttpsServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.busy = False
        self.closing = False
        self.broken = False
        self._server = server
        self._limits = server.limits
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=server.limits.header_octets)
        self._body_left = 0
        self._body_ended = False
        self._body_deadline = 0.0
        self._answered = False
        self._head = False

    async def run(self) -> None:
        octets = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(octets)
        while not self.closing:
            try:
                request = await self._request()
            except h11.RemoteProtocolError:
                await self._error(400)
                return
            if request is None:
                return
            self.busy = True
            await self._answer(request, certificate)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self.busy = False
            self._http.start_next_cycle()

    async def _request(self) -> h11.Request | None:
        if not self._http.trailing_data[0]:
            async with asyncio.timeout(self._limits.idle_s):
                self._http.receive_data(await self._reader.read(_CHUNK))
        async with asyncio.timeout(self._limits.header_s):
            event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def _event(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_CHUNK))
        if not isinstance(event, h11.Event):
            raise h11.RemoteProtocolError("more was sent than one request")
        return event

    async def _answer(self, request: h11.Request, certificate: x509.Certificate) -> None:
        self._body_left, self._body_ended, self._answered = self._limits.body_octets, False, False
        self._body_deadline = asyncio.get_running_loop().time() + self._limits.body_s
        self._head = request.method == b"HEAD"
        path, _, query = request.target.partition(b"?")
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "https",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers],
            "client": self._end("peername"),
            "server": self._end("sockname"),
            _PEER: certificate,
        }
        try:
            if any(n == b"content-length" and int(v) > self._body_left for n, v in request.headers):
                raise _TooLargeError  # noqa: TRY301 - one place answers it
            await self._server.application(scope, self._receive, self._send)
        except _TooLargeError:
            await self._error(413)
            await self._linger()
        except _GoneError:
            raise
        except Exception as error:
            if isinstance(error, ExceptionGroup) and error.split(_GoneError)[1] is None:
                raise _GoneError from error  # Starlette streams in a task group
            if self._server.failed is not None:
                self._server.failed(error)
            await self._error(500)
        else:
            if self._http.our_state not in {h11.DONE, h11.MUST_CLOSE}:
                await self._error(500)

    def _end(self, which: str) -> tuple[str, int] | None:
        """None where the peer was gone before its address was asked for."""
        address = self._writer.get_extra_info(which)
        return (address[0], address[1]) if address else None

    async def _receive(self) -> Message:
        try:
            return await self._body_part()
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            raise _GoneError from error

    async def _body_part(self) -> Message:
        if self._body_ended:
            octets = await self._reader.read(_CHUNK)
            if not octets or len(self._http.trailing_data[0]) > _CHUNK:
                return {"type": "http.disconnect"}
            self._http.receive_data(octets)
            return await self._body_part()
        if self._http.they_are_waiting_for_100_continue:
            await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
        async with asyncio.timeout_at(self._body_deadline):
            event = await self._event()
        if isinstance(event, h11.Data):
            self._body_left -= len(event.data)
            if self._body_left < 0:
                raise _TooLargeError
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        self._body_ended = True
        if isinstance(event, h11.EndOfMessage):
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._answered = True
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"server"]
            await self._write(self._http.send(h11.Response(status_code=message["status"], headers=headers)))
            return
        if (body := message.get("body", b"")) and not self._head:
            await self._write(self._http.send(h11.Data(data=body)))
        if not message.get("more_body", False):
            await self._write(self._http.send(h11.EndOfMessage()))
            with contextlib.suppress(h11.RemoteProtocolError):
                self._drop_rest_at_hand()

    def _drop_rest_at_hand(self) -> None:
        """The end of a body that the application did not read; where more is to come the connection ends."""
        while self._http.their_state is h11.SEND_BODY and isinstance(event := self._http.next_event(), h11.Event):
            if isinstance(event, h11.ConnectionClosed):
                return

    async def _error(self, status: int) -> None:
        """An answer without a word, or the end where an answer has begun. The connection ends in any case."""
        if self._answered or self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.broken = True
            return
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await self._write(self._http.send(h11.Response(status_code=status, headers=headers)))
        await self._write(self._http.send(h11.EndOfMessage()))

    async def _linger(self) -> None:
        """Reads on for a moment, so that a peer that still sends sees the answer before the end."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._limits.linger_s):
                while await self._reader.read(_CHUNK):
                    pass

    async def _write(self, octets: bytes | None) -> None:
        if octets:
            if self._writer.is_closing():
                raise _GoneError
            self._writer.write(octets)
            try:
                async with asyncio.timeout(self._limits.write_s):
                    await self._writer.drain()
            except (OSError, TimeoutError) as error:
                raise _GoneError from error
