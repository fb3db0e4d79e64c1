"""One TCP connection to an agency, with TLS: what is written is known to be in the peer's kernel, or not.

TLS is done on octets here and not by the event loop's transports, since those hold octets of which nobody can tell
whether they have left: `acknowledged` says how many of those `sent` have arrived (SIOCOUTQ).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from typing import Final

from nf.errors import IdentityError, NfError, UnavailableError

_SIOCOUTQ: Final = 0x5411
_TCP_USER_TIMEOUT: Final = 18
_CHUNK: Final = 65_536
_LIVING: Final = frozenset({1, 8})
"""ESTABLISHED, and CLOSE_WAIT: the peer sends no more and may still read."""


class Link:
    """Made by `connect`. One task writes and another reads; each method raises UnavailableError when it is broken."""

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLObject | None, bios: tuple[ssl.MemoryBIO, ssl.MemoryBIO]
    ) -> None:
        self._socket = sock
        self._tls = tls
        self._in, self._out = bios
        self._sending = asyncio.Lock()
        self.sent = 0
        """Octets that this kernel has taken, TLS records and all."""

    async def write(self, octets: bytes) -> None:
        """Returns when this kernel has all of it."""
        with _broken():
            if self._tls is None:
                await self._send(octets)
                return
            async with self._sending:
                view = memoryview(octets)
                while view:
                    sent = self._tls.write(view[:_CHUNK])
                    view = view[sent:]
                    await self._flush()

    async def read(self) -> bytes:
        """What comes next."""
        with _broken():
            while True:
                if self._tls is None:
                    found = await self._receive()
                else:
                    try:
                        found = self._tls.read(_CHUNK)
                    except ssl.SSLWantReadError:
                        if self._out.pending:
                            async with self._sending:
                                await self._flush()
                        self._in.write(await self._receive())
                        continue
                if not found:
                    raise ConnectionResetError
                return found

    def acknowledged(self) -> int:
        """Of the octets `sent`, how many the peer's kernel has. Raises UnavailableError."""
        with _broken():
            waiting: int = struct.unpack("i", fcntl.ioctl(self._socket.fileno(), _SIOCOUTQ, b"\0" * 4))[0]
            # Looked at after the queue: that of a connection which was reset is empty as well.
            state = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            if state not in _LIVING:
                raise ConnectionResetError
            return self.sent - waiting

    def close(self) -> None:
        """Idempotent. Nothing is waited for: what was not confirmed is sent again."""
        self._socket.close()

    async def _flush(self) -> None:
        while self._out.pending:
            await self._send(self._out.read(_CHUNK))

    async def _send(self, octets: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, octets)
        self.sent += len(octets)

    async def _receive(self) -> bytes:
        found = await asyncio.get_running_loop().sock_recv(self._socket, _CHUNK)
        if not found:
            raise ConnectionResetError
        return found

    async def handshake(self, expected: Callable[[ssl.SSLObject], object]) -> None:
        """`expected` raises IdentityError for a peer that is another one."""
        if self._tls is None:
            return
        with _broken():
            while True:
                try:
                    self._tls.do_handshake()
                    await self._flush()
                    break
                except ssl.SSLWantReadError:
                    await self._flush()
                    self._in.write(await self._receive())
        expected(self._tls)


async def connect(
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    expected: Callable[[ssl.SSLObject], object],
    *,
    timeout_s: float = 10.0,
    user_timeout_s: float = 60.0,
) -> Link:
    """`context` None: plain, where settings allow it. `user_timeout_s`: after which unacknowledged octets end it.

    Raises UnavailableError, IdentityError.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, int(user_timeout_s * 1000))
        tls = None if context is None else context.wrap_bio(incoming, outgoing, server_side=False)
        link = Link(sock, tls, (incoming, outgoing))
        with _broken():
            async with asyncio.timeout(timeout_s):
                await loop.sock_connect(sock, (host, port))
                await link.handshake(expected)
    except BaseException:
        sock.close()
        raise
    return link


@contextlib.contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except NfError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise IdentityError("the peer's certificate is not acceptable on this link") from error
    except (OSError, ValueError, ssl.SSLError) as error:
        raise UnavailableError(f"the connection is not there: {type(error).__name__}") from error
