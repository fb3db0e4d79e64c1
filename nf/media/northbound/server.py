"""HTTP and HTTPS for services of players and partners, in the process that hosts them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from nf.errors import InputError, UnavailableError
from nf.media.northbound.settings import HttpSettings

_CONNECTIONS: Final = 1000
_GRACE_S: Final = 1.0
_REQUEST_S: Final = 15.0
"""So long the head of a connection's first request may take."""
_LOOK_S: Final = 30.0
"""So often the certificate's files are looked at."""


class _Protocol(H11Protocol):
    """HTTP/1.1 that cuts off who connects and asks for nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_REQUEST_S, self._cut_off)

    def _cut_off(self) -> None:
        if self.cycle is None and self.transport is not None:
            self.transport.abort()


class _Server(uvicorn.Server):
    """The process's signals are its host's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers that are being made get a moment; kept connections are cut."""
        for listening in self.servers:
            listening.close()
        for one in sockets or ():
            one.close()
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=_GRACE_S)
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)


def bind(settings: HttpSettings) -> socket.socket:
    """Raises UnavailableError."""
    host, port = settings.listen
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UnavailableError(f"not an address to listen on: {error}", where=settings.address) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        remedy = "stop what listens there, or set another address"
        raise UnavailableError(f"cannot listen: {error.strerror}", where=settings.address, remedy=remedy) from error
    return listening


class _Certificate:
    """Two files in a TLS context."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._shown: tuple[float, ...] = ()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self.tls.set_alpn_protocols(["http/1.1"])

    def show(self) -> None:
        """From the next handshake on, when the files changed. Raises InputError."""
        certificate, key = self._files
        try:
            now = (certificate.stat().st_mtime, key.stat().st_mtime)
            if now != self._shown:
                self.tls.load_cert_chain(certificate, key)
                self._shown = now
        except OSError as error:  # a bad certificate is one of them, too
            where = f"{certificate}, {key}"
            raise InputError(
                f"no certificate with its key: {error}", where=where, remedy="write both there in PEM"
            ) from error


async def serve(app: ASGIApp, settings: HttpSettings, ready: Callable[[int], None]) -> None:
    """Until cancelled. `ready` hears the port when it is served. Raises UnavailableError, InputError (certificate)."""
    certificate = None
    if settings.certificate is not None and settings.key is not None:
        certificate = _Certificate(settings.certificate, settings.key)
        certificate.show()
    listening = bind(settings)
    port = listening.getsockname()[1]
    more: dict[str, Any] = {}
    if certificate is not None:
        more["ssl_context_factory"] = lambda _config, _default: certificate.tls
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=16 * 1024,
        **more,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name=f"http {settings.address}")
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        if not serving.done():
            ready(port)
        while not serving.done():
            await asyncio.wait({serving}, timeout=_LOOK_S)
            if certificate is not None:
                with contextlib.suppress(InputError):  # half a renewal: the old one is shown until the next look
                    certificate.show()
        await serving
        raise UnavailableError("the server ended by itself", where=settings.address)
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({serving}, timeout=5.0)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listening.close()
