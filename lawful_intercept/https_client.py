"""An HTTPS client that shows its certificate and looks at its peer's. One connection, kept; one request at a time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import h11
from cryptography import x509

from nf.errors import IdentityError, InputError, UnavailableError

_CHUNK: Final = 65_536
_KEPT_S: Final = 20.0
"""A connection that was silent for so long is not used again: its server may be closing it."""


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """`headers`: names in lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: bytes) -> bytes:
        """Its first value, or b""."""
        return next((value for each, value in self.headers if each == name), b"")


class HttpsUnavailable(UnavailableError):  # noqa: N818 - it reads as what happened
    """There is no answer. `sent`: whether any of the request may have reached the server."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message, where="HTTPS peer", remedy="see that it runs, is reached, and knows this certificate")
        self.sent = sent


class HttpsClient:
    """`url`: https://HOST:PORT/PATH. `timeout_s`: for all of one request, its connection too. Raises InputError.

    `check` looks at the server's certificate, which TLS has verified, and raises IdentityError where it is another's.
    """

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext,
        *,
        check: Callable[[x509.Certificate], None],
        timeout_s: float = 10.0,
        limit: int = 32 << 20,
    ) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port or 443
        except ValueError as error:
            raise InputError("not an address", remedy="write https://HOST:PORT/PATH") from error
        if parts.scheme != "https" or not self._host or parts.username is not None or parts.query or parts.fragment:
            raise InputError("not an address", remedy="write https://HOST:PORT/PATH")
        if tls.verify_mode is not ssl.CERT_REQUIRED:
            raise InputError("the TLS context does not verify its peer", remedy="set verify_mode to CERT_REQUIRED")
        self._netloc = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self._path = (parts.path or "/").encode("ascii")
        self._tls = tls
        self._check = check
        self._timeout_s = timeout_s
        self._limit = limit
        self._lock = asyncio.Lock()
        self._open: _Open | None = None

    async def request(
        self, method: str, body: bytes = b"", *, headers: Sequence[tuple[str, str]] = (), path: str = ""
    ) -> Answer:
        """`path`: another one than the URL's. Raises HttpsUnavailable, IdentityError."""
        lines = [(b"host", self._netloc), *((n.encode("ascii"), v.encode("latin-1")) for n, v in headers)]
        if body or method in {"POST", "PUT"}:
            lines.append((b"content-length", str(len(body)).encode()))
        request = h11.Request(method=method, target=path.encode("ascii") if path else self._path, headers=lines)
        async with self._lock:
            connection: _Open | None = None
            try:
                async with asyncio.timeout(self._timeout_s):
                    connection = await self._connection()
                    answer = await connection.exchange(request, body, self._limit)
            except (OSError, TimeoutError, h11.ProtocolError, ValueError) as error:
                self._drop()
                what = "did not answer in time" if isinstance(error, TimeoutError) else "cannot be reached or broke off"
                raise HttpsUnavailable(what, sent=connection is not None) from error
            except BaseException:
                self._drop()
                raise
            if not connection.kept:
                self._drop()
            return answer

    async def close(self) -> None:
        async with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._open is not None:
            self._open.writer.transport.abort()
            self._open = None

    async def _connection(self) -> _Open:
        now = asyncio.get_running_loop().time()
        if self._open is not None and self._open.fresh(now):
            return self._open
        self._drop()
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls, server_hostname=self._host, ssl_shutdown_timeout=2.0
        )
        try:
            octets = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self._check(x509.load_der_x509_certificate(octets))
        except ValueError as error:
            writer.transport.abort()
            raise IdentityError("the certificate cannot be read", where="HTTPS peer") from error
        except BaseException:
            writer.transport.abort()
            raise
        self._open = _Open(reader, writer)
        return self._open


class _Open:
    """An open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.kept = False
        self._reader = reader
        self._http = h11.Connection(h11.CLIENT)
        self._used = asyncio.get_running_loop().time()

    def fresh(self, now: float) -> bool:
        closing = self._reader.at_eof() or self.writer.is_closing() or self._reader.exception() is not None
        return self.kept and not closing and now - self._used < _KEPT_S

    async def exchange(self, request: h11.Request, body: bytes, limit: int) -> Answer:
        self.kept = False
        self._write(request)
        if body:
            self._write(h11.Data(data=body))
        self._write(h11.EndOfMessage())
        reply = await self._response()
        received = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            received += event.data
            if len(received) > limit:
                raise h11.RemoteProtocolError("the answer is too large")
        if not isinstance(event, h11.EndOfMessage):
            raise h11.RemoteProtocolError("the answer has no end")
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self.kept, self._used = True, asyncio.get_running_loop().time()
        return Answer(reply.status_code, tuple((bytes(n).lower(), bytes(v)) for n, v in reply.headers), bytes(received))

    async def _response(self) -> h11.Response:
        while not isinstance(event := await self._event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("there is no answer")
        return event

    async def _event(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_CHUNK))
        if not isinstance(event, h11.Event):
            raise h11.RemoteProtocolError("the answer goes on after its end")
        return event

    def _write(self, event: h11.Event) -> None:
        if octets := self._http.send(event):
            self.writer.write(octets)
