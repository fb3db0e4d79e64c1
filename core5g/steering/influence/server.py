"""HTTPS for the API: TLS 1.2 and later with the NOC's certificate, and the client's certificate for who asks.

A client without a certificate is let in far enough to be told that it needs one; one with a certificate of another
authority ends at the handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from core5g.steering.influence.api import CERTIFICATE
from nf.errors import UnavailableError
from nf.trust.identity import Identity

_CONNECTIONS: Final = 200
_GRACE_S: Final = 1.0
REQUEST_S: Final = 15.0
"""So long the head of a connection's first request may take."""
_LOOK_S: Final = 30.0
"""So often the NOC's certificate is looked at: it is renewed hours before its end."""


class _Protocol(H11Protocol):
    """HTTP/1.1 that puts the certificate of its connection into every scope, and cuts off who asks for nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        inner: Any = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await inner({**scope, CERTIFICATE: certificate}, receive, send)

        self.app = app
        self.loop.call_later(REQUEST_S, self._cut_off)

    def _cut_off(self) -> None:
        if self.cycle is None and self.transport is not None:
            self.transport.abort()


class _Server(uvicorn.Server):
    """The process's signals are the NOC's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers that are being made get a moment; connections that are only kept are cut, not waited for."""
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


def bind(host: str, port: int) -> socket.socket:
    """Raises UnavailableError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UnavailableError(f"not an address to listen on: {error}", where=f"{host}:{port}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        remedy = "stop what listens there, or set another address"
        raise UnavailableError(f"cannot listen: {error.strerror}", where=f"{host}:{port}", remedy=remedy) from error
    return listening


def tls_context(identity: Identity, scratch: Path) -> ssl.SSLContext:
    """`scratch`: a private directory, since the library reads keys from files only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=identity.ca_pem.decode())
    context.set_alpn_protocols(["http/1.1"])
    show(context, identity, scratch)
    return context


def show(context: ssl.SSLContext, identity: Identity, scratch: Path) -> None:
    """From the next handshake on."""
    with tempfile.NamedTemporaryFile(dir=scratch, prefix=".identity-") as file:  # mode 0600
        file.write(identity.key_pem + identity.certificate_pem)
        file.flush()
        context.load_cert_chain(file.name)


async def serve(
    app: ASGIApp, listening: socket.socket, identity: Callable[[], Identity], scratch: Path, ready: Callable[[], None]
) -> None:
    """Until cancelled. `identity` is asked again and again: a renewed certificate is shown without a restart."""
    shown = identity()
    tls = tls_context(shown, scratch)
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
        ssl_context_factory=lambda _config, _default: tls,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="traffic influence server")
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        if not serving.done():
            ready()
        while not serving.done():
            await asyncio.wait({serving}, timeout=_LOOK_S)
            if (now := identity()) is not shown:
                show(tls, now, scratch)
                shown = now
        await serving
        raise UnavailableError("the server ended by itself")
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({serving}, timeout=5.0)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listening.close()
